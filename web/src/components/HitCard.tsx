/** One hit in the grid. */

import { thumbnailPath } from "../api/client";
import type { Hit } from "../api/types";
import { addLike, judge, pick } from "../state/actions";
import { isJudged } from "../state/judged";
import { isPicked } from "../state/picks";
import { judged, picks, searched } from "../state/store";
import { Icon } from "./icons";
import { Picture } from "./Picture";

interface Props {
  hit: Hit;
  rank: number;
  collection: string;
  /** Whether Tab stops here: one card of a grid is reached by Tab, the others by arrow keys. */
  focusable: boolean;
  /** Its rank in the other collection when two are compared and both found it. */
  elsewhere: { rank: number; collection: string } | null;
  onFocus: () => void;
  onOpen: () => void;
}

export function HitCard({ hit, rank, collection, focusable, elsewhere, onFocus, onOpen }: Props) {
  const name = hit.label ?? hit.id;
  const tabIndex = focusable ? 0 : -1;
  const folded = hit.duplicates.length;
  // Where there is one domain, every hit would say the same.
  const hasLooks = searched.value.domains.length > 1;
  const verdict = isJudged(judged.value, collection, hit.id);
  return (
    <li class={elsewhere === null ? "hit" : "hit hit-both"} onFocusIn={onFocus}>
      <button type="button" class="hit-open" tabIndex={tabIndex} onClick={onOpen}>
        <span class="hit-picture"><Picture path={thumbnailPath(collection, hit.id, 256)} alt="" /></span>
        <span class="sr">{rank}. </span>
        <span class="hit-name">{name}</span>
        <span class="hit-facts">
          <span class="hit-score"><span class="sr">, score </span>{hit.score.toFixed(3)}</span>
          {hit.domain && hasLooks && <span class="hit-domain"><span class="sr">, </span>{hit.domain}</span>}
        </span>
        {elsewhere !== null && (
          <span class="hit-tag"><Icon name="both" /><span><span class="sr">, </span>also #{elsewhere.rank}<span class="sr"> in {elsewhere.collection}</span></span></span>
        )}
        {folded > 0 && (
          <span class="hit-tag"><span class="sr">, </span>and {folded} near-{folded === 1 ? "duplicate" : "duplicates"}</span>
        )}
      </button>
      <label class="hit-select">
        <input type="checkbox" tabIndex={tabIndex} aria-label={`Select ${name}`} title="Select (x)" checked={isPicked(picks.value, collection, hit.id)} onChange={() => pick(collection, hit)} />
      </label>
      <div class="hit-actions">
        <span class="hit-mix">
          <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`More like ${name}`} title="More like this (m)" onClick={() => addLike(collection, hit.id, 1)}>
            <Icon name="more" />
          </button>
          <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`Less like ${name}`} title="Less like this (l)" onClick={() => addLike(collection, hit.id, -0.5)}>
            <Icon name="less" />
          </button>
        </span>
        <span class="hit-judge">
          <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`Like ${name}`} title="Like: move the search towards it (+)" aria-pressed={verdict === "liked"} onClick={() => judge(collection, hit, true)}>
            <Icon name="like" />
          </button>
          <button type="button" class="icon-button" tabIndex={tabIndex} aria-label={`Dislike ${name}`} title="Dislike: hide it and move away (−)" aria-pressed={verdict === "disliked"} onClick={() => judge(collection, hit, false)}>
            <Icon name="dislike" />
          </button>
        </span>
      </div>
    </li>
  );
}
