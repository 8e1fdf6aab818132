/** Strokes to pixels. */

import { getStroke } from "perfect-freehand";

import { fitted } from "./fit";
import { PAPER, type Stroke } from "./history";

const INK = "#111111";
const WHITE = "#ffffff";
const paths = new WeakMap<Stroke, Path2D>();

function outline(stroke: Stroke): Path2D {
  const known = paths.get(stroke);
  if (known) return known;
  const corners = getStroke(stroke.points as unknown as number[][], {
    size: stroke.width,
    thinning: stroke.pressed ? 0.5 : 0,
    smoothing: 0.5,
    streamline: 0.35,
    simulatePressure: false,
  });
  const path = new Path2D();
  corners.forEach(([x = 0, y = 0], at) => {
    const [nextX = 0, nextY = 0] = corners[(at + 1) % corners.length] ?? [];
    const middle = [(x + nextX) / 2, (y + nextY) / 2] as const;
    if (at === 0) path.moveTo(...middle);
    else path.quadraticCurveTo(x, y, ...middle);
  });
  path.closePath();
  paths.set(stroke, path);
  return path;
}

/** Paints strokes on a white square of ``side`` pixels. */
export function paint(context: CanvasRenderingContext2D, drawn: readonly Stroke[], side: number): void {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = WHITE;
  context.fillRect(0, 0, side, side);
  context.scale(side / PAPER, side / PAPER);
  for (const stroke of drawn) {
    context.fillStyle = stroke.tool === "pen" ? INK : WHITE;
    context.fill(outline(stroke));
  }
}

/** The sketch as a PNG, filling the picture. */
export async function sketchPicture(drawn: readonly Stroke[], side: number = PAPER): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser has no 2D canvas");
  paint(context, fitted(drawn), side);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the sketch could not be saved"))), "image/png"),
  );
}
