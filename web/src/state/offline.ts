/** The page opens without its server too, where browsers allow it: over HTTPS, and on this machine. */

export function workOffline(): void {
  if (import.meta.env.DEV || !isSecureContext || !("serviceWorker" in navigator)) return;
  // Relative, so that a proxy's path prefix is kept. Without it the page works all the same.
  navigator.serviceWorker.register("sw.js").catch(() => undefined);
}
