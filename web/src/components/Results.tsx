/** One collection's answer. */

import { useId, useRef } from "preact/hooks";

import { ApiError, plainWords } from "../api/errors";
import type { Answer, Hit } from "../api/types";
import { above, countInWords, isNoMatch, ranks, verdict } from "../state/hits";
import { columnsOf, moved } from "../state/roving";
import { addLike, copyText, judge, openHit, pick, pickAll, setOptions } from "../state/actions";
import { searchNow } from "../state/search";
import { singleKeys } from "../state/keys";
import { chosen, collectionOf, columns, comparing, dialog, options, type Side } from "../state/store";
import { useSignal } from "@preact/signals";
import { CutOff } from "./CutOff";
import { HitCard } from "./HitCard";

export function Results({ side }: { side: Side }) {
  const { answer, from, busy, error, cut } = columns[side].value;
  const title = useId();
  const name = chosen[side].value ?? "";
  return (
    <section class="results" aria-labelledby={title} aria-busy={busy}>
      <h2 id={title} class={comparing.value ? "results-title" : "sr"}>
        {comparing.value ? name : "Results"}
        {comparing.value && <small>{collectionOf(side)?.encoder}</small>}
      </h2>
      {busy && <p class="progress" role="progressbar" aria-label="Searching" />}
      {error !== null && <Fault error={error} />}
      {error === null && !answer && busy && <Waiting />}
      {error === null && answer && from && <Found side={side} answer={answer} from={from} cut={cut} />}
    </section>
  );
}

function Found({ side, answer, from, cut }: { side: Side; answer: Answer; from: string; cut: number | null }) {
  const hits = above(answer.hits, cut);
  const noMatch = isNoMatch(answer, options.value.minMatch);
  return (
    <>
      <Status answer={answer} shown={hits.length} from={from} />
      {answer.hits.length > 1 && <CutOff side={side} hits={answer.hits} cut={cut} />}
      {answer.hits.length > 0 && <Tools hits={hits} from={from} />}
      {noMatch && <NoMatch answer={answer} />}
      {answer.hits.length === 0 && (
        <div class="state">
          <h3>Nothing here</h3>
          <p>No picture passes the filters. Search in more domains or folders.</p>
        </div>
      )}
      {hits.length > 0 && <Grid side={side} hits={hits} from={from} />}
    </>
  );
}

function Status({ answer, shown, from }: { answer: Answer; shown: number; from: string }) {
  const spent = Object.values(answer.seconds).reduce((sum, seconds) => sum + seconds, 0);
  const probability = answer.match_probability;
  return (
    <div class="status">
      <p>
        <strong>{countInWords(shown, answer.hits.length)}</strong>
        <span> among {answer.items.toLocaleString("en")} in {from}, {Math.max(1, Math.round(spent * 1000))} ms</span>
        {answer.domain && <span>, taken as {answer.domain}</span>}
      </p>
      {probability !== null && !answer.match_is_rough && (
        <p class="chance">
          <span>{verdict(probability)}</span>
          <Gauge value={probability} />
          <strong>{Math.round(probability * 100)} %</strong>
        </p>
      )}
      {probability === null && options.value.minMatch !== null && (
        <p class="hint">How likely a match is, is not known (yet).</p>
      )}
      {answer.notes.map((sentence) => <p key={sentence} class="hint">{sentence}</p>)}
    </div>
  );
}

function Gauge({ value }: { value: number }) {
  return (
    <svg
      class="gauge"
      viewBox="0 0 1 1"
      preserveAspectRatio="none"
      role="meter"
      aria-label="Probability of a match"
      aria-valuemin={0}
      aria-valuemax={1}
      aria-valuenow={Number(value.toFixed(2))}
    >
      <rect width={value} height={1} />
    </svg>
  );
}

/** Cosine from which the button folds; Options has others. */
const NEARLY_EQUAL = 0.97;

