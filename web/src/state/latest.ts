/** Calls that come late and answers that come too late. */

/** Runs ``action`` once nothing has asked for it for ``wait`` milliseconds. */
export class Debouncer {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly action: () => void,
    private readonly wait: number,
  ) {}

  ask(): void {
    this.cancel();
    this.#timer = setTimeout(() => this.flush(), this.wait);
  }

  /** Runs the action at once, whether or not it was asked for. */
  flush(): void {
    this.cancel();
    this.action();
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Only the newest task's outcome counts: an older one is aborted, and what it still answers is dropped. */
export class Latest {
  #controller: AbortController | null = null;

  /** Resolves to whether the task was still the newest when it ended; exactly then a callback ran. */
  async run<T>(
    task: (signal: AbortSignal) => Promise<T>,
    done: (value: T) => void,
    failed: (reason: unknown) => void,
  ): Promise<boolean> {
    this.cancel();
    const controller = new AbortController();
    this.#controller = controller;
    let finish: () => void;
    try {
      const value = await task(controller.signal);
      finish = () => done(value);
    } catch (reason) {
      finish = () => failed(reason);
    }
    if (this.#controller !== controller) return false;
    this.#controller = null;
    finish();
    return true;
  }

  cancel(): void {
    this.#controller?.abort();
    this.#controller = null;
  }
}
