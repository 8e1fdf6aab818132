/** A slider over the scores: hits below it are hidden at once, without asking the server again. */

import { useEffect } from "preact/hooks";

import type { Hit } from "../api/types";
import { above, countInWords, histogram, scoreRange } from "../state/hits";
import { Debouncer } from "../state/latest";
import { setCut } from "../state/actions";
import { announcement, type Side } from "../state/store";

const BINS = 32;
let words = "";
const saying = new Debouncer(() => (announcement.value = words), 600);

export function CutOff({ side, hits, cut }: { side: Side; hits: Hit[]; cut: number | null }) {
  const [low, high] = scoreRange(hits);
  const counts = histogram(hits, BINS);
  const most = Math.max(...counts, 1);
  const at = cut === null ? low : Math.min(Math.max(cut, low), high);
  const said = cut === null || cut <= low ? "all shown" : `score ${at.toFixed(3)} and above`;
  useEffect(() => () => saying.cancel(), []);
  const choose = (value: number) => {
    setCut(side, value <= low ? null : value);
    words = countInWords(above(hits, value).length, hits.length);
    saying.ask();
  };
  return (
    <label class="cut">
      <span class="cut-name">Cut-off <span class="said">{said}</span></span>
      <svg class="cut-scores" viewBox={`0 0 ${BINS} 10`} preserveAspectRatio="none" aria-hidden="true">
        {counts.map((count, bin) => {
          const height = count === 0 ? 0 : Math.max(1, (count / most) * 10);
          const hidden = low + ((bin + 1) / BINS) * (high - low) <= at && cut !== null;
          return <rect key={bin} class={hidden ? "hidden" : ""} x={bin + 0.1} y={10 - height} width={0.8} height={height} />;
        })}
      </svg>
      <input
        type="range"
        min={low}
        max={high}
        step={0.001}
        value={at}
        aria-valuetext={said}
        onInput={(event) => choose(Number(event.currentTarget.value))}
      />
    </label>
  );
}
