/** A few items of a collection to begin with. */

import { search } from "../api/client";
import type { Collection, Item } from "../api/types";
import { PAPER, type Point, type Stroke } from "../sketch/history";
import { sketchPicture } from "../sketch/paint";
import { DEFAULTS, queryOf } from "./query";

const DOMAINS = 3;
const SHOWN = 12;

/** Random items of the largest domains. The server lists no items, so each domain is asked for what resembles a
 * scribble most, and a few of those answers are drawn by lot. */
export async function examples(collection: Collection): Promise<Item[]> {
  const largest = Object.entries(collection.domains)
    .sort(([, a], [, b]) => b - a)
    .slice(0, DOMAINS);
  const picture = await sketchPicture([scribble()], PAPER / 2);
  const each = Math.ceil(SHOWN / Math.max(1, largest.length));
  const drawn = await Promise.all(
    largest.map(async ([domain]) => {
      const options = { ...DEFAULTS, as: "none", domains: [domain], top: 100 };
      const { query, images } = queryOf([{ picture, weight: 1 }], options);
      const { hits } = await search(collection.name, query, images);
      return hits.sort(() => Math.random() - 0.5).slice(0, each);
    }),
  );
  return drawn.flat().slice(0, SHOWN);
}

function scribble(): Stroke {
  const inside = () => PAPER * (0.15 + 0.7 * Math.random());
  const points = Array.from({ length: 12 }, (): Point => [inside(), inside(), 0.5]);
  return { tool: "pen", width: 16, points, pressed: false };
}