/** What concerns all hits at once. */
function Tools({ hits, from }: { hits: Hit[]; from: string }) {
  const { fold, rerank } = options.value;
  const differing = rerank === "mmr";
  return (
    <div class="tools-of-hits">
      <button type="button" class="button quiet" aria-pressed={differing} onClick={() => setOptions({ rerank: differing ? "" : "mmr" })}>
        Show different ones
      </button>
      <button type="button" class="button quiet" aria-pressed={fold !== null} onClick={() => setOptions({ fold: fold === null ? NEARLY_EQUAL : null })}>
        Fold near-duplicates
      </button>
      <button type="button" class="button quiet" onClick={() => pickAll(from, hits)}>Select all</button>
    </div>
  );
}

function NoMatch({ answer }: { answer: Answer }) {
  const chance = answer.match_probability ?? 0;
  const said = answer.match_is_rough ? "a rough guess" : `probability of a match ${Math.round(chance * 100)} %`;
  return (
    <div class="state">
      <h3>No match</h3>
      <p>
        This collection probably holds nothing like your query ({said}).
        {answer.hits.length > 0 && " These are the nearest pictures."}
      </p>
    </div>
  );
}

function Fault({ error }: { error: ApiError | string }) {
  if (typeof error === "string") return <div class="state" role="alert"><h3>Not yet</h3><p>{error}</p></div>;
  const { title, advice } = plainWords(error);
  return (
    <div class="state state-fault" role="alert">
      <h3>{title}</h3>
      <p>{advice}</p>
      {error.detail && <p class="detail">{error.detail}</p>}
      <p>
        {error.status === 401
          ? <button type="button" class="button" onClick={() => (dialog.value = "key")}>Enter a key</button>
          : <button type="button" class="button" onClick={searchNow}>Try again</button>}
      </p>
    </div>
  );
}

function Waiting() {
  return <ul class="grid grid-waiting" aria-hidden="true">{Array.from({ length: 12 }, (_, at) => <li key={at} />)}</ul>;
}

/** What keys do with a hit. */
const actions = (from: string, hit: Hit): Record<string, () => void> => ({
  m: () => addLike(from, hit.id, 1),
  l: () => addLike(from, hit.id, -0.5),
  "+": () => judge(from, hit, true),
  "-": () => judge(from, hit, false),
  x: () => pick(from, hit),
  c: () => void copyText(hit.id, "Path copied"),
});

function Grid({ side, hits, from }: { side: Side; hits: Hit[]; from: string }) {
  const list = useRef<HTMLUListElement>(null);
  const at = useSignal(0);
  const current = Math.min(at.value, hits.length - 1);
  const other = columns[side === "left" ? "right" : "left"].value;
  const there = comparing.value && other.answer ? ranks(other.answer.hits) : null;
  const rankElsewhere = (id: string) => {
    const found = there?.get(id);
    return found && other.from ? { rank: found, collection: other.from } : null;
  };

  const cards = () => [...(list.current?.querySelectorAll<HTMLElement>(".hit-open") ?? [])];
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const hit = hits[current];
    const act = singleKeys.value && hit ? actions(from, hit)[event.key] : undefined;
    if (act) {
      event.preventDefault();
      act();
      return;
    }
    const all = cards();
    const tops = all.map((card) => card.getBoundingClientRect().top);
    const next = moved(event.key, current, hits.length, columnsOf(tops));
    if (next === null) return;
    event.preventDefault();
    at.value = next;
    all[next]?.focus();
  };
  return (
    <ul class="grid" ref={list} onKeyDown={onKeyDown} aria-label="Hits. Arrow keys move between them.">
      {hits.map((hit, rank) => (
        <HitCard
          key={hit.id}
          hit={hit}
          rank={rank + 1}
          collection={from}
          focusable={rank === current}
          elsewhere={rankElsewhere(hit.id)}
          onFocus={() => (at.value = rank)}
          onOpen={() => openHit(side, rank, hits)}
        />
      ))}
    </ul>
  );
}
