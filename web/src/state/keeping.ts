/** What was liked and disliked is kept until the tab is closed. */

import { effect } from "@preact/signals";

import { readJudged } from "./judged";
import { judged } from "./store";

const PLACE = "crosslens-judged";

export function keepJudged(): void {
  judged.value = readJudged(sessionStorage.getItem(PLACE));
  effect(() => {
    if (judged.value.length > 0) sessionStorage.setItem(PLACE, JSON.stringify(judged.value));
    else sessionStorage.removeItem(PLACE);
  });
}
