// Keeps the page itself, so that it opens without its server: its HTML and the files that the HTML names, nothing else.
// Answers of the API, pictures and keys pass by; they are never kept.

const SCOPE = new URL("./", self.location.href).href;
const SHELL = `crosslens-page ${SCOPE}`;
const MARK = "<title>crosslens</title>";
// What a proxy answers for a server that does not.
const UNREACHED = [502, 503, 504];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fetch(SCOPE, { cache: "no-cache" }).then(keep));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url, headers } = event.request;
  const address = url.split(/[?#]/)[0];
  if (method !== "GET" || headers.has("Authorization") || !address.startsWith(SCOPE)) return;
  const path = address.slice(SCOPE.length);
  if (path === "") event.respondWith(page(event));
  else if (/^(assets\/[^/]+|[^/]+\.(svg|png|webmanifest))$/.test(path)) event.respondWith(file(event.request));
});

/** The page as the server has it now, or else as it was kept. */
async function page(event) {
  const response = await answerOr(event.request, () => caches.open(SHELL).then((shell) => shell.match(SCOPE)));
  event.waitUntil(keep(response.clone()).catch(() => undefined));
  return response;
}

/** What the server answers, or where it does not, what was kept; without that, the failure as it is. */
async function answerOr(request, kept) {
  let answer, failure;
  try {
    answer = await fetch(request);
    if (!UNREACHED.includes(answer.status)) return answer;
  } catch (error) {
    failure = error;
  }
  const instead = (await kept()) ?? answer;
  if (instead) return instead;
  throw failure;
}

/** A file of the page; the names of those in assets/ change with their content. */
async function file(request) {
  const kept = await (await caches.open(SHELL)).match(request.url);
  if (kept && request.url.startsWith(`${SCOPE}assets/`)) return kept;
  return answerOr(request, async () => kept);
}

/** Takes a page in place of the one before, once all it names is here. A login of a proxy, say, is no page of ours. */
async function keep(response) {
  if (!response.ok || response.redirected || response.type !== "basic") return;
  const html = await response.clone().text();
  if (!html.includes(MARK)) return;
  const cache = await caches.open(SHELL);
  const named = [...html.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map(([, path]) => SCOPE + path);
  const before = (await cache.keys()).map(({ url }) => url);
  await cache.addAll(named.filter((url) => !before.includes(url)));
  await cache.put(SCOPE, response);
  await Promise.all(before.filter((url) => url !== SCOPE && !named.includes(url)).map((url) => cache.delete(url)));
}
