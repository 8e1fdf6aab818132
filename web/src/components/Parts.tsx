/** What the query is made of, with a weight for each part. */

import { useEffect, useMemo, useState } from "preact/hooks";

import { thumbnailPath } from "../api/client";
import type { Region } from "../api/types";
import { PAPER, strokes } from "../sketch/history";
import { paint } from "../sketch/paint";
import { fitted } from "../sketch/fit";
import { clearQuery, removePart, setWeight } from "../state/actions";
import type { Part } from "../state/query";
import { cropping, history, parts } from "../state/store";
import { Icon } from "./icons";
import { Picture } from "./Picture";

export function Parts() {
  if (parts.value.length === 0) return null;
  return (
    <section class="parts" aria-labelledby="parts-title">
      <header class="section-head">
        <h2 id="parts-title">Query</h2>
        <button type="button" class="text-button" onClick={clearQuery}>Clear all</button>
      </header>
      <ul>
        {parts.value.map((part) => <Row key={part.key} part={part} />)}
      </ul>
    </section>
  );
}

function Row({ part }: { part: Part }) {
  const name = nameOf(part);
  const pushes = part.weight < 0;
  return (
    <li class={pushes ? "part part-away" : "part"}>
      <span class="part-picture"><Preview part={part} /></span>
      <span class="part-name" title={name}>{name}</span>
      <span class="part-actions">
        {part.kind === "image" && (
          <button
            type="button"
            class="icon-button"
            aria-label={`Search with a part of ${name}`}
            aria-pressed={part.region !== null}
            title="Search with a part of it"
            onClick={() => (cropping.value = part.key)}
          >
            <Icon name="crop" />
          </button>
        )}
        <button type="button" class="icon-button" aria-label={`Remove ${name}`} onClick={() => removePart(part.key)}>
          <Icon name="close" />
        </button>
      </span>
      <label class="part-weight">
        <span class="sr">Weight of {name}</span>
        <input
          type="range"
          min={-1}
          max={1}
          step={0.05}
          value={part.weight}
          aria-valuetext={`${part.weight}, ${pushes ? "pushes away" : part.weight > 0 ? "pulls" : "not used"}`}
          onInput={(event) => setWeight(part.key, Number(event.currentTarget.value))}
        />
        <span class="said" aria-hidden="true">{part.weight > 0 ? "+" : ""}{part.weight.toFixed(2).replace("-", "−")}</span>
      </label>
    </li>
  );
}

export function nameOf(part: Part): string {
  switch (part.kind) {
    case "sketch":
      return "Your sketch";
    case "text":
      return `“${part.text}”`;
    case "like":
      return part.id;
    case "image":
      return part.name;
  }
}

function Preview({ part }: { part: Part }) {
  switch (part.kind) {
    case "text":
      return <Icon name="text" />;
    case "like":
      return <Picture path={thumbnailPath(part.collection, part.id, 64)} alt="" />;
    case "image":
      return <Uploaded file={part.file} region={part.region} />;
    case "sketch":
      return <SmallSketch />;
  }
}

function Uploaded({ file, region }: { file: Blob; region: Region | null }) {
  const url = useMemo(() => URL.createObjectURL(file), [file]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  const [size, setSize] = useState<[number, number] | null>(null);
  if (!region || !size) {
    return (
      <img class="picture" src={url} alt="" onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) => setSize([naturalWidth, naturalHeight])} />
    );
  }
  const [x, y, wide, high] = region;
  const [width, height] = size;
  return (
    <svg class="picture" viewBox={[x * width, y * height, wide * width, high * height].join(" ")} aria-hidden="true">
      <image href={url} width={width} height={height} />
    </svg>
  );
}

/** The sketch as the server sees it. */
function SmallSketch() {
  const drawn = strokes(history.value);
  const show = (canvas: HTMLCanvasElement | null) => {
    const context = canvas?.getContext("2d");
    if (context) paint(context, fitted(drawn), PAPER / 4);
  };
  return <canvas class="picture" width={PAPER / 4} height={PAPER / 4} ref={show} aria-hidden="true" />;
}
