import { describe, expect, it } from "vitest";

import type { Hit } from "../src/api/types";
import { above, countInWords, histogram, isNoMatch, ranks, scoreRange, verdict } from "../src/state/hits";
import { columnsOf, moved } from "../src/state/roving";

const hit = (id: string, score: number, duplicates: string[] = []): Hit => ({
  id, score, duplicates, domain: "photo", label: null, folder: "", size: null, modified: null, columns: {},
});
const hits = [hit("a", 0.91234, ["d"]), hit("b", 0.5), hit("c", -0.20011)];

describe("the cut-off", () => {
  it("keeps what scores at least that", () => {
    expect(above(hits, null)).toHaveLength(3);
    expect(above(hits, 0.5).map(({ id }) => id)).toEqual(["a", "b"]);
    expect(above(hits, 1)).toEqual([]);
    expect(above([hit("copy", 0.99999994), hit("near", 0.9999)], 1).map(({ id }) => id)).toEqual(["copy"]);
  });
  it("ranges over all scores", () => {
    const [low, high] = scoreRange(hits);
    expect([low, high]).toEqual([-0.201, 0.913]);
    expect(above(hits, low)).toHaveLength(3);
    expect(scoreRange([])).toEqual([0, 0]);
  });
  it("counts every hit in one step", () => {
    for (const bins of [1, 7, 32]) expect(histogram(hits, bins).reduce((sum, count) => sum + count)).toBe(3);
    expect(histogram([hit("a", 0.5), hit("b", 0.5)], 4)).toEqual([2, 0, 0, 0]);
  });
});

it("a folded near-duplicate has the rank of its hit", () => {
  expect(Object.fromEntries(ranks(hits))).toEqual({ a: 1, d: 1, b: 2, c: 3 });
});

it("no match is told from the probability, where there is one", () => {
  const cases: [number | null, number | null][] = [[0.2, 0.5], [0.5, 0.5], [null, 0.5], [0.2, null]];
  expect(cases.map(([chance, least]) => isNoMatch({ match_probability: chance }, least))).toEqual([true, false, null, null]);
});

it("numbers in words", () => {
  expect(countInWords(1, 1)).toBe("1 hit");
  expect(countInWords(0, 0)).toBe("0 hits");
  expect(countInWords(2, 9)).toBe("2 of 9 hits");
  expect([0.9, 0.5, 0.1].map(verdict)).toEqual(["A match is likely", "A match is possible", "A match is unlikely"]);
});

describe("arrow keys", () => {
  it.each([
    ["ArrowRight", 0, 1], ["ArrowRight", 6, 6], ["ArrowLeft", 0, 0], ["ArrowLeft", 4, 3], ["ArrowDown", 1, 4],
    ["ArrowDown", 5, 5], ["ArrowUp", 1, 1], ["ArrowUp", 4, 1], ["Home", 5, 0], ["End", 0, 6], ["x", 3, null],
  ])("%s from %i leads to %s among 7 in 3 columns", (key, at, to) => expect(moved(key, at, 7, 3)).toBe(to));

  it("count the cells of the first row", () => {
    expect(columnsOf([10, 10.4, 10, 80, 80])).toBe(3);
    expect(columnsOf([])).toBe(1);
  });
});
