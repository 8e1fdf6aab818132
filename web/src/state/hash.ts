/** What can be shared of a search, as the address's hash: words, items, filters and options, but no pictures. Pure. */

import type { Goal } from "../api/types";
import { DEFAULTS, GOALS, RERANKS, toWeight, type Condition, type Options, type Part } from "./query";

export interface Shared {
  collection: string | null;
  /** The collection compared with. */
  versus: string | null;
  parts: Part[];
  options: Options;
  /** Score below which hits are hidden. */
  cut: number | null;
}

export function toHash({ collection, versus, parts, options, cut }: Shared): string {
  const words = new URLSearchParams();
  if (collection) words.set("c", collection);
  if (versus) words.set("vs", versus);
  for (const part of parts) {
    if (part.kind === "text") words.append("q", `text:${part.weight}:${part.text}`);
    if (part.kind === "like") {
      words.append("q", `like:${part.weight}:${encodeURIComponent(part.collection)}:${part.id}`);
    }
  }
  options.domains.forEach((domain) => words.append("in", domain));
  options.folders.forEach((folder) => words.append("under", folder));
  options.conditions.forEach((condition) => words.append("if", JSON.stringify(condition)));
  if (options.as !== DEFAULTS.as) words.set("as", options.as);
  if (options.goal !== null) words.set("goal", options.goal);
  if (options.top !== DEFAULTS.top) words.set("top", String(options.top));
  if (options.sort !== DEFAULTS.sort) words.set("sort", options.sort);
  if (options.fold !== null) words.set("fold", String(options.fold));
  if (options.rerank) words.set("rerank", options.rerank);
  if (options.minMatch !== null) words.set("match", String(options.minMatch));
  if (cut !== null) words.set("cut", String(cut));
  const hash = words.toString();
  return hash ? `#${hash}` : "";
}

/** Reads a hash that anybody may have written: what makes no sense is left out. */
export function fromHash(hash: string): Shared {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const rerank = words.get("rerank") ?? "";
  const goal = words.get("goal") ?? "";
  return {
    collection: words.get("c"),
    versus: words.get("vs"),
    parts: unique(words.getAll("q").flatMap(toPart)),
    options: {
      domains: [...new Set(words.getAll("in"))],
      folders: [...new Set(words.getAll("under"))],
      conditions: words.getAll("if").flatMap(toCondition),
      as: words.get("as") || DEFAULTS.as,
      goal: Object.hasOwn(GOALS, goal) ? (goal as Goal) : DEFAULTS.goal,
      top: Math.round(within(words.get("top"), 1, 1000) ?? DEFAULTS.top),
      // It may be a column of a collection that is not known yet; see ``sortFor``.
      sort: words.get("sort") || DEFAULTS.sort,
      fold: within(words.get("fold"), 0, 1),
      rerank: Object.hasOwn(RERANKS, rerank) ? rerank : DEFAULTS.rerank,
      minMatch: within(words.get("match"), 0, 1),
    },
    cut: within(words.get("cut"), -1, 1),
  };
}

export function textPart(text: string, weight = 1): Part {
  return { kind: "text", key: `text:${text}`, text, weight };
}

export function likePart(collection: string, id: string, weight = 1): Part {
  return { kind: "like", key: `like:${collection}:${id}`, collection, id, weight };
}

function toPart(word: string): Part[] {
  const found = /^(text|like):([^:]*):(.+)$/s.exec(word);
  if (!found) return [];
  const [, kind, number = "", value = ""] = found;
  const weight = number.trim() === "" ? 1 : toWeight(Number(number));
  if (kind === "text") return [textPart(value, weight)];
  const at = value.indexOf(":");
  if (at < 1 || at === value.length - 1) return [];
  try {
    return [likePart(decodeURIComponent(value.slice(0, at)), value.slice(at + 1), weight)];
  } catch {
    return [];
  }
}

function toCondition(word: string): Condition[] {
  try {
    const { column, value, min, max } = JSON.parse(word) as Record<string, unknown>;
    if (typeof column !== "string" || column === "") return [];
    if (typeof value === "string" || typeof value === "boolean") return [{ column, value }];
    const isEnd = (end: unknown): end is number | string | null =>
      end === null || typeof end === "string" || typeof end === "number";
    return isEnd(min) && isEnd(max) && (min ?? max) !== null ? [{ column, min, max }] : [];
  } catch {
    return [];
  }
}

function unique(parts: Part[]): Part[] {
  return [...new Map(parts.map((part) => [part.key, part])).values()];
}

function within(text: string | null, low: number, high: number): number | null {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return value >= low && value <= high ? value : null;
}
