/** A contact sheet of the selected hits: one PNG with each picture, its name and its score. */

import { getPicture, thumbnailPath } from "../api/client";
import type { Picked } from "./picks";

const SIDE = 200;
const GAP = 16;
const CAPTION = 44;
const MOST_COLUMNS = 6;
const INK = "#1d1b18";
const QUIET = "#5f5a52";

/** Draws the sheet. A picture that cannot be had leaves its place empty. */
export async function contactSheet(picks: readonly Picked[]): Promise<Blob> {
  const columns = Math.min(MOST_COLUMNS, Math.ceil(Math.sqrt(picks.length)));
  const rows = Math.ceil(picks.length / columns);
  const canvas = document.createElement("canvas");
  canvas.width = GAP + columns * (SIDE + GAP);
  canvas.height = GAP + rows * (SIDE + CAPTION + GAP);
  const paper = canvas.getContext("2d");
  if (!paper) throw new Error("this browser draws no pictures");
  paper.fillStyle = "#ffffff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  const pictures = await Promise.all(picks.map(picture));
  picks.forEach(({ hit }, at) => {
    const left = GAP + (at % columns) * (SIDE + GAP);
    const top = GAP + Math.floor(at / columns) * (SIDE + CAPTION + GAP);
    const shown = pictures[at];
    if (shown) {
      const scale = Math.min(SIDE / shown.width, SIDE / shown.height);
      const [width, height] = [shown.width * scale, shown.height * scale];
      paper.drawImage(shown, left + (SIDE - width) / 2, top + (SIDE - height) / 2, width, height);
      shown.close();
    } else {
      paper.strokeStyle = QUIET;
      paper.strokeRect(left + 0.5, top + 0.5, SIDE - 1, SIDE - 1);
    }
    write(paper, hit.label ?? hit.id, left, top + SIDE + 18, INK);
    write(paper, `${hit.score.toFixed(3)}  ${hit.domain ?? ""}`, left, top + SIDE + 36, QUIET);
  });
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the sheet is too large for this browser"))));
  });
}

async function picture({ collection, hit }: Picked): Promise<ImageBitmap | null> {
  try {
    return await createImageBitmap(await getPicture(thumbnailPath(collection, hit.id, 256)));
  } catch {
    return null;
  }
}

/** One line, cut with an ellipsis where it is wider than a picture. */
function write(paper: CanvasRenderingContext2D, text: string, left: number, base: number, colour: string): void {
  paper.font = "14px system-ui, sans-serif";
  paper.fillStyle = colour;
  let shown = text;
  while (shown && paper.measureText(shown === text ? shown : `${shown}…`).width > SIDE) shown = shown.slice(0, -1);
  paper.fillText(shown === text ? shown : `${shown}…`, left, base);
}
