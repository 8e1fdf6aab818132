/** Everything the page knows, as signals. Components read them; only actions.ts and search.ts write. */

import { computed, signal } from "@preact/signals";

import type { ApiError } from "../api/errors";
import type { Answer, Collection, Item } from "../api/types";
import { EMPTY } from "../sketch/history";
import type { Judged } from "./judged";
import type { Picked } from "./picks";
import { DEFAULTS, type Options, type Part } from "./query";

export type Side = "left" | "right";
export const SIDES: readonly Side[] = ["left", "right"];

export interface Column {
  /** The newest answer; kept while the next one is on its way. */
  answer: Answer | null;
  /** The collection that gave the answer. */
  from: string | null;
  busy: boolean;
  /** Why there is no answer: the server's error, or a fault of the query in words. */
  error: ApiError | string | null;
  /** Score below which hits are hidden. */
  cut: number | null;
}

export const NO_COLUMN: Column = { answer: null, from: null, busy: false, error: null, cut: null };

export interface Shown {
  collection: string;
  item: Item;
  score: number | null;
  duplicates: readonly string[];
  /** Where it stands in the column it was opened from. */
  place: { side: Side; at: number } | null;
}

export const collections = signal<Collection[] | null>(null);
export const collectionsError = signal<ApiError | null>(null);
export const chosen = { left: signal<string | null>(null), right: signal<string | null>(null) };
export const columns = { left: signal<Column>(NO_COLUMN), right: signal<Column>(NO_COLUMN) };
export const parts = signal<readonly Part[]>([]);
export const history = signal(EMPTY);
export const options = signal<Options>(DEFAULTS);
export const whileDrawing = signal(true);
export const shown = signal<Shown | null>(null);
/** Hits that are selected, over several searches, in the order they were taken. */
export const picks = signal<readonly Picked[]>([]);
/** Hits that were liked or disliked in this session. */
export const judged = signal<readonly Judged[]>([]);
/** Key of the picture of which a part is being cut out. */
export const cropping = signal<string | null>(null);
export const dialog = signal<"key" | "help" | "add" | "remove" | null>(null);
/** Read out by screen readers. */
export const announcement = signal("");
/** A passing note: a link was copied, a file was refused. */
export const notice = signal("");

export const collectionOf = (side: Side): Collection | null =>
  collections.value?.find(({ name }) => name === chosen[side].value) ?? null;

export const comparing = computed(() => collectionOf("right") !== null);

/** What pictures can be said to be: the domains of the items, those that the encoder treats apart, such as sketches in
 * an index of photos, and what the server has found pictures to be. */
export const askable = computed(() => {
  const found = SIDES.flatMap((side) => columns[side].value.answer?.domain ?? []);
  const said = ["auto", "none"].includes(options.value.as) ? [] : [options.value.as];
  const treated = SIDES.flatMap((side) => collectionOf(side)?.encoder_domains ?? []);
  return [...new Set([...searched.value.domains.map(([name]) => name), ...treated, ...found, ...said])].sort();
});

/** Domains and folders of the collections searched in. */
export const searched = computed(() => {
  const both = SIDES.map(collectionOf).filter((found) => found !== null);
  const domains = new Map<string, number>();
  for (const [name, count] of both.flatMap((collection) => Object.entries(collection.domains))) {
    domains.set(name, Math.max(count, domains.get(name) ?? 0));
  }
  return {
    domains: [...domains].sort(([a], [b]) => (a < b ? -1 : 1)),
    folders: [...new Set(both.flatMap((collection) => collection.folders))].sort(),
    text: both.some((collection) => collection.text),
  };
});
