/** The part of a picture that is meant, drawn on it or set with sliders. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";

import type { Region } from "../api/types";
import { setRegion } from "../state/actions";
import { asRegion, moveEdge, WHOLE, type Edge } from "../state/region";
import type { Part } from "../state/query";
import { cropping, parts } from "../state/store";
import { Dialog } from "./Dialog";

type ImagePart = Extract<Part, { kind: "image" }>;
const EDGES: readonly Edge[] = ["Left", "Right", "Top", "Bottom"];

export function Crop() {
  const part = parts.value.find(({ key }) => key === cropping.value);
  return part?.kind === "image" ? <CropDialog key={part.key} part={part} /> : null;
}

function CropDialog({ part }: { part: ImagePart }) {
  const url = useMemo(() => URL.createObjectURL(part.file), [part.file]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  const region = useSignal<Region>(part.region ?? WHOLE);
  const corner = useRef<readonly [number, number] | null>(null);
  const [x, y, width, height] = region.value;

  const place = (event: PointerEvent & { currentTarget: Element }): [number, number] => {
    const box = event.currentTarget.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const begin = (event: PointerEvent & { currentTarget: Element }) => {
    if (event.button > 0) return;
    event.preventDefault();
    event.currentTarget.setPointerCapture(event.pointerId);
    corner.current = place(event);
  };
  const drag = (event: PointerEvent & { currentTarget: Element }) => {
    if (corner.current) region.value = asRegion(corner.current, place(event)) ?? region.value;
  };
  const end = () => (corner.current = null);
  const at: Record<Edge, number> = { Left: x, Right: x + width, Top: y, Bottom: y + height };
  return (
    <Dialog title="Search with a part of the picture" onClose={() => (cropping.value = null)}>
      <div class="crop">
        <div class="crop-picture">
          <img src={url} alt={part.name} draggable={false} />
          <svg
            viewBox="0 0 1 1"
            preserveAspectRatio="none"
            aria-hidden="true"
            onPointerDown={begin}
            onPointerMove={drag}
            onPointerUp={end}
            onPointerCancel={end}
          >
            <path class="crop-rest" fill-rule="evenodd" d={`M0 0H1V1H0ZM${x} ${y}h${width}v${height}h${-width}Z`} />
            <rect class="crop-edge" x={x} y={y} width={width} height={height} />
          </svg>
        </div>
      </div>
      <p class="hint">Draw a rectangle on the picture, or move its edges:</p>
      <div class="crop-edges">
        {EDGES.map((edge) => (
          <label key={edge} class="field">
            <span>{edge} <span class="said">{Math.round(at[edge] * 100)} %</span></span>
            <input
              type="range"
              min={0}
              max={1}
              step={0.01}
              value={at[edge]}
              aria-valuetext={`${Math.round(at[edge] * 100)} %`}
              onInput={(event) => {
                region.value = moveEdge(region.value, edge, Number(event.currentTarget.value));
              }}
            />
          </label>
        ))}
      </div>
      <div class="detail-actions">
        <button type="button" class="button" onClick={() => setRegion(part.key, region.value)}>Use this part</button>
        <button type="button" class="button quiet" onClick={() => setRegion(part.key, null)}>Use the whole picture</button>
      </div>
    </Dialog>
  );
}
