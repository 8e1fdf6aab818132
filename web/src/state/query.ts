/** The query as the page holds it, and as the server wants it. Pure. */

import type { Collection, ColumnType, Filter, Goal, Query, QueryPart, Region } from "../api/types";

export type Part = { readonly key: string; readonly weight: number } & (
  | { readonly kind: "text"; readonly text: string }
  /** An indexed item, and the collection it was found in. */
  | { readonly kind: "like"; readonly id: string; readonly collection: string }
  | { readonly kind: "image"; readonly file: Blob; readonly name: string; readonly region: Region | null }
  | { readonly kind: "sketch" }
);

/** What an item's own column must be. */
export type Condition =
  | { readonly column: string; readonly value: string | boolean }
  | { readonly column: string; readonly min: number | string | null; readonly max: number | string | null };

export interface Options {
  /** Domains to search in; none means all. */
  domains: readonly string[];
  /** Beginnings of ids to search in; none means all. */
  folders: readonly string[];
  /** What the items' own columns must be, at most one condition each. */
  conditions: readonly Condition[];
  /** Domain of the pictures asked with: ``auto``, ``none`` or a domain's name. */
  as: string;
  /** What is looked for; null takes the collection's own. */
  goal: Goal | null;
  top: number;
  sort: string;
  /** Cosine from which near-duplicates are folded, or null. */
  fold: number | null;
  rerank: string;
  /** Probability of a match below which the answer is "no match", or null. */
  minMatch: number | null;
}

export const DEFAULTS: Options = {
  domains: [],
  folders: [],
  conditions: [],
  as: "auto",
  goal: null,
  top: 40,
  sort: "score",
  fold: null,
  rerank: "",
  minMatch: null,
};

export const MOST_IMAGES = 8;
export const SKETCH_KEY = "sketch";
export const SORTS: Record<string, string> = {
  score: "Best match first",
  label: "Label, A to Z",
  domain: "Domain",
  id: "Id",
  "-size": "Largest file first",
  "-modified": "Last changed file first",
};
export const RERANKS: Record<string, string> = {
  "": "None",
  aqe: "Query expansion",
  dba: "Database augmentation",
  "k-reciprocal": "k-reciprocal",
  diffusion: "Diffusion",
  mmr: "Different ones first",
};

/** What may be looked for, in words. */
export const GOALS: Record<Goal, string> = { thing: "The same thing", kind: "The same kind" };

/** Re-rankers that leave the very thing where it is. */
const FOR_THINGS = ["", "mmr"];

/** What to set for another goal: a re-ranker that contradicts it is left out. */
export function towards(goal: Goal, rerank: string): Pick<Options, "goal" | "rerank"> {
  return { goal, rerank: goal === "thing" && !FOR_THINGS.includes(rerank) ? "" : rerank };
}

/** What to set for another re-ranker: it is for a kind, unless it leaves the very thing where it is. */
export function rerankedBy(rerank: string, goal: Goal | null): Pick<Options, "goal" | "rerank"> {
  return { rerank, goal: goal === "thing" && !FOR_THINGS.includes(rerank) ? "kind" : goal };
}

/** Ways to sort by the items' own columns, dates first; lists have no order. */
export function columnSorts(columns: Readonly<Record<string, ColumnType>>): Record<string, string> {
  const ways: Partial<Record<ColumnType, readonly [up: string, down: string]>> = {
    date: ["oldest first", "newest first"],
    number: ["smallest first", "largest first"],
    text: ["A to Z", "Z to A"],
  };
  const types = Object.keys(ways);
  return Object.fromEntries(
    Object.entries(columns)
      .filter(([, type]) => type in ways)
      .sort(([, a], [, b]) => types.indexOf(a) - types.indexOf(b))
      .flatMap(([name, type]) => {
        const [up, down] = ways[type] ?? [];
        const both = [[name, `${name}, ${up}`], [`-${name}`, `${name}, ${down}`]];
        return type === "date" ? both.reverse() : both;
      }),
  );
}

/** The order that is asked for, or the default one where these columns know no such order. */
export function sortFor(sort: string, columns: Readonly<Record<string, ColumnType>>): string {
  return Object.hasOwn(SORTS, sort) || Object.hasOwn(columnSorts(columns), sort) ? sort : DEFAULTS.sort;
}

