/** Hits that were liked or disliked. Pure. */

import { toCsv } from "./csv";
import type { Judgement } from "./query";

export interface Judged {
  readonly collection: string;
  readonly id: string;
  /** What it is called on the page. */
  readonly name: string;
  readonly liked: boolean;
}

/** Most liked, and most disliked items of a collection that the server takes. */
export const MOST_JUDGED = 200;

const isSame = (one: Judged, other: Judged): boolean =>
  one.collection === other.collection && one.id === other.id;

/** What was judged, and this too; the same judgement again takes it back. */
export function toggleJudged(judged: readonly Judged[], next: Judged): Judged[] {
  const before = judged.find((one) => isSame(one, next));
  const others = judged.filter((one) => one !== before);
  return before?.liked === next.liked ? others : [...others, next];
}

/** Whether there is no room for another one like it. */
export function isFull(judged: readonly Judged[], next: Judged): boolean {
  const alike = judged.filter(({ collection, liked }) => collection === next.collection && liked === next.liked);
  return alike.length >= MOST_JUDGED && !alike.some((one) => isSame(one, next));
}

export function isJudged(judged: readonly Judged[], collection: string, id: string): "liked" | "disliked" | null {
  const found = judged.find((one) => one.collection === collection && one.id === id);
  return found ? (found.liked ? "liked" : "disliked") : null;
}

/** The ids of one collection, as a query names them. */
export function judgementOf(judged: readonly Judged[], collection: string): Judgement {
  const ids = (wanted: boolean) =>
    judged.filter((one) => one.collection === collection && one.liked === wanted).map(({ id }) => id);
  return { liked: ids(true), disliked: ids(false) };
}

export function judgedCsv(judged: readonly Judged[]): string {
  return toCsv([
    ["collection", "id", "judged"],
    ...judged.map(({ collection, id, liked }) => [collection, id, liked ? "liked" : "disliked"]),
  ]);
}

/** Reads what was kept; what makes no sense is left out. */
export function readJudged(text: string | null): Judged[] {
  try {
    const found: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Judged {
  if (typeof value !== "object" || value === null) return false;
  const { collection, id, name, liked } = value as Record<string, unknown>;
  const named = [collection, id, name].every((text) => typeof text === "string" && text !== "");
  return named && typeof liked === "boolean";
}
