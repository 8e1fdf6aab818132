/** What the user can do, as changes of the signals. */

import { batch } from "@preact/signals";

import { getCollections, getItem, storeKey } from "../api/client";
import { ApiError } from "../api/errors";
import type { Hit, Region } from "../api/types";
import { add, clear, EMPTY, isBlank, redo, undo, type History, type Stroke } from "../sketch/history";
import { likePart, textPart } from "./hash";
import { isFull, MOST_JUDGED, toggleJudged } from "./judged";
import { togglePick, withPicks } from "./picks";
import { orNone } from "./region";
import * as query from "./query";
import { shrunk } from "./shrink";
import * as store from "./store";
import { NO_COLUMN, SIDES, type Side } from "./store";
import { mayBePicture } from "./formats";

let files = 0;

function setHistory(next: History): void {
  batch(() => {
    store.history.value = next;
    const sketched = store.parts.value.some(({ kind }) => kind === "sketch");
    if (isBlank(next) === sketched) {
      store.parts.value = sketched
        ? query.withoutPart(store.parts.value, query.SKETCH_KEY)
        : [{ kind: "sketch", key: query.SKETCH_KEY, weight: 1 }, ...store.parts.value];
    }
  });
}

export const draw = (stroke: Stroke): void => setHistory(add(store.history.value, stroke));
export const undoStroke = (): void => setHistory(undo(store.history.value));
export const redoStroke = (): void => setHistory(redo(store.history.value));
export const clearSketch = (): void => setHistory(clear(store.history.value));

/** Searches with these words in place of those there are. */
export function setText(text: string): void {
  const words = text.trim();
  if (words) store.parts.value = query.withWords(store.parts.value, textPart(words));
}

/** Mixes these words with what is there. */
export function addText(text: string): void {
  const words = text.trim();
  if (words) store.parts.value = query.withPart(store.parts.value, textPart(words));
}

export function addLike(collection: string, id: string, weight: number): void {
  batch(() => {
    store.parts.value = query.withPart(store.parts.value, likePart(collection, id, weight));
    store.notice.value = weight < 0 ? "Pushed away from this picture" : "Added to the query";
  });
}

export function onlyLike(collection: string, id: string): void {
  batch(() => {
    store.history.value = EMPTY;
    store.parts.value = [likePart(collection, id)];
  });
}

export async function addFiles(chosen: Iterable<File>): Promise<void> {
  for (const file of chosen) {
    if (!mayBePicture(file)) {
      store.notice.value = `${file.name} is not a picture`;
      continue;
    }
    const images = store.parts.value.filter(({ kind }) => kind === "image" || kind === "sketch").length;
    if (images >= query.MOST_IMAGES) {
      store.notice.value = `A query holds at most ${query.MOST_IMAGES} pictures`;
      return;
    }
    const picture = await shrunk(file);
    const key = `image:${++files}`;
    const name = file.name || "Pasted picture";
    store.parts.value = query.withPart(store.parts.value, { kind: "image", key, file: picture, name, weight: 1, region: null });
  }
}

export function setWeight(key: string, weight: number): void {
  store.parts.value = query.withWeight(store.parts.value, key, weight);
}

export function setRegion(key: string, region: Region | null): void {
  batch(() => {
    store.parts.value = query.withRegion(store.parts.value, key, orNone(region));
    store.cropping.value = null;
  });
}

/** Selects a hit, or no longer. */
export function pick(collection: string, hit: Hit): void {
  store.picks.value = togglePick(store.picks.value, { collection, hit });
}

export function pickAll(collection: string, hits: readonly Hit[]): void {
  store.picks.value = withPicks(store.picks.value, hits.map((hit) => ({ collection, hit })));
}

/** Likes or dislikes an item; the same again takes it back. */
export function judge(collection: string, { id, label }: Pick<Hit, "id" | "label">, liked: boolean): void {
  const next = { collection, id, name: label ?? id, liked };
  if (isFull(store.judged.value, next)) {
    store.notice.value = `A search takes at most ${MOST_JUDGED} of each; forget some`;
    return;
  }
  store.judged.value = toggleJudged(store.judged.value, next);
}

export async function copyText(text: string, done: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    store.notice.value = done;
  } catch {
    store.notice.value = "This browser does not allow copying here";
  }
}

export function removePart(key: string): void {
  if (key === query.SKETCH_KEY) clearSketch();
  else store.parts.value = query.withoutPart(store.parts.value, key);
}

export function clearQuery(): void {
  batch(() => {
    store.history.value = clear(store.history.value);
    store.parts.value = [];
  });
}

export function setOptions(change: Partial<query.Options>): void {
  store.options.value = { ...store.options.value, ...change };
}

export function setCut(side: Side, cut: number | null): void {
  store.columns[side].value = { ...store.columns[side].value, cut };
}

export function choose(side: Side, name: string | null): void {
  batch(() => {
    store.chosen[side].value = name;
    store.columns[side].value = NO_COLUMN;
    const known = store.searched.value;
    const { domains, folders } = store.options.value;
    setOptions({
      domains: domains.filter((domain) => known.domains.some(([there]) => there === domain)),
      folders: folders.filter((folder) => known.folders.includes(folder)),
    });
  });
}

export async function loadCollections(): Promise<void> {
  try {
    const found = await getCollections();
    batch(() => {
      store.collections.value = found;
      store.collectionsError.value = null;
      const names = found.map(({ name }) => name);
      const { left, right } = store.chosen;
      if (!names.includes(left.value ?? "")) left.value = names[0] ?? null;
      if (right.value === left.value || !names.includes(right.value ?? "")) right.value = null;
    });
  } catch (error) {
    store.collectionsError.value = error instanceof ApiError ? error : new ApiError(-1, String(error));
    if (store.collectionsError.value.status === 401) store.dialog.value = "key";
    if (store.collectionsError.value.status === 0) setTimeout(() => void loadCollections(), 5000);
  }
}

export function enterKey(key: string): void {
  storeKey(key.trim() || null);
  store.dialog.value = null;
  void loadCollections();
}

/** Opens a hit of a column. */
export function openHit(side: Side, at: number, hits: readonly Hit[]): void {
  const hit = hits[at];
  const collection = store.columns[side].value.from;
  if (!hit || !collection) return;
  store.shown.value = { collection, item: hit, score: hit.score, duplicates: hit.duplicates, place: { side, at } };
}

/** Opens an item that is no hit itself, such as a near-duplicate of one. */
export async function openItem(collection: string, id: string): Promise<void> {
  try {
    const item = await getItem(collection, id);
    store.shown.value = { collection, item, score: null, duplicates: [], place: null };
  } catch (error) {
    store.notice.value = error instanceof ApiError && error.status === 404 ? `${id} is gone` : `${id} cannot be shown`;
  }
}

export function closeCompare(): void {
  choose("right", null);
  SIDES.forEach((side) => setCut(side, null));
}
