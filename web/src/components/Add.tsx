/** Words, files, the clipboard and pictures dropped onto the page. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { addFiles, addText, setText } from "../state/actions";
import { ACCEPTED } from "../state/formats";
import { searched } from "../state/store";
import { Icon } from "./icons";

export function Add() {
  const words = useSignal("");
  const { text } = searched.value;
  const take = (how: (words: string) => void) => (event: Event) => {
    event.preventDefault();
    how(words.value);
    words.value = "";
  };
  return (
    <section class="add" aria-labelledby="add-title">
      <h2 id="add-title" class="sr">Words and pictures</h2>
      <form class="words" onSubmit={take(setText)}>
        <label class="sr" for="words">Words</label>
        <input
          id="words"
          type="text"
          autocomplete="off"
          enterkeyhint="search"
          placeholder={text ? "Say what it shows" : "Not with this encoder"}
          disabled={!text}
          value={words.value}
          onInput={(event) => (words.value = event.currentTarget.value)}
        />
        <button type="submit" class="icon-button" aria-label="Search with these words" title="Search with these words (Enter)" disabled={!text}>
          <Icon name="search" />
        </button>
        <button type="button" class="button" title="Mix these words with the query" disabled={!text} onClick={take(addText)}>+ Add</button>
      </form>
      <input
        id="files"
        class="sr"
        type="file"
        accept={ACCEPTED}
        multiple
        tabIndex={-1}
        aria-label="Pictures to search with"
        onChange={(event) => {
          const input = event.currentTarget;
          void addFiles([...(input.files ?? [])]).then(() => (input.value = ""));
        }}
      />
      <button type="button" class="button wide" onClick={() => document.getElementById("files")?.click()}>
        <Icon name="upload" /> Choose pictures
      </button>
      <p class="hint">or drop them anywhere, or paste</p>
    </section>
  );
}

/** Takes pictures dropped or pasted anywhere on the page. */
export function DropTarget() {
  const over = useSignal(false);
  useEffect(() => {
    const listen = new AbortController();
    const { signal } = listen;
    const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      over.value = true;
    }, { signal });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) over.value = false;
    }, { signal });
    addEventListener("drop", (event) => {
      over.value = false;
      if (!holdsFiles(event)) return;
      event.preventDefault();
      void addFiles([...(event.dataTransfer?.files ?? [])]);
    }, { signal });
    addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      void addFiles(files);
    }, { signal });
    return () => listen.abort();
  }, []);
  return over.value ? (
    <div class="drop" aria-hidden="true">
      <p><Icon name="picture" /> Drop to search with it</p>
    </div>
  ) : null;
}
