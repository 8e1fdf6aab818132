/** The server's JSON, as far as the page uses it. */

export interface Collection {
  name: string;
  items: number;
  version: string;
  encoder: string;
  /** Whether its encoder understands words. */
  text: boolean;
  /** Items per domain. */
  domains: Record<string, number>;
  /** Domains that its encoder treats apart; a picture may be of one that is not indexed. */
  encoder_domains: string[];
  folders: string[];
  /** The items' own columns. */
  columns: Record<string, ColumnType>;
  /** What a search is for where it does not say, and what it may be for. */
  goal: Goal;
  goals: Goal[];
  calibrated: boolean;
  /** Whether pictures can be added and removed; an index in object storage is read and not changed. */
  writable: boolean;
}

/** This very thing in another look, or more of its kind. */
export type Goal = "thing" | "kind";

/** A value of an item's own column; dates are `2026-01-31` or `2026-01-31T12:00:00`. */
export type Own = string | number | boolean | string[];
export type ColumnType = "text" | "number" | "date" | "boolean" | "list";

/** What the items have in one of their own columns. */
export interface Facet {
  type: ColumnType;
  /** How many have a value. */
  items: number;
  /** Of texts, truth values and lists: the most frequent, and how many items have each. */
  values: [string | boolean, number][];
  min: number | string | null;
  max: number | string | null;
}

export interface Item {
  id: string;
  domain: string | null;
  label: string | null;
  folder: string | null;
  size: number | null;
  modified: number | null;
  columns: Record<string, Own>;
}

export interface Hit extends Item {
  score: number;
  duplicates: string[];
}

export interface Answer {
  hits: Hit[];
  match_probability: number | null;
  /** Whether that is no more than a guess, too rough for a number. */
  match_is_rough: boolean;
  /** The domain the pictures were taken to be of. */
  domain: string | null;
  items: number;
  seconds: Record<string, number>;
  /** What one should know about this answer. */
  notes: string[];
}

/** Work of the server that goes on after its request was answered. */
export interface Job {
  id: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  done: number;
  total: number;
  message: string;
  /** With `done`: how many were added or deleted, and which files were left out. */
  result: Record<string, unknown> | null;
}

export type Filter =
  | { op: "eq"; field: string; value: string | boolean }
  | { op: "range"; field: string; min: number | string | null; max: number | string | null }
  | { op: "in"; field: string; values: string[] }
  | { op: "prefix"; field: "id"; value: string }
  | { op: "and" | "or"; filters: Filter[] };

/** A part of a picture: x, y, width and height as shares of it. */
export type Region = readonly [x: number, y: number, width: number, height: number];

export type QueryPart = { weight: number } & ({ image: number; region?: Region } | { text: string } | { like: string });

export interface Query {
  parts: QueryPart[];
  domain: string | null;
  goal: Goal | null;
  top: number;
  min_score: number;
  min_match: number | null;
  where: Filter | null;
  sort: string;
  fold: number | null;
  rerank: string | null;
  /** Ids of the collection that the query is moved towards, and away from. */
  liked: readonly string[];
  disliked: readonly string[];
}
