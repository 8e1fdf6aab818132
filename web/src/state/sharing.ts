/** The address's hash follows the search, and the search follows the hash. */

import { batch, effect } from "@preact/signals";

import { fromHash, toHash } from "./hash";
import * as store from "./store";

/** Takes over what the address says; pictures and the sketch stay. */
export function readAddress(): void {
  const shared = fromHash(location.hash);
  batch(() => {
    store.chosen.left.value = shared.collection ?? store.collections.value?.[0]?.name ?? null;
    store.chosen.right.value = shared.versus;
    const pictures = store.parts.value.filter(({ kind }) => kind === "image" || kind === "sketch");
    store.parts.value = [...pictures, ...shared.parts];
    store.options.value = shared.options;
    store.columns.left.value = { ...store.columns.left.value, cut: shared.cut };
  });
}

/** Writes the address. A change of the query itself makes a step back possible; turning a knob does not. */
export function writeAddress(): void {
  let asked = keys();
  effect(() => {
    const hash = toHash({
      collection: store.chosen.left.value,
      versus: store.chosen.right.value,
      parts: [...store.parts.value],
      options: store.options.value,
      cut: store.columns.left.value.cut,
    });
    if (hash === location.hash || store.collections.value === null) return;
    const now = keys();
    const address = location.pathname + location.search + hash;
    if (now === asked) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    asked = now;
  });
  addEventListener("popstate", () => {
    readAddress();
    asked = keys();
  });
}

function keys(): string {
  const shared = store.parts.value.filter(({ kind }) => kind === "text" || kind === "like");
  return shared.map(({ key }) => key).join("\n");
}
