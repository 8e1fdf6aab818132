import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Debouncer, Latest } from "../src/state/latest";

describe("Debouncer", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("acts once, a while after the last call", () => {
    const action = vi.fn();
    const debouncer = new Debouncer(action, 100);
    debouncer.ask();
    vi.advanceTimersByTime(90);
    debouncer.ask();
    vi.advanceTimersByTime(99);
    expect(action).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(action).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1000);
    expect(action).toHaveBeenCalledTimes(1);
  });

  it("acts at once when flushed, and not again", () => {
    const action = vi.fn();
    const debouncer = new Debouncer(action, 100);
    debouncer.ask();
    debouncer.flush();
    vi.advanceTimersByTime(1000);
    expect(action).toHaveBeenCalledTimes(1);
  });

  it("can be called off", () => {
    const action = vi.fn();
    const debouncer = new Debouncer(action, 100);
    debouncer.ask();
    debouncer.cancel();
    vi.advanceTimersByTime(1000);
    expect(action).not.toHaveBeenCalled();
  });
});

/** A task that ends when told to, whatever its signal says, as a server that answers all the same. */
function controlled<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  const seen: AbortSignal[] = [];
  const task = (signal: AbortSignal) => {
    seen.push(signal);
    return promise;
  };
  return { task, resolve, reject, aborted: () => seen[0]?.aborted };
}

describe("Latest", () => {
  it("drops the answer of an older task, also when it comes last", async () => {
    const latest = new Latest();
    const done: string[] = [];
    const [first, second] = [controlled<string>(), controlled<string>()];
    const a = latest.run(first.task, (value) => done.push(value), String);
    const b = latest.run(second.task, (value) => done.push(value), String);
    expect(first.aborted()).toBe(true);
    second.resolve("second");
    first.resolve("first");
    expect(await Promise.all([a, b])).toEqual([false, true]);
    expect(done).toEqual(["second"]);
  });

  it("drops the failure of an older task", async () => {
    const latest = new Latest();
    const failed = vi.fn();
    const [first, second] = [controlled<string>(), controlled<string>()];
    const a = latest.run(first.task, () => undefined, failed);
    const b = latest.run(second.task, () => undefined, failed);
    first.reject(new Error("aborted"));
    second.resolve("second");
    await Promise.all([a, b]);
    expect(failed).not.toHaveBeenCalled();
  });

  it("reports the newest task's failure", async () => {
    const failed = vi.fn();
    await new Latest().run(() => Promise.reject(new Error("away")), () => undefined, failed);
    expect(failed).toHaveBeenCalledWith(new Error("away"));
  });

  it("drops everything once cancelled", async () => {
    const latest = new Latest();
    const done = vi.fn();
    const only = controlled<string>();
    const run = latest.run(only.task, done, done);
    latest.cancel();
    only.resolve("late");
    expect(await run).toBe(false);
    expect(done).not.toHaveBeenCalled();
  });
});
