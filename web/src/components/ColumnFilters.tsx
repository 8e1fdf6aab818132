/** What the items' own columns must be: a value with its count, or a range. */

import { useEffect, useState } from "preact/hooks";

import { getFacets } from "../api/client";
import type { Facet } from "../api/types";
import { setOptions } from "../state/actions";
import { withCondition, type Condition } from "../state/query";
import { collectionOf, options } from "../state/store";

export function ColumnFilters() {
  const collection = collectionOf("left");
  const name = collection?.name ?? null;
  const hasColumns = Object.keys(collection?.columns ?? {}).length > 0;
  const [facets, setFacets] = useState<Record<string, Facet>>({});
  useEffect(() => {
    let wanted = true;
    setFacets({});
    // Without them there is nothing to choose from; searching goes on.
    if (name && hasColumns) getFacets(name).then((found) => wanted && setFacets(found), () => undefined);
    return () => { wanted = false; };
  }, [name, hasColumns, collection?.version]);
  const { conditions } = options.value;
  const shown = Object.entries(facets).filter(([, facet]) => isUseful(facet, collection?.items ?? 0));
  if (shown.length === 0) return null;
  return (
    <details class="more-options" open={conditions.length > 0}>
      <summary>Columns{conditions.length > 0 && <span class="dot"><span class="sr"> (chosen)</span></span>}</summary>
      <div class="knobs">
        {shown.map(([column, facet]) => (
          <ColumnFilter
            key={column}
            column={column}
            facet={facet}
            now={conditions.find((condition) => condition.column === column) ?? null}
          />
        ))}
      </div>
    </details>
  );
}

interface ColumnFilterProps {
  column: string;
  facet: Facet;
  now: Condition | null;
}

function ColumnFilter({ column, facet, now }: ColumnFilterProps) {
  const choose = (next: Condition | null) =>
    setOptions({ conditions: withCondition(options.value.conditions, column, next) });
  if (facet.type === "number" || facet.type === "date") return <Ends {...{ column, facet, now, choose }} />;
  const chosen = now && "value" in now ? String(now.value) : "";
  return (
    <label class="field">
      <span>{column}</span>
      <select
        value={chosen}
        onChange={(event) => {
          const found = facet.values.find(([value]) => String(value) === event.currentTarget.value);
          choose(found ? { column, value: found[0] } : null);
        }}
      >
        <option value="" selected={chosen === ""}>Any</option>
        {facet.values.map(([value, count]) => (
          <option key={String(value)} value={String(value)} selected={String(value) === chosen}>
            {`${value === true ? "yes" : value === false ? "no" : value} (${count.toLocaleString("en")})`}
          </option>
        ))}
      </select>
    </label>
  );
}

function Ends({ column, facet, now, choose }: ColumnFilterProps & { choose: (next: Condition | null) => void }) {
  const ends = now && "min" in now ? now : { min: null, max: null };
  const isDate = facet.type === "date";
  const read = (text: string): number | string | null => {
    if (isDate) return text || null;
    return text.trim() === "" || !Number.isFinite(Number(text)) ? null : Number(text);
  };
  const end = (which: "min" | "max", words: string) => (
    <label class="field">
      <span>{column} {words}</span>
      <input
        type={isDate ? "date" : "number"}
        step={isDate ? undefined : "any"}
        value={ends[which] ?? ""}
        placeholder={isDate ? undefined : String(facet[which] ?? "")}
        onChange={(event) => choose({ column, min: ends.min, max: ends.max, [which]: read(event.currentTarget.value) })}
      />
    </label>
  );
  return <>{end("min", "from")}{end("max", "to")}</>;
}

/** A column in which all are alike, or all differ, is nothing to choose by. */
function isUseful({ type, items, values, min, max }: Facet, total: number): boolean {
  if (type === "number" || type === "date") return min !== max;
  return (values.length > 1 || items < total) && (values.some(([, count]) => count > 1) || values.length <= 5);
}
