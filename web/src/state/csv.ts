/** Tables as CSV (RFC 4180). Pure. */

export type Cell = string | number | boolean | readonly string[] | null;

/** Rows of cells, the first one the names of the columns; what a cell lacks is empty, a list is JSON. */
export function toCsv(rows: readonly (readonly Cell[])[]): string {
  return rows.map((row) => `${row.map(written).join(",")}\r\n`).join("");
}

function written(cell: Cell): string {
  if (cell === null) return "";
  const text = typeof cell === "object" ? JSON.stringify(cell) : String(cell);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
