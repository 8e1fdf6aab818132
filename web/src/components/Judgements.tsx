/** What was liked and disliked, with a way to take it back. */

import { thumbnailPath } from "../api/client";
import { judge } from "../state/actions";
import { download } from "../state/download";
import { judgedCsv } from "../state/judged";
import { judged } from "../state/store";
import { Picture } from "./Picture";

export function Judgements() {
  const now = judged.value;
  if (now.length === 0) return null;
  return (
    <section class="judged" aria-labelledby="judged-title">
      <header class="section-head">
        <h2 id="judged-title">Liked and disliked</h2>
        <button type="button" class="text-button" onClick={() => (judged.value = [])}>Forget all</button>
      </header>
      <ul>
        {now.map(({ collection, id, name, liked }) => (
          <li key={`${collection}:${id}`}>
            <button
              type="button"
              class={liked ? "judged-one" : "judged-one judged-away"}
              aria-label={`No longer ${liked ? "like" : "dislike"} ${name}`}
              title={`${name}: ${liked ? "liked" : "disliked"}. Click to take it back`}
              onClick={() => judge(collection, { id, label: name }, liked)}
            >
              <Picture path={thumbnailPath(collection, id, 64)} alt="" />
            </button>
          </li>
        ))}
      </ul>
      <button type="button" class="button quiet" onClick={() => download("judged", "csv", judgedCsv(now))}>Download the list</button>
    </section>
  );
}
