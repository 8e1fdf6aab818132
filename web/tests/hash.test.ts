import { describe, expect, it } from "vitest";

import { fromHash, likePart, textPart, toHash, type Shared } from "../src/state/hash";
import { DEFAULTS, SKETCH_KEY } from "../src/state/query";

const full: Shared = {
  collection: "my photos & more",
  versus: "clip",
  parts: [textPart("a dog: big=bad & #1", 0.5), likePart("my:photos", "photo/ä b/1:2.jpg", -0.35), textPart("50 %")],
  options: {
    domains: ["photo", "clip art"],
    folders: ["photo/dog", "a&b=c"],
    conditions: [
      { column: "camera & more", value: "X100V" },
      { column: "sold", value: false },
      { column: "price", min: null, max: 19.5 },
    ],
    as: "sketch",
    goal: "thing",
    top: 100,
    sort: "-modified",
    fold: 0.95,
    rerank: "k-reciprocal",
    minMatch: 0.4,
  },
  cut: -0.125,
};
const empty: Shared = { collection: null, versus: null, parts: [], options: DEFAULTS, cut: null };

describe("the address", () => {
  it("keeps everything that can be shared", () => expect(fromHash(toHash(full))).toEqual(full));
  it("is empty for an untouched page", () => {
    expect(toHash(empty)).toBe("");
    expect(fromHash("")).toEqual(empty);
  });
  it("holds no pictures", () => {
    const sketch = { kind: "sketch", key: SKETCH_KEY, weight: 1 } as const;
    const image = { kind: "image", key: "image:1", name: "secret.jpg", file: new Blob(["x"]), weight: 1, region: null } as const;
    expect(toHash({ ...empty, parts: [sketch, image] })).toBe("");
  });
});

describe("an address that anybody may have written", () => {
  it("loses what makes no sense", () => {
    const hash = "#top=0&sort=&fold=7&match=x&cut=&rerank=constructor&goal=toString&q=text&q=like:1:nocolon&q=evil:1:x&q=text:1:"
      + '&if=x&if=[]&if=null&if={"column":"a"}&if={"column":"a","min":null,"max":null}&if={"column":1,"value":"x"}';
    expect(fromHash(hash)).toEqual(empty);
  });
  it("keeps weights within -1 and 1", () => {
    const weights = fromHash("#q=text:7:a&q=text:-9:b&q=text:NaN:c&q=text::d&q=text:0.333:e").parts.map(({ weight }) => weight);
    expect(weights).toEqual([1, -1, 1, 1, 0.33]);
  });
  it("names each part once", () => expect(fromHash("#q=text:1:a&q=text:0.5:a").parts).toEqual([textPart("a", 0.5)]));
  it("does not fail on broken percent signs", () => expect(fromHash("#q=like:1:%25E0%25A4:x&c=%").parts).toEqual([]));
});
