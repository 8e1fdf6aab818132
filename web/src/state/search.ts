/** From the signals to answers: when to search, what to send, what to do with what comes back. */

import { effect, untracked } from "@preact/signals";

import { getItem, getPicture, imagePath, search } from "../api/client";
import { ApiError } from "../api/errors";
import type { Collection } from "../api/types";
import { isBlank, strokes } from "../sketch/history";
import { sketchPicture } from "../sketch/paint";
import { forgetGone } from "./changes";
import { countInWords, isNoMatch } from "./hits";
import { judgementOf } from "./judged";
import { Debouncer, Latest } from "./latest";
import { DEFAULTS, fault, queryOf, sortFor, type Part, type Resolved } from "./query";
import * as store from "./store";
import { SIDES, type Column, type Side } from "./store";

const WAIT = 250;
const RETRY = 5000;
const latest = { left: new Latest(), right: new Latest() };
let retry: ReturnType<typeof setTimeout> | undefined;

const searching = new Debouncer(() => SIDES.forEach((side) => void searchSide(side)), WAIT);

/** Searches at once, also when "search while drawing" is off. */
export function searchNow(): void {
  searching.flush();
}

/** Searches a moment after anything that the answer depends on has changed. */
export function searchOnChange(): void {
  let drawn = store.history.value;
  effect(() => {
    const { history, parts, options, chosen, collections, whileDrawing } = store;
    void [parts.value, options.value, store.judged.value, chosen.left.value, chosen.right.value, collections.value];
    const onlyDrawn = history.value !== drawn;
    drawn = history.value;
    untracked(() => {
      if (!onlyDrawn || whileDrawing.value || isBlank(history.value)) searching.ask();
    });
  });
}

function change(side: Side, what: Partial<Column>): void {
  store.columns[side].value = { ...store.columns[side].value, ...what };
}

async function searchSide(side: Side): Promise<void> {
  clearTimeout(retry);
  const collection = store.collectionOf(side);
  const parts = store.parts.value;
  const wrong = collection && fault(parts, collection);
  if (!collection || parts.length === 0 || wrong) {
    latest[side].cancel();
    change(side, { answer: null, busy: false, error: wrong || null });
    return;
  }
  change(side, { busy: true });
  await latest[side].run(
    async (signal) => {
      const resolved = await Promise.all(
        parts.filter(({ weight }) => weight !== 0).map((part) => resolve(part, collection, signal)),
      );
      const { query, images } = queryOf(
        resolved,
        optionsFor(collection),
        judgementOf(store.judged.value, collection.name),
      );
      return search(collection.name, query, images, signal);
    },
    (answer) => {
      change(side, { answer, from: collection.name, busy: false, error: null });
      announce();
    },
    (reason) => {
      const error = reason instanceof ApiError ? reason : new ApiError(-1, String(reason));
      // The search asks again by itself once what is gone is forgotten.
      if (error.status === 422) void forgetGone(collection.name);
      change(side, { answer: null, busy: false, error });
      if (error.status === 401) store.dialog.value = "key";
      if (error.status === 0) retry = setTimeout(searchNow, RETRY);
    },
  );
}

/** The options without what only another collection has: a query domain, conditions on its columns, and their order. */
function optionsFor(collection: Collection): typeof DEFAULTS {
  const options = store.options.value;
  const others = SIDES.map(store.collectionOf).filter((other) => other !== null && other !== collection);
  const foreign = !(options.as in collection.domains) && others.some((other) => options.as in (other?.domains ?? {}));
  const conditions = options.conditions.filter(({ column }) => column in collection.columns);
  const sort = sortFor(options.sort, collection.columns);
  const goal = options.goal !== null && collection.goals.includes(options.goal) ? options.goal : DEFAULTS.goal;
  return { ...options, conditions, goal, sort, as: foreign ? DEFAULTS.as : options.as };
}

async function resolve(part: Part, collection: Collection, signal: AbortSignal): Promise<Resolved> {
  const { weight } = part;
  switch (part.kind) {
    case "text":
      return { text: part.text, weight };
    case "image":
      return { picture: part.file, weight, region: part.region };
    case "sketch":
      return { picture: await sketchPicture(strokes(store.history.value)), weight };
    case "like": {
      // An item of another collection is asked for by its picture where this one does not hold it.
      const here = part.collection === collection.name || (await holds(collection, part.id));
      if (here) return { like: part.id, weight };
      return { picture: await getPicture(imagePath(part.collection, part.id), signal), weight };
    }
  }
}

const held = new Map<string, Promise<boolean>>();

function holds(collection: Collection, id: string): Promise<boolean> {
  const key = `${collection.name}:${collection.version}:${id}`;
  const known = held.get(key);
  if (known) return known;
  const asked = getItem(collection.name, id).then(
    () => true,
    (error: unknown) => {
      if (error instanceof ApiError && error.status === 404) return false;
      held.delete(key);
      throw error;
    },
  );
  held.set(key, asked);
  return asked;
}

function announce(): void {
  store.announcement.value = SIDES.flatMap((side) => {
    const { answer, from } = store.columns[side].value;
    if (!answer) return [];
    const found = countInWords(answer.hits.length, answer.hits.length);
    const count = isNoMatch(answer, store.options.value.minMatch) ? `no match; the nearest ${found}` : found;
    return [store.comparing.value ? `${from}: ${count}` : count];
  }).join("; ");
}
