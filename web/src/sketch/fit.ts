/** A sketch moved and scaled so that it fills the picture sent to the server: where and how large it was drawn on the
 * paper says nothing about what it shows. */

import { PAPER, type Point, type Stroke } from "./history";

const MARGIN = 0.08;
const LARGEST_SCALE = 6;

/** Scales points about the middle of the pen's strokes; widths stay, so that lines look alike at any size. */
export function fitted(drawn: readonly Stroke[]): Stroke[] {
  const pens = drawn.filter((stroke) => stroke.tool === "pen");
  const points = pens.flatMap((stroke) => stroke.points);
  if (points.length === 0) return [...drawn];
  const half = Math.max(...pens.map((stroke) => stroke.width)) / 2;
  const [left, right] = ends(points.map(([x]) => x));
  const [top, bottom] = ends(points.map(([, y]) => y));
  const room = PAPER * (1 - 2 * MARGIN) - 2 * half;
  const scale = Math.min(LARGEST_SCALE, room / Math.max(right - left, bottom - top, 1));
  const place = ([x, y, pressure]: Point): Point => [
    PAPER / 2 + (x - (left + right) / 2) * scale,
    PAPER / 2 + (y - (top + bottom) / 2) * scale,
    pressure,
  ];
  return drawn.map((stroke) => ({
    ...stroke,
    width: stroke.tool === "eraser" ? stroke.width * scale : stroke.width,
    points: stroke.points.map(place),
  }));
}

function ends(values: number[]): [number, number] {
  return values.reduce<[number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
}
