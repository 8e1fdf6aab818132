/** What is shown before there is a query: what can be done, and something to begin with. */

import { useEffect, useState } from "preact/hooks";

import { thumbnailPath } from "../api/client";
import type { Collection, Item } from "../api/types";
import { addText, onlyLike } from "../state/actions";
import { examples } from "../state/examples";
import { Icon, type IconName } from "./icons";
import { Picture } from "./Picture";

const WAYS: readonly [IconName, string, string][] = [
  ["pen", "Draw", "A few lines are enough. Every stroke searches again."],
  ["upload", "Drop or paste", "Any picture: a photo, a scan, a screenshot."],
  ["text", "Type", "Say what it shows, alone or beside a picture."],
  ["mix", "Mix", "Give each part a weight; below zero it pushes away."],
];

export function Begin({ collection }: { collection: Collection }) {
  return (
    <section class="begin" aria-labelledby="begin-title">
      <h2 id="begin-title">{collection.text ? "Draw it, drop it or describe it" : "Draw it or drop it"}</h2>
      <p class="lead">
        {collection.items.toLocaleString("en")} pictures in {collection.name}.
        {Object.keys(collection.domains).length > 1 && " A drawing finds photos, a photo finds drawings."}
      </p>
      <ul class="ways">
        {WAYS.filter(([, title]) => title !== "Type" || collection.text).map(([icon, title, words]) => (
          <li key={title}>
            <Icon name={icon} />
            <h3>{title}</h3>
            <p>{words}</p>
          </li>
        ))}
      </ul>
      <Examples collection={collection} />
    </section>
  );
}

function Examples({ collection }: { collection: Collection }) {
  const [items, setItems] = useState<Item[]>([]);
  useEffect(() => {
    let wanted = true;
    setItems([]);
    // Examples are a courtesy: without them the page works all the same.
    examples(collection).then((found) => wanted && setItems(found), () => undefined);
    return () => {
      wanted = false;
    };
  }, [collection.name, collection.version]);
  if (items.length === 0) return null;
  const words = collection.text ? [...new Set(items.flatMap(({ label }) => label ?? []))].slice(0, 3) : [];
  return (
    <div class="examples">
      <h3>Try one of these</h3>
      <ul class="example-pictures">
        {items.map((item) => (
          <li key={item.id}>
            <button type="button" aria-label={`Search with ${item.label ?? item.id}, ${item.domain ?? ""}`} onClick={() => onlyLike(collection.name, item.id)}>
              <Picture path={thumbnailPath(collection.name, item.id, 256)} alt="" />
            </button>
          </li>
        ))}
      </ul>
      {words.length > 0 && (
        <p class="example-words">
          or the words{" "}
          {words.map((word) => (
            <button key={word} type="button" class="button quiet" onClick={() => addText(word)}>{word}</button>
          ))}
        </p>
      )}
    </div>
  );
}
