/** Requests to the server. Every failure is an ApiError. */

import { ApiError, problemDetail } from "./errors";
import type { Answer, Collection, Facet, Item, Job, Query } from "./types";

const BASE = "api/v1";
const KEY = "crosslens-key";
const UNREACHED = [502, 503, 504];

export function storedKey(): string | null {
  return sessionStorage.getItem(KEY);
}

export function storeKey(key: string | null): void {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = storedKey();
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response: Response;
  try {
    response = await fetch(`${BASE}/${path}`, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  // A proxy says so for a server that does not answer; the server itself gives its reason.
  if (UNREACHED.includes(response.status) && problemDetail(body) === "") throw new ApiError(0, "");
  const wait = Number(response.headers.get("Retry-After"));
  throw new ApiError(response.status, problemDetail(body), wait > 0 ? Math.ceil(wait) : null);
}

const of = (collection: string) => `collections/${encodeURIComponent(collection)}`;
const aborts = (signal: AbortSignal | undefined): RequestInit => (signal ? { signal } : {});

export async function getCollections(): Promise<Collection[]> {
  return (await request("collections")).json();
}

export async function getItem(collection: string, id: string): Promise<Item> {
  return (await request(`${of(collection)}/item?id=${encodeURIComponent(id)}`)).json();
}

export async function getFacets(collection: string): Promise<Record<string, Facet>> {
  const headers = { "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: "{}" };
  return (await (await request(`${of(collection)}/facets`, init)).json()).columns;
}

export async function search(
  collection: string,
  query: Query,
  images: Blob[],
  signal?: AbortSignal,
): Promise<Answer> {
  const path = `${of(collection)}/search`;
  if (images.length === 0) {
    const headers = { "Content-Type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(query), ...aborts(signal) };
    return (await request(path, init)).json();
  }
  const form = new FormData();
  form.set("query", JSON.stringify(query));
  images.forEach((image, at) => form.append("images", image, image instanceof File ? image.name : `${at}.png`));
  return (await request(path, { method: "POST", body: form, ...aborts(signal) })).json();
}

/** Queues the removal of items; their files stay, but for those that were uploaded. */
export async function removeItems(collection: string, ids: readonly string[]): Promise<Job> {
  const headers = { "Content-Type": "application/json" };
  const init = { method: "DELETE", headers, body: JSON.stringify({ ids }) };
  return (await (await request(`${of(collection)}/items`, init)).json()).job;
}

/** Uploads pictures of one domain, and of one class where it is known, and queues their addition. */
export async function addItems(collection: string, files: readonly File[], domain: string, label: string): Promise<Job> {
  const form = new FormData();
  form.set("domain", domain);
  if (label) form.set("label", label);
  files.forEach((file) => form.append("images", file, file.name));
  return (await (await request(`${of(collection)}/items`, { method: "POST", body: form })).json()).job;
}

export async function getJob(id: string): Promise<Job> {
  return (await request(`jobs/${encodeURIComponent(id)}`)).json();
}

/** Addresses below the page's own, so that a proxy's path prefix is kept. */
export function thumbnailPath(collection: string, id: string, size: number): string {
  return `${of(collection)}/thumbnail?id=${encodeURIComponent(id)}&size=${size}`;
}

export function imagePath(collection: string, id: string): string {
  return `${of(collection)}/image?id=${encodeURIComponent(id)}`;
}

export function address(path: string): string {
  return `${BASE}/${path}`;
}

/** A picture's bytes, with the key: an <img> cannot send one. */
export async function getPicture(path: string, signal?: AbortSignal): Promise<Blob> {
  return (await request(path, aborts(signal))).blob();
}
