/** The page. */

import { useEffect } from "preact/hooks";

import { plainWords } from "../api/errors";
import { loadCollections } from "../state/actions";
import { countInWords } from "../state/hits";
import { announcement, chosen, collectionOf, collections, collectionsError, columns, comparing, dialog, notice, parts } from "../state/store";
import { Add, DropTarget } from "./Add";
import { Begin } from "./Begin";
import { Changes } from "./Changes";
import { Crop } from "./Crop";
import { Detail } from "./Detail";
import { Dialogs } from "./Dialogs";
import { Filters } from "./Filters";
import { Header } from "./Header";
import { Judgements } from "./Judgements";
import { Parts } from "./Parts";
import { Results } from "./Results";
import { Selection } from "./Selection";
import { Sketch } from "./Sketch";

export function App() {
  return (
    <>
      <a class="skip" href="#results" onClick={skip}>Skip to the results</a>
      <Header />
      {collections.value === null ? <Opening /> : collections.value.length === 0 ? <NoCollection /> : <Search />}
      <p class="sr" role="status" aria-live="polite">{announcement.value}</p>
      <Selection />
      <Notice />
      <Detail />
      <Crop />
      <Dialogs />
      <Changes />
    </>
  );
}

/** The hash of the address belongs to the search, so this link moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault();
  const results = document.getElementById("results");
  results?.focus();
  results?.scrollIntoView();
}

function Search() {
  const left = collectionOf("left");
  const hits = columns.left.value.answer?.hits.length ?? null;
  return (
    <div class="page">
      <div class="side" role="search" aria-label="Query">
        <Sketch />
        <Add />
        <Parts />
        <Judgements />
        <Filters />
        {hits !== null && <a class="jump button" href="#results" onClick={skip}>See {countInWords(hits, hits)}</a>}
      </div>
      <main id="results" class={comparing.value ? "main main-two" : "main"} tabIndex={-1}>
        {parts.value.length === 0 && left && <Begin key={chosen.left.value} collection={left} />}
        {parts.value.length > 0 && <Results side="left" />}
        {parts.value.length > 0 && comparing.value && <Results side="right" />}
      </main>
      <DropTarget />
    </div>
  );
}

function Opening() {
  const error = collectionsError.value;
  if (!error) return <main class="alone"><p class="progress" role="progressbar" aria-label="Opening" /></main>;
  const { title, advice } = plainWords(error);
  return (
    <main class="alone">
      <div class="state state-fault" role="alert">
        <h2>{title}</h2>
        <p>{advice}</p>
        {error.detail && <p class="detail">{error.detail}</p>}
        <p>
          {error.status === 401 && <button type="button" class="button" onClick={() => (dialog.value = "key")}>Enter a key</button>}
          {error.status !== 401 && <button type="button" class="button" onClick={() => void loadCollections()}>Try again</button>}
        </p>
      </div>
    </main>
  );
}

function NoCollection() {
  return (
    <main class="alone">
      <div class="state">
        <h2>No collection is served</h2>
        <p>Build one with <code>crosslens index build</code> and name it to <code>crosslens serve</code>.</p>
      </div>
    </main>
  );
}

function Notice() {
  const words = notice.value;
  useEffect(() => {
    if (!words) return;
    const timer = setTimeout(() => (notice.value = ""), 4000);
    return () => clearTimeout(timer);
  }, [words]);
  return <p class={words ? "notice" : "sr"} role="status">{words}</p>;
}
