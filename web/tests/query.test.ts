import { describe, expect, it } from "vitest";

import { likePart, textPart } from "../src/state/hash";
import {
  columnSorts, DEFAULTS, fault, filterOf, queryOf, rerankedBy, sortFor, towards, toWeight, withCondition, withoutPart, withPart, withRegion, withWeight,
  withWords,
} from "../src/state/query";

const words = { name: "photos", text: true };

describe("weights", () => {
  it.each([[0.333, 0.33], [2, 1], [-7, -1], [NaN, 1], [0, 0], [-0.054, -0.05]])("%f becomes %f", (given, kept) =>
    expect(toWeight(given)).toBeCloseTo(kept, 10),
  );
  it("change one part alone", () => {
    const parts = [textPart("a"), textPart("b")];
    expect(withWeight(parts, "text:b", -3)).toEqual([textPart("a"), textPart("b", -1)]);
    expect(withoutPart(parts, "text:a")).toEqual([textPart("b")]);
  });
  it("of a part that is asked for again replace the old one", () => {
    const parts = withPart(withPart([], likePart("c", "x", 1)), likePart("c", "x", -0.5));
    expect(parts).toEqual([likePart("c", "x", -0.5)]);
  });
});

describe("words", () => {
  it("take the place of all words there are, and of nothing else", () => {
    const parts = [likePart("c", "x"), textPart("a guitar", 0.5), likePart("c", "y"), textPart("wood", -1)];
    expect(withWords(parts, textPart("a dog"))).toEqual([likePart("c", "x"), textPart("a dog"), likePart("c", "y")]);
    expect(withWords([likePart("c", "x")], textPart("a dog"))).toEqual([likePart("c", "x"), textPart("a dog")]);
  });
});

describe("orders", () => {
  const columns = { price: "number", camera: "text", taken: "date", tags: "list", sold: "boolean" } as const;
  it("are offered for own columns that have one, dates and their newest first", () => {
    expect(Object.keys(columnSorts(columns))).toEqual(["-taken", "taken", "price", "-price", "camera", "-camera"]);
    expect(columnSorts(columns)["-taken"]).toBe("taken, newest first");
  });
  it("that a collection does not know are not asked for", () => {
    expect(["-taken", "label", "-modified"].map((sort) => sortFor(sort, columns))).toEqual(["-taken", "label", "-modified"]);
    expect(["-gone", "tags", "__proto__", ""].map((sort) => sortFor(sort, columns))).toEqual(Array(4).fill("score"));
  });
});

describe("what cannot be searched with", () => {
  it("is said in words", () => {
    expect(fault([], words)).toBeNull();
    expect(fault([textPart("a", 0)], words)).toMatch(/weight 0/);
    expect(fault([textPart("a", -1), likePart("c", "x", -0.5)], words)).toMatch(/pushes away/);
    expect(fault([textPart("a")], { name: "photos", text: false })).toMatch(/does not understand words/);
  });
  it("ignores words of weight 0", () => {
    expect(fault([textPart("a", 0), likePart("c", "x")], { name: "photos", text: false })).toBeNull();
  });
});

describe("conditions on columns", () => {
  const price = { column: "price", min: null, max: 20 };
  it("are one a column, and none that asks for nothing", () => {
    const both = withCondition(withCondition([], "price", price), "sold", { column: "sold", value: true });
    expect(both).toHaveLength(2);
    expect(withCondition(both, "price", { ...price, max: null })).toEqual([{ column: "sold", value: true }]);
    expect(withCondition(both, "sold", null)).toEqual([price]);
    expect(filterOf({ ...DEFAULTS, conditions: both })).toEqual({
      op: "and",
      filters: [{ op: "range", field: "price", min: null, max: 20 }, { op: "eq", field: "sold", value: true }],
    });
  });
});

describe("filters", () => {
  it("are the smallest tree that says it", () => {
    expect(filterOf(DEFAULTS)).toBeNull();
    expect(filterOf({ ...DEFAULTS, domains: ["photo"] })).toEqual({ op: "in", field: "domain", values: ["photo"] });
    expect(filterOf({ ...DEFAULTS, folders: ["a/b"] })).toEqual({ op: "prefix", field: "id", value: "a/b/" });
    expect(filterOf({ ...DEFAULTS, domains: ["photo"], folders: ["a", "b"] })).toEqual({
      op: "and",
      filters: [
        { op: "in", field: "domain", values: ["photo"] },
        { op: "or", filters: [{ op: "prefix", field: "id", value: "a/" }, { op: "prefix", field: "id", value: "b/" }] },
      ],
    });
  });
});

it("pictures are numbered in the order they are sent", () => {
  const [one, two] = [new Blob(["1"]), new Blob(["2"])];
  const { query, images } = queryOf(
    [{ picture: one, weight: 1 }, { text: "dog", weight: 0.5 }, { picture: two, weight: -0.5 }, { like: "x", weight: 1 }],
    { ...DEFAULTS, as: "none", rerank: "aqe" },
  );
  expect(images).toEqual([one, two]);
  expect(query.parts).toEqual([{ image: 0, weight: 1 }, { text: "dog", weight: 0.5 }, { image: 1, weight: -0.5 }, { like: "x", weight: 1 }]);
  expect(query).toMatchObject({ domain: null, rerank: "aqe", where: null, min_match: null, sort: "score" });
  expect(queryOf([], DEFAULTS).query).toMatchObject({ domain: "auto", rerank: null, goal: null });
});

it("a goal and a re-ranker that contradict each other give way to what was chosen last", () => {
  expect(towards("thing", "diffusion")).toEqual({ goal: "thing", rerank: "" });
  expect(towards("thing", "mmr")).toEqual({ goal: "thing", rerank: "mmr" });
  expect(towards("kind", "aqe")).toEqual({ goal: "kind", rerank: "aqe" });
  expect(rerankedBy("aqe", "thing")).toEqual({ goal: "kind", rerank: "aqe" });
  expect(rerankedBy("mmr", "thing")).toEqual({ goal: "thing", rerank: "mmr" });
  expect(rerankedBy("dba", null)).toEqual({ goal: null, rerank: "dba" });
});

it("a part of a picture and what was judged are sent along", () => {
  const picture = { kind: "image", key: "image:1", name: "a.jpg", file: new Blob(["1"]), weight: 1, region: null } as const;
  const [part] = withRegion([picture, textPart("a")], "image:1", [0.25, 0, 0.5, 1]);
  if (part?.kind !== "image") throw new Error("the picture is gone");
  const judgement = { liked: ["x"], disliked: ["y", "z"] };
  const { query } = queryOf([{ picture: part.file, region: part.region, weight: 1 }], DEFAULTS, judgement);
  expect(query).toMatchObject({ parts: [{ image: 0, weight: 1, region: [0.25, 0, 0.5, 1] }], ...judgement });
});
