import { describe, expect, it } from "vitest";

import type { Hit } from "../src/api/types";
import { toCsv } from "../src/state/csv";
import { isPicked, picksCsv, picksJson, togglePick, withPicks } from "../src/state/picks";

const hit = (id: string, columns: Hit["columns"] = {}): Hit => ({
  id, score: 0.5, duplicates: [], domain: "photo", label: null, folder: "a", size: 10, modified: null, columns,
});
const one = { collection: "photos", hit: hit("a/1.jpg", { camera: 'X "100"', tags: ["sea", "a, b"] }) };
const other = { collection: "photos", hit: hit("a/2.jpg", { sold: false }) };

describe("a selection", () => {
  it("takes a hit once, and loses it when it is chosen again", () => {
    const both = togglePick(togglePick([], one), other);
    expect(both).toEqual([one, other]);
    expect(togglePick(both, { ...one, hit: { ...one.hit, score: 0.1 } })).toEqual([other]);
    expect(withPicks([one], [other, one])).toEqual([one, other]);
    expect(isPicked([one], "drawings", "a/1.jpg")).toBe(false);
  });
  it("as CSV has every column that any hit has", () => {
    expect(picksCsv([one, other]).split("\r\n")).toEqual([
      "collection,id,score,domain,label,folder,size,modified,camera,sold,tags",
      'photos,a/1.jpg,0.5,photo,,a,10,,"X ""100""",,"[""sea"",""a, b""]"',
      "photos,a/2.jpg,0.5,photo,,a,10,,,false,",
      "",
    ]);
  });
  it("as JSON says what the server said, without addresses", () => {
    const answered = { ...one.hit, thumbnail: "/api/secret" };
    expect(JSON.parse(picksJson([{ collection: "photos", hit: answered }]))).toEqual([{ collection: "photos", ...one.hit }]);
  });
});

it("cells that would break a line are quoted", () => {
  expect(toCsv([["a\nb", " c", "d\r", "e", null, true]])).toBe('"a\nb"," c","d\r",e,,true\r\n');
});
