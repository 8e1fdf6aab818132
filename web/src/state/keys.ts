/** Shortcuts of the whole page. */

import { effect, signal } from "@preact/signals";

import { redoStroke, undoStroke } from "./actions";
import { dialog, shown } from "./store";

const PLACE = "crosslens-single-keys";

/** Whether keys without Ctrl do something; speech input users turn this off. */
export const singleKeys = signal(localStorage.getItem(PLACE) !== "off");

export const SHORTCUTS: readonly [keys: string, what: string][] = [
  ["/", "Write words"],
  ["u", "Choose pictures"],
  ["Ctrl + V", "Paste a picture"],
  ["p, e", "Pen, eraser (in the sketch)"],
  ["[ and ]", "Thinner, wider (in the sketch)"],
  ["Ctrl + Z", "Undo a stroke"],
  ["Ctrl + Shift + Z", "Redo a stroke"],
  ["Arrow keys, Home, End", "Move between hits"],
  ["Enter", "Open a hit"],
  ["m, l", "More, less like the focused hit"],
  ["+, −", "Like, dislike the focused hit"],
  ["x", "Select the focused hit"],
  ["c", "Copy the path of the focused hit"],
  ["?", "This list"],
  ["Esc", "Close a dialog"],
];

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "range", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || typing(event.target) || dialog.value !== null || shown.value !== null) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    if (key === "z") (event.shiftKey ? redoStroke : undoStroke)();
    else if (key === "y") redoStroke();
    else return;
    event.preventDefault();
    return;
  }
  if (!singleKeys.value || event.altKey) return;
  if (key === "/") document.getElementById("words")?.focus();
  else if (key === "u") document.getElementById("files")?.click();
  else if (key === "?") dialog.value = "help";
  else return;
  event.preventDefault();
}

export function listenForKeys(): void {
  addEventListener("keydown", onKey);
  effect(() => localStorage.setItem(PLACE, singleKeys.value ? "on" : "off"));
}
