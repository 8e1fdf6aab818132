/** Gives the reader a file that was made here. */

const TYPES = { csv: "text/csv;charset=utf-8", json: "application/json", png: "image/png" };

export function download(name: string, kind: keyof typeof TYPES, content: string | Blob): void {
  // Spreadsheets take CSV for UTF-8 only with the mark in front.
  const url = URL.createObjectURL(new Blob(kind === "csv" ? ["\ufeff", content] : [content], { type: TYPES[kind] }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
