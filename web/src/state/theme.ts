/** Light, dark, or as the system says. */

import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const PLACE = "crosslens-theme";
const saved = localStorage.getItem(PLACE);

export const theme = signal<Theme>(saved === "light" || saved === "dark" ? saved : "system");

export function applyTheme(): void {
  effect(() => {
    if (theme.value === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem(PLACE);
    } else {
      document.documentElement.dataset.theme = theme.value;
      localStorage.setItem(PLACE, theme.value);
    }
  });
}
