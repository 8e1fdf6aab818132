/** Arrow keys in a grid whose number of columns follows the window. Pure. */

/** The position to go to from ``at`` among ``count`` cells, or null for keys that do not move. */
export function moved(key: string, at: number, count: number, columns: number): number | null {
  const last = count - 1;
  switch (key) {
    case "ArrowRight":
      return Math.min(last, at + 1);
    case "ArrowLeft":
      return Math.max(0, at - 1);
    case "ArrowDown":
      return at + columns <= last ? at + columns : at;
    case "ArrowUp":
      return at - columns >= 0 ? at - columns : at;
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return null;
  }
}

/** Cells in the first row, from the tops of all cells. */
export function columnsOf(tops: readonly number[]): number {
  const first = tops[0];
  return Math.max(1, tops.filter((top) => first !== undefined && Math.abs(top - first) < 2).length);
}
