// Makes a slow, shared step such as fdatasync serve everybody who asks: one runs, and one more waits for all others.

export class GroupedSync {
  readonly #work: () => Promise<void>;
  readonly #isDirty: () => boolean;
  #running: Promise<void> | undefined;
  #following: Promise<void> | undefined;

  /** `work` covers all that was changed before it is called; `isDirty` tells whether something was changed since then. */
  constructor(work: () => Promise<void>, isDirty: () => boolean) {
    this.#work = work;
    this.#isDirty = isDirty;
  }

  /** Resolves when all changes made before the call are covered; rejects as `work` does. */
  request(): Promise<void> {
    if (this.#running === undefined) return this.#isDirty() ? this.#start() : Promise.resolve();
    if (!this.#isDirty()) return this.#following ?? this.#running;
    const follow = (): Promise<void> => {
      this.#following = undefined;
      return this.#isDirty() ? this.#start() : Promise.resolve();
    };
    this.#following ??= this.#running.then(follow, follow);
    return this.#following;
  }

  /** Resolves when nothing runs, whether it went well or not. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await (this.#following ?? this.#running).catch(() => undefined);
  }

  #start(): Promise<void> {
    this.#running = this.#work().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }
}
