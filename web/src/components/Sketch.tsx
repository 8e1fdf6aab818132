/** The paper one draws on, with its tools. */

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

import { canRedo, canUndo, PAPER, strokes, type Point, type Stroke } from "../sketch/history";
import { paint } from "../sketch/paint";
import { clearSketch, draw, redoStroke, undoStroke } from "../state/actions";
import { searchNow } from "../state/search";
import { history, whileDrawing } from "../state/store";
import { singleKeys } from "../state/keys";
import { Icon } from "./icons";

const THINNEST = 4;
const WIDEST = 48;

export function Sketch() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const tool = useSignal<Stroke["tool"]>("pen");
  const width = useSignal(16);
  const current = useRef<{ stroke: Stroke; pointer: number } | null>(null);
  const drawn = strokes(history.value);

  const repaint = () => {
    const context = canvas.current?.getContext("2d");
    const side = canvas.current?.width ?? 0;
    const growing = current.current ? [current.current.stroke] : [];
    if (context && side > 0) paint(context, [...strokes(history.value), ...growing], side);
  };

  useLayoutEffect(repaint, [history.value]);
  useLayoutEffect(() => {
    const place = canvas.current;
    if (!place) return;
    const fit = new ResizeObserver(() => {
      const side = Math.round(place.clientWidth * Math.min(devicePixelRatio, 2));
      if (side > 0 && place.width !== side) place.width = place.height = side;
      repaint();
    });
    fit.observe(place);
    return () => fit.disconnect();
  }, []);

  const pointsOf = (event: PointerEvent): Point[] => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return [];
    const seen = event.getCoalescedEvents?.() ?? [];
    const scale = PAPER / box.width;
    return (seen.length > 0 ? seen : [event]).map((one) => [
      (one.clientX - box.left) * scale,
      (one.clientY - box.top) * scale,
      one.pressure || 0.5,
    ]);
  };
  const begin = (event: PointerEvent) => {
    if (current.current || event.button > 0) return;
    event.preventDefault();
    canvas.current?.setPointerCapture(event.pointerId);
    // The far end of a pen is its eraser: button 5, seen as bit 32.
    const erasing = tool.value === "eraser" || (event.buttons & 32) !== 0;
    const scale = erasing ? 2.5 : 1;
    const stroke: Stroke = {
      tool: erasing ? "eraser" : "pen",
      width: width.value * scale,
      points: pointsOf(event),
      pressed: event.pointerType === "pen" && event.pressure > 0 && event.pressure !== 0.5,
    };
    current.current = { stroke, pointer: event.pointerId };
    repaint();
  };
  const move = (event: PointerEvent) => {
    const now = current.current;
    if (now?.pointer !== event.pointerId) return;
    now.stroke = { ...now.stroke, points: [...now.stroke.points, ...pointsOf(event)] };
    repaint();
  };
  const end = (event: PointerEvent) => {
    const now = current.current;
    if (now?.pointer !== event.pointerId) return;
    current.current = null;
    if (event.type === "pointercancel") repaint();
    else draw(now.stroke);
  };
  const keys = (event: KeyboardEvent) => {
    if (!singleKeys.value || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "p") tool.value = "pen";
    else if (event.key === "e") tool.value = "eraser";
    else if (event.key === "[") width.value = Math.max(THINNEST, width.value - 4);
    else if (event.key === "]") width.value = Math.min(WIDEST, width.value + 4);
    else return;
    event.preventDefault();
  };
  const words = drawn.length === 0 ? "empty" : `${drawn.length} ${drawn.length === 1 ? "stroke" : "strokes"}`;

  return (
    <section class="sketch" aria-labelledby="sketch-title" onKeyDown={keys}>
      <h2 id="sketch-title" class="sr">Sketch</h2>
      <div class="paper">
        <canvas
          ref={canvas}
          role="img"
          aria-label={`Drawing area, ${words}. Without a pointer, use Choose pictures instead.`}
          onPointerDown={begin}
          onPointerMove={move}
          onPointerUp={end}
          onPointerCancel={end}
        />
        {drawn.length === 0 && <p class="paper-hint" aria-hidden="true">Draw here</p>}
      </div>
      <div class="tools" role="toolbar" aria-label="Drawing tools">
        {(["pen", "eraser"] as const).map((name) => (
          <button
            key={name}
            type="button"
            class="icon-button"
            aria-pressed={tool.value === name}
            aria-label={name === "pen" ? "Pen" : "Eraser"}
            title={name === "pen" ? "Pen (p)" : "Eraser (e)"}
            onClick={() => (tool.value = name)}
          >
            <Icon name={name} />
          </button>
        ))}
        <label class="width" title="Width ([ and ])">
          <span class="sr">Width</span>
          <input
            type="range"
            min={THINNEST}
            max={WIDEST}
            step={2}
            value={width.value}
            onInput={(event) => (width.value = Number(event.currentTarget.value))}
          />
        </label>
        <button type="button" class="icon-button" aria-label="Undo" title="Undo (Ctrl+Z)" disabled={!canUndo(history.value)} onClick={undoStroke}>
          <Icon name="undo" />
        </button>
        <button type="button" class="icon-button" aria-label="Redo" title="Redo (Ctrl+Shift+Z)" disabled={!canRedo(history.value)} onClick={redoStroke}>
          <Icon name="redo" />
        </button>
        <button type="button" class="icon-button" aria-label="Clear the sketch" title="Clear" disabled={drawn.length === 0} onClick={clearSketch}>
          <Icon name="clear" />
        </button>
      </div>
      <div class="while-drawing">
        <label class="check">
          <input
            type="checkbox"
            checked={whileDrawing.value}
            onChange={(event) => (whileDrawing.value = event.currentTarget.checked)}
          />
          Search while drawing
        </label>
        {!whileDrawing.value && (
          <button type="button" class="button" disabled={drawn.length === 0} onClick={searchNow}>
            Search
          </button>
        )}
      </div>
    </section>
  );
}
