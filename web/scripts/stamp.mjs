// Writes build.json beside the built page: what it was built from and what was built, as SHA-256.
// tests/server/test_page_build.py computes the same, so a page that no longer fits its source is noticed.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const web = join(dirname(fileURLToPath(import.meta.url)), "..");
const built = join(web, "..", "src", "crosslens", "server", "web");
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src", "public"];

function* filesUnder(path) {
  let entries;
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch {
    yield path;
    return;
  }
  for (const entry of entries) yield* filesUnder(join(path, entry.name));
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const named = (root, paths) =>
  Object.fromEntries(
    paths
      .flatMap((path) => [...filesUnder(path)])
      .map((path) => [relative(root, path).split(sep).join("/"), sha256(readFileSync(path))])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

const sources = named(web, SOURCES.map((name) => join(web, name)));
const outputs = named(built, [built]);
delete outputs["build.json"];
const lines = Object.entries(sources).map(([name, digest]) => `${name} ${digest}\n`);
writeFileSync(
  join(built, "build.json"),
  JSON.stringify({ source: sha256(lines.join("")), files: outputs }, null, 1) + "\n",
);
