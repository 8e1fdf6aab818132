/** What is shown of an answer. Pure. */

import type { Answer, Hit } from "../api/types";

/** What rounding may take from a score: a copy of the query has 0.9999999 as often as 1. */
const ROUNDING = 1e-6;

export function above(hits: readonly Hit[], cut: number | null): Hit[] {
  return cut === null ? [...hits] : hits.filter(({ score }) => score >= cut - ROUNDING);
}

/** Lowest and highest score, rounded outwards to thousandths, so that a slider over them can show every hit. */
export function scoreRange(hits: readonly Hit[]): [number, number] {
  const scores = hits.map(({ score }) => score);
  if (scores.length === 0) return [0, 0];
  return [Math.floor(Math.min(...scores) * 1000) / 1000, Math.ceil(Math.max(...scores) * 1000) / 1000];
}

/** Hits per equal step of score. */
export function histogram(hits: readonly Hit[], bins: number): number[] {
  const [low, high] = scoreRange(hits);
  const counts = new Array<number>(bins).fill(0);
  for (const { score } of hits) {
    const at = high > low ? Math.min(bins - 1, Math.floor(((score - low) / (high - low)) * bins)) : 0;
    counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts;
}

/** Rank from 1 of every hit by id, folded duplicates at the rank of the hit they are folded into. */
export function ranks(hits: readonly Hit[]): Map<string, number> {
  const found = new Map<string, number>();
  hits.forEach((hit, at) => {
    for (const id of [hit.id, ...hit.duplicates]) if (!found.has(id)) found.set(id, at + 1);
  });
  return found;
}

export function countInWords(shown: number, all: number): string {
  const noun = all === 1 ? "hit" : "hits";
  return shown === all ? `${all} ${noun}` : `${shown} of ${all} ${noun}`;
}

/** Whether a match is less likely than was asked for; null where that is not known, or nothing was asked. */
export function isNoMatch({ match_probability }: Pick<Answer, "match_probability">, least: number | null): boolean | null {
  return least === null || match_probability === null ? null : match_probability < least;
}

/** The probability of a match in words, with thirds as borders. */
export function verdict(probability: number): string {
  if (probability >= 2 / 3) return "A match is likely";
  return probability >= 1 / 3 ? "A match is possible" : "A match is unlikely";
}
