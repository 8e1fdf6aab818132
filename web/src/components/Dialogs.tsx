/** The dialogs of the page itself. */

import { useSignal } from "@preact/signals";

import { storedKey } from "../api/client";
import { enterKey } from "../state/actions";
import { SHORTCUTS, singleKeys } from "../state/keys";
import { dialog } from "../state/store";
import { Dialog } from "./Dialog";

const close = () => (dialog.value = null);

export function Dialogs() {
  if (dialog.value === "key") return <KeyDialog />;
  if (dialog.value === "help") return <HelpDialog />;
  return null;
}

function KeyDialog() {
  const key = useSignal("");
  const refused = storedKey() !== null;
  const send = (event: Event) => {
    event.preventDefault();
    enterKey(key.value);
  };
  return (
    <Dialog title="API key" onClose={close}>
      <p>
        {refused
          ? "The server does not know the key in use. Enter another one."
          : "This server asks for a key. It stays in this tab and is forgotten when you close it."}
      </p>
      <form class="words" onSubmit={send}>
        <label class="sr" for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          required
          autofocus
          value={key.value}
          onInput={(event) => (key.value = event.currentTarget.value)}
        />
        <button type="submit" class="button">Use</button>
      </form>
    </Dialog>
  );
}

function HelpDialog() {
  return (
    <Dialog title="Help and shortcuts" onClose={close}>
      <p>
        A query is a mix of parts: a sketch, pictures, words, and pictures of the collection. Each has a weight from −1 to
        1. The score of a hit is its similarity with the mix. The cut-off hides weak hits without a new search.
      </p>
      <p>Without a mouse or a pen, choose picture files, paste, write, or begin with an example.</p>
      <table class="keys">
        <caption class="sr">Keyboard shortcuts</caption>
        <tbody>
          {SHORTCUTS.map(([keys, what]) => (
            <tr key={keys}>
              <th scope="row"><kbd>{keys}</kbd></th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <label class="check">
        <input type="checkbox" checked={singleKeys.value} onChange={(event) => (singleKeys.value = event.currentTarget.checked)} />
        Shortcuts of a single key
      </label>
    </Dialog>
  );
}
