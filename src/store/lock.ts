// A lock that is held: by a holder that renews it, until it is released or its time is up.
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import type { LeaseGrant, StoreBackend } from '../backend/backend.ts';

export class Lock {
  /**
   * Grows with every grant of any lock of the store. A resource that remembers the largest token it has seen, and
   * refuses smaller ones, is safe from a holder that was stopped for longer than its time.
   */
  readonly token: number;
  readonly #backend: StoreBackend;
  readonly #name: Buffer;
  readonly #ttlMs: number;
  #expiresMs: number;
  #state: 'held' | 'released' | 'lost' = 'held';

  constructor(backend: StoreBackend, name: Buffer, grant: LeaseGrant & { readonly ttlMs: number }) {
    this.#backend = backend;
    this.#name = name;
    this.#ttlMs = grant.ttlMs;
    this.token = grant.token;
    this.#expiresMs = grant.expiresMs;
  }

  /** When it goes to somebody else unless it is renewed. */
  get expires(): Date {
    return new Date(this.#expiresMs);
  }

  /** As far as this process knows: its time is not up, and nobody said that it is lost. */
  get isHeld(): boolean {
    return this.#state === 'held' && Date.now() < this.#expiresMs;
  }

  /**
   * Holds it for another `ttlMs`. StoreError BUSY when it was lost: what it guarded may be somebody else's by now.
   *
   * @example
   * const lock = await store.lock('import', { ttlMs: 1000 });
   * await lock.renew(60_000);
   * lock.expires > new Date(Date.now() + 50_000); // => true
   */
  async renew(ttlMs = this.#ttlMs): Promise<void> {
    checkTtl(ttlMs);
    const grant = this.#state === 'held' ? await this.#backend.renew(this.#name, this.token, ttlMs) : undefined;
    if (grant === undefined) {
      if (this.#state === 'held') this.#state = 'lost';
      throw new StoreError('BUSY', `the lock ${JSON.stringify(this.#name.toString())} is ${this.#state === 'lost' ? 'lost: its time was up' : this.#state}`);
    }
    this.#expiresMs = grant.expiresMs;
  }

  /**
   * Renews it in time, again and again, while `work` runs, and releases it afterwards. `work` is told when it is lost.
   *
   * @example
   * const lock = await store.lock('import', { ttlMs: 1000 });
   * await lock.run(async (signal) => (signal.aborted ? 'lost' : 'done')); // => 'done'
   */
  async run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const lost = new AbortController();
    const timer = setInterval(() => {
      // Also when nobody answers, as when the process that has the store open is stopped.
      if (!this.isHeld) return lost.abort(new StoreError('BUSY', `the lock ${JSON.stringify(this.#name.toString())} is lost: its time was up`));
      this.renew().catch((error: unknown) => {
        if (!this.isHeld) lost.abort(error);
      });
    }, Math.min(Math.max(LIMITS.lockRenewMinMs, this.#ttlMs / 3), LIMITS.timerMsMax));
    try {
      return await work(lost.signal);
    } finally {
      clearInterval(timer);
      await this.release();
    }
  }

  /**
   * Gives it back. False when it was lost before.
   *
   * @example
   * const lock = await store.lock('import', { ttlMs: 1000 });
   * [await lock.release(), lock.isHeld, await lock.release()]; // => [true, false, false]
   */
  async release(): Promise<boolean> {
    if (this.#state !== 'held') return false;
    this.#state = 'released';
    return this.#backend.release(this.#name, this.token);
  }

  /**
   * Releases it: what `await using` calls.
   *
   * @example
   * {
   *   await using lock = await store.lock('import', { ttlMs: 1000 });
   *   lock.isHeld; // => true
   * }
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

/** What lets a key or lock go by itself. StoreError INVALID. */
export function checkTtl(ttlMs: number): number {
  if (!(typeof ttlMs === 'number' && ttlMs > 0 && ttlMs <= LIMITS.ttlMsMax)) throw new StoreError('INVALID', `ttlMs ${ttlMs}: wants a number of ms above 0 and up to ${LIMITS.ttlMsMax}`);
  return ttlMs;
}
