/** Where to search, and how the answer is made. */

import { setOptions } from "../state/actions";
import type { Goal } from "../api/types";
import { columnSorts, DEFAULTS, GOALS, rerankedBy, RERANKS, sortFor, SORTS, towards, type Options } from "../state/query";
import { askable, collectionOf, options, searched } from "../state/store";
import { ColumnFilters } from "./ColumnFilters";
import { Icon } from "./icons";

const TOPS = [10, 20, 40, 100, 200, 500, 1000];

export function Filters() {
  const { domains, folders } = searched.value;
  const now = options.value;
  return (
    <>
      <section class="filters" aria-labelledby="filters-title">
        <h2 id="filters-title">Search in</h2>
        {(domains.length > 1 || now.domains.length > 0) && (
          <fieldset class="chips">
            <legend>Domains</legend>
            {domains.map(([domain, count]) => (
              <label key={domain} class="chip">
                <input
                  type="checkbox"
                  checked={now.domains.includes(domain)}
                  onChange={() => setOptions({ domains: toggled(now.domains, domain) })}
                />
                <span>{domain} <small>{count.toLocaleString("en")}</small></span>
              </label>
            ))}
          </fieldset>
        )}
        {folders.length > 0 && <Folders known={folders} chosen={now.folders} />}
        <ColumnFilters />
      </section>
      <GoalSwitch now={now} />
      <details class="more-options">
        <summary>Options{isChanged(now) && <span class="dot"><span class="sr"> (changed)</span></span>}</summary>
        <Knobs now={now} domains={askable.value} />
      </details>
    </>
  );
}

/** Which of two questions is asked; shown where the collection can answer both. */
function GoalSwitch({ now }: { now: Options }) {
  const collection = collectionOf("left");
  if (!collection || collection.goals.length < 2) return null;
  const chosen = now.goal ?? collection.goal;
  return (
    <fieldset class="chips">
      <legend>Look for</legend>
      {(Object.keys(GOALS) as Goal[]).map((goal) => (
        <label key={goal} class="chip">
          <input
            type="radio"
            name="goal"
            checked={goal === chosen}
            onChange={() => setOptions(towards(goal, now.rerank))}
          />
          <span>{GOALS[goal]}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Folders({ known, chosen }: { known: string[]; chosen: readonly string[] }) {
  const take = (input: HTMLInputElement) => {
    const folder = input.value.replace(/\/+$/, "");
    if (!known.includes(folder) || chosen.includes(folder)) return;
    setOptions({ folders: [...chosen, folder] });
    input.value = "";
  };
  return (
    <div class="field">
      <label for="folder">Folder</label>
      <input
        id="folder"
        type="text"
        list="folders"
        autocomplete="off"
        placeholder={chosen.length > 0 ? "Add another folder" : "All folders"}
        onInput={(event) => take(event.currentTarget)}
        onKeyDown={(event) => event.key === "Enter" && take(event.currentTarget)}
      />
      <datalist id="folders">{known.map((folder) => <option key={folder} value={folder} />)}</datalist>
      {chosen.length > 0 && (
        <ul class="taken" aria-label="Chosen folders">
          {chosen.map((folder) => (
            <li key={folder}>
              <span>{folder}</span>
              <button type="button" class="icon-button" aria-label={`Remove folder ${folder}`} onClick={() => setOptions({ folders: toggled(chosen, folder) })}>
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Knobs({ now, domains }: { now: Options; domains: string[] }) {
  const columns = collectionOf("left")?.columns ?? {};
  return (
    <div class="knobs">
      <Choice
        label="My pictures are"
        value={now.as}
        choices={{ auto: "Detected", none: "Of no domain", ...Object.fromEntries(domains.map((name) => [name, name])) }}
        onChange={(as) => setOptions({ as })}
      />
      <Choice
        label="Hits"
        value={String(now.top)}
        choices={Object.fromEntries([...new Set([...TOPS, now.top])].sort((a, b) => a - b).map((top) => [top, `${top}`]))}
        onChange={(top) => setOptions({ top: Number(top) })}
      />
      <Choice label="Order" value={sortFor(now.sort, columns)} choices={{ ...SORTS, ...columnSorts(columns) }} onChange={(sort) => setOptions({ sort })} />
      <Choice label="Re-rank" value={now.rerank} choices={RERANKS} onChange={(rerank) => setOptions(rerankedBy(rerank, now.goal))} />
      <Slider
        label="Fold near-duplicates from"
        value={now.fold}
        min={0.8}
        max={1}
        step={0.01}
        off={1}
        words={(fold) => `cosine ${fold.toFixed(2)}`}
        onChange={(fold) => setOptions({ fold })}
      />
      <Slider
        label="Say no match below"
        value={now.minMatch}
        min={0}
        max={0.95}
        step={0.05}
        off={0}
        words={(match) => `${Math.round(match * 100)} %`}
        onChange={(minMatch) => setOptions({ minMatch })}
      />
    </div>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  choices: Record<string, string>;
  onChange: (value: string) => void;
}

export function Choice({ label, value, choices, onChange }: ChoiceProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {Object.entries(choices).map(([key, words]) => (
          <option key={key} value={key} selected={key === value}>{words}</option>
        ))}
      </select>
    </label>
  );
}

interface SliderProps {
  label: string;
  value: number | null;
  min: number;
  max: number;
  step: number;
  /** The end of the slider that turns it off. */
  off: number;
  words: (value: number) => string;
  onChange: (value: number | null) => void;
}

function Slider({ label, value, min, max, step, off, words, onChange }: SliderProps) {
  const said = value === null ? "off" : words(value);
  return (
    <label class="field">
      <span>{label} <span class="said">{said}</span></span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={value ?? off}
        aria-valuetext={said}
        onInput={(event) => {
          const chosen = Number(event.currentTarget.value);
          onChange(chosen === off ? null : chosen);
        }}
      />
    </label>
  );
}

function toggled(list: readonly string[], value: string): string[] {
  return list.includes(value) ? list.filter((one) => one !== value) : [...list, value];
}

function isChanged(now: Options): boolean {
  const knobs = ["as", "top", "sort", "fold", "rerank", "minMatch"] as const;
  return knobs.some((knob) => now[knob] !== DEFAULTS[knob]);
}
