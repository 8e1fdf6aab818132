/** One item, large. */

import { address, imagePath, storedKey, thumbnailPath } from "../api/client";
import type { Own } from "../api/types";
import { addLike, copyText, judge, onlyLike, openHit, openItem } from "../state/actions";
import { above } from "../state/hits";
import { isJudged } from "../state/judged";
import { columns, judged, shown, type Shown } from "../state/store";
import { Dialog } from "./Dialog";
import { Icon } from "./icons";
import { Picture } from "./Picture";

export function Detail() {
  const now = shown.value;
  if (!now) return null;
  return <Item now={now} />;
}

function Item({ now }: { now: Shown }) {
  const { collection, item, score, duplicates, place } = now;
  const { id } = item;
  const verdict = isJudged(judged.value, collection, id);
  const close = () => (shown.value = null);
  const count = place ? hitsOf(place.side).length : 0;
  const step = (by: number) => {
    if (place && place.at + by >= 0 && place.at + by < count) openHit(place.side, place.at + by, hitsOf(place.side));
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  };
  const act = (action: () => void) => () => {
    action();
    close();
  };
  return (
    <Dialog title={item.label ?? item.id} kind="detail" onClose={close} onKeyDown={keys}>
      <div class="detail-parts">
        <div>
          <div class="detail-picture">
            <Picture path={imagePath(collection, id)} instead={thumbnailPath(collection, id, 1024)} alt={item.label ?? id} />
          </div>
          {place && count > 1 && (
            <p class="detail-steps">
              <button type="button" class="icon-button" aria-label="Previous hit" disabled={place.at === 0} onClick={() => step(-1)}><Icon name="left" /></button>
              <span>{place.at + 1} of {count}</span>
              <button type="button" class="icon-button" aria-label="Next hit" disabled={place.at === count - 1} onClick={() => step(1)}><Icon name="right" /></button>
            </p>
          )}
        </div>
        <div class="detail-about">
          <dl class="facts">
            {score !== null && <Fact name="Score" value={score.toFixed(4)} />}
            {item.label && <Fact name="Label" value={item.label} />}
            {item.domain && <Fact name="Domain" value={item.domain} />}
            <Fact name="Id" value={id} />
            <Fact name="Collection" value={collection} />
            {Object.entries(item.columns).map(([name, value]) => <Fact key={name} name={name} value={inWords(value)} />)}
            {item.size !== null && <Fact name="File size" value={`${(item.size / 1024).toLocaleString("en", { maximumFractionDigits: 1 })} kB`} />}
            {item.modified !== null && <Fact name="Modified" value={new Date(item.modified * 1000).toLocaleString()} />}
          </dl>
          <div class="detail-actions">
            <button type="button" class="button" onClick={act(() => addLike(collection, id, 1))}><Icon name="more" /> More like this</button>
            <button type="button" class="button" onClick={act(() => addLike(collection, id, -0.5))}><Icon name="less" /> Less like this</button>
            <button type="button" class="button" aria-pressed={verdict === "liked"} onClick={() => judge(collection, item, true)}><Icon name="like" /> Like</button>
            <button type="button" class="button" aria-pressed={verdict === "disliked"} onClick={() => judge(collection, item, false)}><Icon name="dislike" /> Dislike</button>
            <button type="button" class="button" onClick={act(() => onlyLike(collection, id))}>Search with this alone</button>
            <button type="button" class="button quiet" onClick={() => void copyText(id, "Path copied")}>Copy path</button>
            {storedKey() === null && <a class="button quiet" href={address(imagePath(collection, id))} target="_blank" rel="noreferrer">Open the file</a>}
          </div>
        </div>
      </div>
      {duplicates.length > 0 && (
        <section class="duplicates" aria-labelledby="duplicates-title">
          <h3 id="duplicates-title">{duplicates.length} near-{duplicates.length === 1 ? "duplicate" : "duplicates"}</h3>
          <ul>
            {duplicates.map((other) => (
              <li key={other}>
                <button type="button" title={other} onClick={() => void openItem(collection, other)}>
                  <Picture path={thumbnailPath(collection, other, 128)} alt={other} />
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </Dialog>
  );
}

function hitsOf(side: "left" | "right") {
  const { answer, cut } = columns[side].value;
  return above(answer?.hits ?? [], cut);
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function inWords(value: Own): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return Array.isArray(value) ? value.join(", ") : String(value).replace("T", " ");
}
