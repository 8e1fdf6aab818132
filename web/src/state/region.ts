/** Parts of pictures: x, y, width and height as shares. Pure. */

import type { Region } from "../api/types";

export type Edge = "Left" | "Right" | "Top" | "Bottom";
export const WHOLE: Region = [0, 0, 1, 1];
/** The least width and height, so that something can be seen in it. */
const LEAST = 0.02;

const inside = (value: number): number => Math.min(1, Math.max(0, value));
/** Four decimals are finer than any screen, and keep sums of two shares at most 1. */
const tidy = (value: number): number => Math.round(value * 1e4) / 1e4;

/** The rectangle between two corners, cut to the picture; null where it is too small to be meant. */
export function asRegion(one: readonly [number, number], other: readonly [number, number]): Region | null {
  const [left, right] = [inside(one[0]), inside(other[0])].sort((a, b) => a - b) as [number, number];
  const [top, bottom] = [inside(one[1]), inside(other[1])].sort((a, b) => a - b) as [number, number];
  if (right - left < LEAST || bottom - top < LEAST) return null;
  return [tidy(left), tidy(top), tidy(right) - tidy(left), tidy(bottom) - tidy(top)].map(tidy) as unknown as Region;
}

/** The region with one edge elsewhere; edges do not pass each other. */
export function moveEdge([x, y, width, height]: Region, edge: Edge, to: number): Region {
  const [right, bottom] = [x + width, y + height];
  const before = (end: number) => Math.min(inside(to), end - LEAST);
  const behind = (start: number) => Math.max(inside(to), start + LEAST);
  const corners: Record<Edge, [number, number, number, number]> = {
    Left: [before(right), y, right, bottom],
    Right: [x, y, behind(x), bottom],
    Top: [x, before(bottom), right, bottom],
    Bottom: [x, y, right, behind(y)],
  };
  const [left, top, ...far] = corners[edge];
  return [left, top, far[0] - left, far[1] - top].map(tidy) as unknown as Region;
}

/** None for the whole picture. */
export const orNone = (region: Region | null): Region | null =>
  region?.every((value, at) => value === WHOLE[at]) ? null : region;