/** Weights lie in -1 to 1 and have two decimals. */
export function toWeight(value: number): number {
  return Number.isFinite(value) ? Math.round(Math.max(-1, Math.min(1, value)) * 100) / 100 + 0 : 1;
}

/** Adds a part, or gives the one with its key the new weight. */
export function withPart(parts: readonly Part[], part: Part): Part[] {
  return parts.some(({ key }) => key === part.key)
    ? withWeight(parts, part.key, part.weight)
    : [...parts, { ...part, weight: toWeight(part.weight) }];
}

export function withWeight(parts: readonly Part[], key: string, weight: number): Part[] {
  return parts.map((part) => (part.key === key ? { ...part, weight: toWeight(weight) } : part));
}

/** The parts with other words: they take the place of all words there are. */
export function withWords(parts: readonly Part[], part: Part): Part[] {
  const at = parts.findIndex(({ kind }) => kind === "text");
  const others = parts.filter(({ kind }) => kind !== "text");
  return at < 0 ? [...others, part] : others.toSpliced(at, 0, part);
}

export function withRegion(parts: readonly Part[], key: string, region: Region | null): Part[] {
  return parts.map((part) => (part.key === key && part.kind === "image" ? { ...part, region } : part));
}

export function withoutPart(parts: readonly Part[], key: string): Part[] {
  return parts.filter((part) => part.key !== key);
}

/** Why these parts cannot be searched with, or null when they can. An empty list is no fault. */
export function fault(parts: readonly Part[], collection: Pick<Collection, "text" | "name">): string | null {
  const counting = parts.filter(({ weight }) => weight !== 0);
  if (parts.length > 0 && counting.length === 0) return "Every part has weight 0. Give one a weight.";
  if (counting.length > 0 && counting.every(({ weight }) => weight < 0)) {
    return "Every part pushes away. Add one with a positive weight.";
  }
  if (!collection.text && counting.some(({ kind }) => kind === "text")) {
    return `The encoder of ${collection.name} does not understand words. Remove them, or draw instead.`;
  }
  return null;
}

/** The conditions with another one for its column, or none where it asks for nothing. */
export function withCondition(conditions: readonly Condition[], column: string, next: Condition | null): Condition[] {
  const others = conditions.filter((condition) => condition.column !== column);
  const asks = next !== null && ("value" in next || next.min !== null || next.max !== null);
  return asks ? [...others, next] : others;
}

export function filterOf(
  { domains, folders, conditions }: Pick<Options, "domains" | "folders" | "conditions">,
): Filter | null {
  const filters: Filter[] = [];
  if (domains.length > 0) filters.push({ op: "in", field: "domain", values: [...domains] });
  const prefixes = folders.map((folder): Filter => ({ op: "prefix", field: "id", value: `${folder}/` }));
  if (prefixes.length === 1) filters.push(...prefixes);
  else if (prefixes.length > 1) filters.push({ op: "or", filters: prefixes });
  for (const condition of conditions) {
    const { column: field } = condition;
    if ("value" in condition) filters.push({ op: "eq", field, value: condition.value });
    else filters.push({ op: "range", field, min: condition.min, max: condition.max });
  }
  return filters.length > 1 ? { op: "and", filters } : (filters[0] ?? null);
}

/** What a part becomes for one collection: words, an item of its own, or a picture to send along. */
export type Resolved = { weight: number } & (
  | { text: string }
  | { like: string }
  | { picture: Blob; region?: Region | null }
);

/** Ids of one collection that were judged. */
export interface Judgement {
  liked: readonly string[];
  disliked: readonly string[];
}

export function queryOf(
  resolved: readonly Resolved[],
  options: Options,
  { liked, disliked }: Judgement = { liked: [], disliked: [] },
): { query: Query; images: Blob[] } {
  const images: Blob[] = [];
  const parts = resolved.map((part): QueryPart => {
    if (!("picture" in part)) return part;
    images.push(part.picture);
    const image = { image: images.length - 1, weight: part.weight };
    return part.region ? { ...image, region: part.region } : image;
  });
  const query: Query = {
    parts,
    domain: options.as === "none" ? null : options.as,
    goal: options.goal,
    top: options.top,
    min_score: -1,
    // What "no match" means is told from the probability here: the server would leave the hits out.
    min_match: null,
    where: filterOf(options),
    sort: options.sort,
    fold: options.fold,
    rerank: options.rerank || null,
    liked,
    disliked,
  };
  return { query, images };
}
