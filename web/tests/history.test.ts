import { describe, expect, it } from "vitest";

import { add, canRedo, canUndo, clear, EMPTY, isBlank, redo, strokes, undo, type History, type Stroke } from "../src/sketch/history";

const stroke = (x: number, tool: Stroke["tool"] = "pen"): Stroke => ({ tool, width: 8, points: [[x, 0, 0.5]], pressed: false });
const xs = (history: History) => strokes(history).map(({ points }) => points[0]?.[0]);

describe("the history of strokes", () => {
  it("undoes and redoes in order", () => {
    const three = [1, 2, 3].reduce((history, x) => add(history, stroke(x)), EMPTY);
    expect(xs(undo(undo(three)))).toEqual([1]);
    expect(xs(redo(undo(undo(three))))).toEqual([1, 2]);
    expect(redo(redo(undo(undo(three))))).toEqual(three);
  });

  it("forgets what was undone once something is drawn", () => {
    const history = add(undo(add(add(EMPTY, stroke(1)), stroke(2))), stroke(3));
    expect(xs(history)).toEqual([1, 3]);
    expect(canRedo(history)).toBe(false);
  });

  it("brings back a cleared drawing", () => {
    const cleared = clear(add(add(EMPTY, stroke(1)), stroke(2)));
    expect(strokes(cleared)).toEqual([]);
    expect(xs(undo(cleared))).toEqual([1, 2]);
    expect(xs(add(cleared, stroke(9)))).toEqual([9]);
  });

  it("does nothing at its ends", () => {
    expect(undo(EMPTY)).toBe(EMPTY);
    expect(redo(EMPTY)).toBe(EMPTY);
    expect(clear(EMPTY)).toBe(EMPTY);
    expect(canUndo(EMPTY)).toBe(false);
    expect(add(EMPTY, { ...stroke(1), points: [] })).toBe(EMPTY);
  });

  it("is blank without a stroke of the pen", () => {
    expect(isBlank(add(EMPTY, stroke(1, "eraser")))).toBe(true);
    expect(isBlank(add(EMPTY, stroke(1)))).toBe(false);
    expect(isBlank(clear(add(EMPTY, stroke(1))))).toBe(true);
  });
});
