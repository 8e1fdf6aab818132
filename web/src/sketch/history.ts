/** Strokes with undo and redo. Pure values: every function returns a new history. */

/** x and y in units of the paper (0 to PAPER), pressure in 0 to 1. */
export type Point = readonly [x: number, y: number, pressure: number];

/** Side of the square paper; strokes keep their place when the canvas on the screen is resized. */
export const PAPER = 512;

export interface Stroke {
  readonly tool: "pen" | "eraser";
  /** Width in units of the paper. */
  readonly width: number;
  readonly points: readonly Point[];
  /** Whether the points' pressure was measured by a pen. */
  readonly pressed: boolean;
}

type Step = Stroke | "clear";

export interface History {
  readonly done: readonly Step[];
  readonly undone: readonly Step[];
}

export const EMPTY: History = { done: [], undone: [] };

/** What is on the paper: the strokes since it was last cleared. */
export function strokes(history: History): readonly Stroke[] {
  const cleared = history.done.lastIndexOf("clear");
  return history.done.slice(cleared + 1) as Stroke[];
}

export function isBlank(history: History): boolean {
  return !strokes(history).some((stroke) => stroke.tool === "pen");
}

export function add(history: History, stroke: Stroke): History {
  if (stroke.points.length === 0) return history;
  return { done: [...history.done, stroke], undone: [] };
}

export function clear(history: History): History {
  return strokes(history).length === 0 ? history : { done: [...history.done, "clear"], undone: [] };
}

export function canUndo(history: History): boolean {
  return history.done.length > 0;
}

export function canRedo(history: History): boolean {
  return history.undone.length > 0;
}

export function undo(history: History): History {
  const last = history.done.at(-1);
  return last === undefined ? history : { done: history.done.slice(0, -1), undone: [...history.undone, last] };
}

export function redo(history: History): History {
  const next = history.undone.at(-1);
  return next === undefined ? history : { done: [...history.done, next], undone: history.undone.slice(0, -1) };
}
