/** Changes of what a collection holds: pictures added and items removed, each by a job of the server. */

import { batch } from "@preact/signals";

import { addItems, getItem, getJob, removeItems } from "../api/client";
import { ApiError } from "../api/errors";
import type { Job } from "../api/types";
import { loadCollections } from "./actions";
import type { Judged } from "./judged";
import type { Picked } from "./picks";
import * as store from "./store";

const WAIT = 400;
/** Pictures of one request; the server takes some more. */
const AT_ONCE = 16;

/** Waits until a job is over; throws when it failed. */
export async function finished(job: Job, tell: (job: Job) => void = () => undefined): Promise<Job> {
  let now = job;
  while (now.state === "queued" || now.state === "running") {
    tell(now);
    await new Promise((resolve) => setTimeout(resolve, WAIT));
    now = await getJob(now.id);
  }
  if (now.state !== "done") throw new ApiError(-1, now.message || `the job was ${now.state}`);
  return now;
}

/** Adds pictures to a collection, some at a time; gives how many of them are in it now. */
export async function addPictures(
  collection: string,
  files: readonly File[],
  domain: string,
  label: string,
  tell: (done: number) => void,
): Promise<number> {
  let added = 0;
  for (let at = 0; at < files.length; at += AT_ONCE) {
    const job = await addItems(collection, files.slice(at, at + AT_ONCE), domain, label);
    const over = await finished(job, ({ done }) => tell(at + done));
    added += Number(over.result?.added ?? 0) + Number(over.result?.changed ?? 0) + Number(over.result?.unchanged ?? 0);
  }
  await loadCollections();
  return added;
}

/** Takes selected items out of their collections. */
export async function removePicked(picks: readonly Picked[]): Promise<void> {
  for (const collection of new Set(picks.map((pick) => pick.collection))) {
    const ids = picks.filter((pick) => pick.collection === collection).map(({ hit }) => hit.id);
    await finished(await removeItems(collection, ids));
    batch(() => {
      store.picks.value = store.picks.value.filter((one) => one.collection !== collection || !ids.includes(one.hit.id));
      store.judged.value = store.judged.value.filter((one) => one.collection !== collection || !ids.includes(one.id));
    });
  }
  await loadCollections();
}

/** Forgets judgements of items that a collection no longer holds. */
export async function forgetGone(collection: string): Promise<void> {
  const asked = store.judged.value.filter((one) => one.collection === collection);
  const gone = (await Promise.all(asked.map(async (one) => ((await isGone(one)) ? [one] : [])))).flat();
  if (gone.length === 0) return;
  const what = gone.length === 1 ? "A picture that you judged is" : `${gone.length} pictures that you judged are`;
  batch(() => {
    store.judged.value = store.judged.value.filter((one) => !gone.includes(one));
    store.notice.value = `${what} no longer in ${collection}`;
  });
}

async function isGone({ collection, id }: Judged): Promise<boolean> {
  try {
    await getItem(collection, id);
    return false;
  } catch (error) {
    return error instanceof ApiError && error.status === 404;
  }
}
