/** Hits that are selected, and what is written of them. Pure. */

import type { Hit } from "../api/types";
import { toCsv, type Cell } from "./csv";

export interface Picked {
  readonly collection: string;
  readonly hit: Hit;
}

const isSame = (one: Picked, other: Picked): boolean =>
  one.collection === other.collection && one.hit.id === other.hit.id;

export const isPicked = (picks: readonly Picked[], collection: string, id: string): boolean =>
  picks.some((pick) => pick.collection === collection && pick.hit.id === id);

export function togglePick(picks: readonly Picked[], pick: Picked): Picked[] {
  const others = picks.filter((one) => !isSame(one, pick));
  return others.length < picks.length ? others : [...picks, pick];
}

/** The picks and those of ``more`` that are not among them. */
export function withPicks(picks: readonly Picked[], more: readonly Picked[]): Picked[] {
  return [...picks, ...more.filter(({ collection, hit }) => !isPicked(picks, collection, hit.id))];
}

/** A line a hit, with the columns that any of them has. */
export function picksCsv(picks: readonly Picked[]): string {
  const own = [...new Set(picks.flatMap(({ hit }) => Object.keys(hit.columns)))].sort();
  const head = ["collection", "id", "score", "domain", "label", "folder", "size", "modified", ...own];
  return toCsv([
    head,
    ...picks.map(({ collection, hit }): Cell[] => [
      collection, hit.id, hit.score, hit.domain, hit.label, hit.folder, hit.size, hit.modified,
      ...own.map((name) => (Object.hasOwn(hit.columns, name) ? (hit.columns[name] ?? null) : null)),
    ]),
  ]);
}

/** A list of what the server said of each hit, but for the addresses of its pictures. */
export function picksJson(picks: readonly Picked[]): string {
  const told = picks.map(({ collection, hit }) => {
    const { id, score, domain, label, folder, size, modified, columns, duplicates } = hit;
    return { collection, id, score, domain, label, folder, size, modified, columns, duplicates };
  });
  return `${JSON.stringify(told, null, 1)}\n`;
}
