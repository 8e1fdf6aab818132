import { defineConfig } from "vitest/config";

// Relative addresses, so that the page also works below a path of a reverse proxy. Nothing is inlined: the server's
// Content-Security-Policy allows scripts and styles from files only.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/crosslens/server/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: { proxy: { "/api": "http://127.0.0.1:8765" } },
  test: { environment: "node", include: ["tests/**/*.test.ts"] },
});
