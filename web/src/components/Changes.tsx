/** The dialogs that change what a collection holds. */

import { useSignal } from "@preact/signals";

import { ApiError, plainWords } from "../api/errors";
import { addPictures, removePicked } from "../state/changes";
import { ACCEPTED } from "../state/formats";
import { collectionOf, dialog, notice, picks } from "../state/store";
import { Dialog } from "./Dialog";

const close = () => (dialog.value = null);

export function Changes() {
  if (dialog.value === "add") return <AddDialog />;
  if (dialog.value === "remove") return <RemoveDialog />;
  return null;
}

function AddDialog() {
  const collection = collectionOf("left");
  const known = Object.keys(collection?.domains ?? {}).sort();
  const files = useSignal<readonly File[]>([]);
  const domain = useSignal(known.length === 1 ? (known[0] ?? "") : "");
  const label = useSignal("");
  const work = useWork();
  if (!collection) return null;
  const send = (event: Event) => {
    event.preventDefault();
    const chosen = files.value;
    void work.run(async () => {
      const tell = (done: number) => (work.progress.value = `${done} of ${chosen.length} added`);
      const added = await addPictures(collection.name, chosen, domain.value.trim(), label.value.trim(), tell);
      notice.value = `${added} of ${chosen.length} pictures are in ${collection.name} now`;
    });
  };
  return (
    <Dialog title={`Add pictures to ${collection.name}`} onClose={close}>
      <form class="form" onSubmit={send}>
        <label class="field">
          <span>Pictures</span>
          <input
            type="file"
            accept={ACCEPTED}
            multiple
            required
            onChange={(event) => (files.value = [...(event.currentTarget.files ?? [])])}
          />
        </label>
        <label class="field">
          <span>They are</span>
          <input
            type="text"
            list="known-domains"
            required
            maxLength={100}
            placeholder="photo, sketch, ..."
            value={domain.value}
            onInput={(event) => (domain.value = event.currentTarget.value)}
          />
          <datalist id="known-domains">{known.map((name) => <option key={name} value={name} />)}</datalist>
        </label>
        <label class="field">
          <span>They show (may be empty)</span>
          <input type="text" maxLength={100} value={label.value} onInput={(event) => (label.value = event.currentTarget.value)} />
        </label>
        <Outcome work={work} />
        <button type="submit" class="button" disabled={work.busy.value}>Add</button>
      </form>
    </Dialog>
  );
}

function RemoveDialog() {
  const work = useWork();
  const chosen = picks.value;
  const from = [...new Set(chosen.map(({ collection }) => collection))].join(" and ");
  const count = chosen.length === 1 ? "1 picture" : `${chosen.length} pictures`;
  const remove = () =>
    void work.run(async () => {
      await removePicked(chosen);
      notice.value = `${count} removed from ${from}`;
    });
  return (
    <Dialog title={`Remove ${count} from ${from}?`} onClose={close}>
      <p>They are no longer found. The files stay where they are; only those that were uploaded here are deleted.</p>
      <Outcome work={work} />
      <div class="detail-actions">
        <button type="button" class="button" disabled={work.busy.value} onClick={remove}>Remove</button>
        <button type="button" class="button quiet" onClick={close}>Keep</button>
      </div>
    </Dialog>
  );
}

/** Something that takes a while and may fail; the dialog closes when it is done. */
function useWork() {
  const busy = useSignal(false);
  const progress = useSignal("");
  const error = useSignal<ApiError | null>(null);
  const run = async (what: () => Promise<void>) => {
    busy.value = true;
    error.value = null;
    try {
      await what();
      close();
    } catch (reason) {
      error.value = reason instanceof ApiError ? reason : new ApiError(-1, String(reason));
    } finally {
      busy.value = false;
      progress.value = "";
    }
  };
  return { busy, progress, error, run };
}

function Outcome({ work }: { work: ReturnType<typeof useWork> }) {
  const error = work.error.value;
  return (
    <>
      {work.busy.value && <p role="status">{work.progress.value || "Working ..."}</p>}
      {error && (
        <div class="state state-fault" role="alert">
          <h3>{error.status > 0 && error.status !== 422 ? plainWords(error).title : "That did not work"}</h3>
          {error.detail && <p class="detail">{error.detail}</p>}
        </div>
      )}
    </>
  );
}
