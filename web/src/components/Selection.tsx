/** What can be done with the selected hits; seen while there are any. */

import { copyText } from "../state/actions";
import { download } from "../state/download";
import { picksCsv, picksJson } from "../state/picks";
import { contactSheet } from "../state/sheet";
import { collections, dialog, notice, picks } from "../state/store";

export function Selection() {
  const now = picks.value;
  if (now.length === 0) return null;
  const paths = () => now.map(({ hit }) => hit.id).join("\n");
  const kept = new Set((collections.value ?? []).filter(({ writable }) => !writable).map(({ name }) => name));
  const removable = now.every(({ collection }) => !kept.has(collection));
  const copied = now.length === 1 ? "Path copied" : `${now.length} paths copied`;
  return (
    <section class="selection" aria-label="Selected hits">
      <strong>{now.length} selected</strong>
      <button type="button" class="button" onClick={() => void copyText(paths(), copied)}>Copy paths</button>
      <button type="button" class="button" aria-label="Download as CSV" onClick={() => download("hits", "csv", picksCsv(now))}>CSV</button>
      <button type="button" class="button" aria-label="Download as JSON" onClick={() => download("hits", "json", picksJson(now))}>JSON</button>
      <button type="button" class="button" aria-label="Download as a contact sheet" onClick={() => void downloadSheet()}>Sheet</button>
      {removable && <button type="button" class="button" onClick={() => (dialog.value = "remove")}>Remove ...</button>}
      <button type="button" class="text-button" onClick={() => (picks.value = [])}>Clear</button>
    </section>
  );
}

async function downloadSheet(): Promise<void> {
  try {
    download("hits", "png", await contactSheet(picks.value));
  } catch (error) {
    notice.value = `No contact sheet: ${error instanceof Error ? error.message : String(error)}`;
  }
}
