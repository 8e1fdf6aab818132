import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { getCollections, search, storeKey } from "../src/api/client";
import { ApiError, plainWords, problemDetail } from "../src/api/errors";
import { DEFAULTS, queryOf } from "../src/state/query";

/** A server of one answer, in place of the browser's fetch. */
function answering(answer: () => Promise<Response>) {
  const asked = vi.fn((_path: string, _init?: RequestInit) => answer());
  vi.stubGlobal("fetch", asked);
  return asked;
}

const problem = (status: number, body: unknown, headers: Record<string, string> = {}) => async () =>
  new Response(JSON.stringify(body), { status, headers });

beforeEach(() => {
  const kept = new Map<string, string>();
  vi.stubGlobal("sessionStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
});
afterEach(() => void vi.unstubAllGlobals());

describe("requests", () => {
  it("that nobody answers have status 0", async () => {
    answering(() => Promise.reject(new TypeError("Failed to fetch")));
    await expect(getCollections()).rejects.toMatchObject({ status: 0 });
  });
  it("that were aborted stay aborted", async () => {
    answering(() => Promise.reject(new DOMException("stop", "AbortError")));
    await expect(getCollections()).rejects.toBeInstanceOf(DOMException);
  });
  it("carry the server's sentence and how long to wait", async () => {
    answering(problem(429, { title: "Too many", detail: "10 a second" }, { "Retry-After": "3" }));
    await expect(getCollections()).rejects.toMatchObject({ status: 429, detail: "10 a second", retryAfter: 3 });
  });
  it("survive an answer that is no JSON", async () => {
    answering(async () => new Response("<h1>Bad gateway</h1>", { status: 502 }));
    await expect(getCollections()).rejects.toMatchObject({ status: 502, detail: "" });
  });
  it("send the key only once there is one", async () => {
    const asked = answering(problem(200, []));
    await getCollections();
    storeKey("secret");
    await getCollections();
    const sent = asked.mock.calls.map(([, init]) => new Headers(init?.headers).get("Authorization"));
    expect(sent).toEqual([null, "Bearer secret"]);
  });
  it("send JSON without pictures and a form with them", async () => {
    const asked = answering(problem(200, {}));
    const json = queryOf([{ text: "dog", weight: 1 }], DEFAULTS);
    await search("a b", json.query, json.images);
    const form = queryOf([{ picture: new Blob(["x"]), weight: 1 }], DEFAULTS);
    await search("a b", form.query, form.images);
    expect(asked.mock.calls.map(([path]) => path)).toEqual(Array(2).fill("api/v1/collections/a%20b/search"));
    expect(JSON.parse(String(asked.mock.calls[0]?.[1]?.body))).toEqual(json.query);
    const body = asked.mock.calls[1]?.[1]?.body as FormData;
    expect(JSON.parse(String(body.get("query")))).toEqual(form.query);
    expect(body.getAll("images")).toHaveLength(1);
  });
});

describe("errors", () => {
  it.each([0, 400, 401, 403, 404, 413, 415, 422, 429, 500, 503])("%i is said in words", (status) => {
    const { title, advice } = plainWords(new ApiError(status, ""));
    expect(title).not.toMatch(/\d|undefined/);
    expect(advice.length).toBeGreaterThan(20);
  });
  it("say how long to wait", () => expect(plainWords(new ApiError(429, "", 7)).advice).toContain("in 7 s"));
  it("read problem documents and lists of faults", () => {
    expect(problemDetail({ title: "Bad", detail: "why" })).toBe("why");
    expect(problemDetail({ title: "Bad" })).toBe("Bad");
    expect(problemDetail({ detail: [{ msg: "one" }, { msg: "two" }, 3] })).toBe("one; two");
    expect([null, "text", {}, { detail: 5 }].map(problemDetail)).toEqual(["", "", "", ""]);
  });
});
