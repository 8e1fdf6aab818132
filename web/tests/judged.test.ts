import { describe, expect, it } from "vitest";

import { isFull, isJudged, judgedCsv, judgementOf, MOST_JUDGED, readJudged, toggleJudged } from "../src/state/judged";

const entry = (id: string, liked: boolean, collection = "photos") => ({ collection, id, name: `the ${id}`, liked });

describe("likes and dislikes", () => {
  it("are one a picture; the same again takes it back", () => {
    const liked = toggleJudged([], entry("a", true));
    expect(isJudged(liked, "photos", "a")).toBe("liked");
    const turned = toggleJudged(liked, entry("a", false));
    expect(turned).toEqual([entry("a", false)]);
    expect(toggleJudged(turned, entry("a", false))).toEqual([]);
  });
  it("are sent to their own collection", () => {
    const judged = [entry("a", true), entry("b", false), entry("c", true, "drawings")];
    expect(judgementOf(judged, "photos")).toEqual({ liked: ["a"], disliked: ["b"] });
    expect(isJudged(judged, "photos", "c")).toBeNull();
  });
  it("are no more than the server takes", () => {
    const many = Array.from({ length: MOST_JUDGED }, (_, at) => entry(`${at}`, true));
    expect(isFull(many, entry("new", true))).toBe(true);
    expect([entry("0", true), entry("new", false), entry("new", true, "drawings")].some((one) => isFull(many, one))).toBe(false);
  });
  it("can be taken along as a list", () =>
    expect(judgedCsv([entry("a,b", true), entry("c", false)])).toBe(
      'collection,id,judged\r\nphotos,"a,b",liked\r\nphotos,c,disliked\r\n',
    ));
  it("are read again; what makes no sense is left out", () => {
    expect(readJudged(JSON.stringify([entry("a", true), null, 3, { id: "b" }, { ...entry("c", true), liked: 1 }]))).toEqual([entry("a", true)]);
    for (const text of [null, "", "{", "{}", "null"]) expect(readJudged(text)).toEqual([]);
  });
});
