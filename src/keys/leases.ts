// Leases: one holder at a time for each name, for a time, in the order in which they asked.
//
// A lease is a key of a key space that is kept for leases alone: held while the key is there, and it goes by itself when
// its time is up. The token of a grant is the version of the key, so tokens grow with every grant, whatever the name.
//
// A grant is process-proof when it is told, and not synced. A power cut may forget a lease that is less than a second old;
// on this machine its holder is gone then too, so that nobody else gets what somebody still holds. A holder on another
// machine may be left: what it guards is safe by the token, for versions never come again, and grow, across power cuts.
// Time is the wall clock's: one that is set forward ends leases early. There, too, the token is what can be relied on.
import { LIMITS } from '../base/limits.ts';
import { StoreError, showKey } from './errors.ts';
import type { KeySpace } from './key-space.ts';

export interface LeaseGrant {
  /** Grows with every grant of any name: what a resource compares, so that a late holder is refused. */
  readonly token: number;
  /** Ms since 1970. */
  readonly expiresMs: number;
}

interface Waiter {
  readonly ttlMs: number;
  readonly settle: (outcome: LeaseGrant | Error | undefined) => void;
}

interface Queue {
  readonly name: Buffer;
  /** In the order in which they came; never empty for longer than a call. */
  readonly waiters: Set<Waiter>;
  /** Ends when the time of the holder is up. */
  timer: NodeJS.Timeout | undefined;
}

const NOTHING = Buffer.alloc(0);

/** Not to be called inside KeySpace.group: whoever waits is told at once. */
export class Leases {
  readonly #keys: KeySpace;
  /** By the name as latin1. */
  readonly #queues = new Map<string, Queue>();
  #waiting = 0;
  #isClosed = false;

  /** `keys` is for leases alone. */
  constructor(keys: KeySpace) {
    this.#keys = keys;
  }

  /** Callers that wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Undefined when it was held by others for `waitMs`, or others waited longer. Whoever waits gets it in turn, also before
   * those who come when it is free just then. Rejects with the reason of `signal`; StoreError BUSY (too many wait), FULL,
   * CLOSED.
   */
  async acquire(name: Buffer, { ttlMs, waitMs, signal }: { readonly ttlMs: number; readonly waitMs: number; readonly signal?: AbortSignal | undefined }): Promise<LeaseGrant | undefined> {
    signal?.throwIfAborted();
    const room = this.#keys.room();
    if (room !== undefined) await room;
    this.#assertOpen();
    if (!this.#queues.has(name.toString('latin1'))) {
      const grant = this.#grant(name, ttlMs);
      if (grant !== undefined) return grant;
    }
    if (waitMs <= 0) return undefined;
    signal?.throwIfAborted();
    return this.#wait(name, { ttlMs, waitMs, signal });
  }

  /** For another `ttlMs` from now; the token stays. Undefined when it was lost. StoreError FULL, CLOSED. */
  async renew(name: Buffer, token: number, ttlMs: number): Promise<LeaseGrant | undefined> {
    const room = this.#keys.room();
    if (room !== undefined) await room;
    this.#assertOpen();
    if (this.#keys.get(name)?.version !== token) return undefined;
    const expiresMs = deadline(ttlMs);
    // Its time may have come since it was looked at.
    if (!this.#keys.transact((transaction) => transaction.expire(name, expiresMs))) return undefined;
    // Shortened, perhaps: whoever waits is to wait no longer than that.
    const queue = this.#queues.get(name.toString('latin1'));
    if (queue !== undefined) this.#serve(queue);
    return { token, expiresMs };
  }

  /** Gives it to the next. False when it was lost. */
  release(name: Buffer, token: number): boolean {
    this.#assertOpen();
    if (this.#keys.get(name)?.version !== token) return false;
    this.#keys.transact((transaction) => transaction.delete(name));
    const queue = this.#queues.get(name.toString('latin1'));
    if (queue !== undefined) this.#serve(queue);
    return true;
  }

  /** Whoever waits is told CLOSED. What is held stays held until its time is up. */
  close(): void {
    this.#isClosed = true;
    for (const queue of this.#queues.values()) {
      for (const waiter of queue.waiters) waiter.settle(new StoreError('CLOSED', 'the store was closed while the lock was waited for'));
    }
  }

  /** Undefined when it is held. */
  #grant(name: Buffer, ttlMs: number): LeaseGrant | undefined {
    if (this.#keys.get(name) !== undefined) return undefined;
    const expiresMs = deadline(ttlMs);
    const token = this.#keys.transact((transaction) => transaction.set(name, NOTHING, { expiresMs }));
    return { token, expiresMs };
  }

  #wait(name: Buffer, { ttlMs, waitMs, signal }: { readonly ttlMs: number; readonly waitMs: number; readonly signal: AbortSignal | undefined }): Promise<LeaseGrant | undefined> {
    if (this.#waiting >= LIMITS.leaseWaitersMax) {
      throw new StoreError('BUSY', `the lock ${showKey(name)} is held, and ${this.#waiting} callers wait for locks already: no more may`);
    }
    return new Promise((resolve, reject) => {
      const queue = this.#queueOf(name);
      const onTimeout = () => waiter.settle(undefined);
      const onAbort = () => waiter.settle(signal!.reason instanceof Error ? signal!.reason : new Error('aborted', { cause: signal!.reason }));
      const timer = setTimeout(onTimeout, Math.min(waitMs, LIMITS.timerMsMax));
      const waiter: Waiter = {
        ttlMs,
        settle: (outcome) => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          this.#leave(queue, waiter);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      queue.waiters.add(waiter);
      this.#waiting++;
      if (queue.waiters.size === 1) this.#serve(queue);
    });
  }

  #queueOf(name: Buffer): Queue {
    const id = name.toString('latin1');
    let queue = this.#queues.get(id);
    if (queue === undefined) this.#queues.set(id, (queue = { name, waiters: new Set(), timer: undefined }));
    return queue;
  }

  /** Gives it to the first in the queue, if it is free; else looks again when the time of its holder is up. */
  #serve(queue: Queue): void {
    clearTimeout(queue.timer);
    for (const waiter of queue.waiters) {
      try {
        const grant = this.#grant(queue.name, waiter.ttlMs);
        if (grant === undefined) break;
        waiter.settle(grant);
      } catch (error) {
        waiter.settle(error as Error);
      }
    }
    if (queue.waiters.size === 0) return;
    const holder = this.#keys.get(queue.name);
    // One ms later than it could be: timers may fire that much early.
    const dueMs = holder === undefined ? 0 : holder.expiresMs - Date.now() + 1;
    queue.timer = setTimeout(() => this.#look(queue), Math.min(Math.max(dueMs, 1), LIMITS.timerMsMax));
  }

  /** The time of the holder is up; while the store is opened anew nobody can be given anything. */
  #look(queue: Queue): void {
    const paused = this.#keys.paused();
    if (paused === undefined) this.#serve(queue);
    else paused.then(() => this.#look(queue), () => this.#serve(queue));
  }

  #leave(queue: Queue, waiter: Waiter): void {
    queue.waiters.delete(waiter);
    this.#waiting--;
    if (queue.waiters.size > 0) return;
    clearTimeout(queue.timer);
    this.#queues.delete(queue.name.toString('latin1'));
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the store is closed');
  }
}

function deadline(ttlMs: number): number {
  return Math.ceil(Date.now() + ttlMs);
}
