import { expect, it } from "vitest";

import { fitted } from "../src/sketch/fit";
import { PAPER, type Point, type Stroke } from "../src/sketch/history";

const pen = (...points: Point[]): Stroke => ({ tool: "pen", width: 10, points, pressed: false });
const box = (drawn: Stroke[]) => {
  const points = drawn.flatMap(({ points }) => points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)] as [number, number, number, number];
};

it("a small drawing in a corner fills the picture and keeps its proportions", () => {
  const small = [pen([10, 10, 0.5], [110, 10, 0.5]), pen([60, 10, 0.5], [60, 60, 0.5])];
  const [left, right, top, bottom] = box(fitted(small));
  expect((right - left) / (bottom - top)).toBeCloseTo(2);
  expect(left + right).toBeCloseTo(PAPER);
  expect(top + bottom).toBeCloseTo(PAPER);
  expect(right - left + 10).toBeCloseTo(PAPER * 0.84);
});

it("where it was drawn makes no difference", () => {
  const at = (x: number, y: number) => fitted([pen([x, y, 0.5], [x + 90, y + 40, 0.5])])[0]?.points.flat();
  at(300, 20)?.forEach((value, i) => expect(value).toBeCloseTo(at(5, 450)?.[i] ?? NaN));
});

it("a dot is not blown up beyond measure, and lines keep their width", () => {
  const [dot] = fitted([pen([10, 10, 0.5])]);
  expect(dot?.points).toEqual([[PAPER / 2, PAPER / 2, 0.5]]);
  expect(fitted([pen([0, 0, 0.5], [10, 0, 0.5])])[0]?.width).toBe(10);
});

it("the eraser moves along with what it erased and is no part of the drawing's size", () => {
  const line = pen([100, 100, 0.5], [200, 100, 0.5]);
  const rubbed: Stroke = { ...pen([150, 100, 0.5], [150, 500, 0.5]), tool: "eraser" };
  const [drawn, erased] = fitted([line, rubbed]);
  expect(drawn?.points).toEqual(fitted([line])[0]?.points);
  expect(erased?.points[0]?.[0]).toBeCloseTo(PAPER / 2);
  expect(erased?.width).toBeGreaterThan(10);
});

it("nothing stays nothing", () => expect(fitted([])).toEqual([]));
