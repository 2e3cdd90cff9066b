// Deletes keys whose time is up, in the background: nobody sees them any more, but they take space.
import type { Logger } from '../base/log.ts';
import { LIMITS } from '../base/limits.ts';
import { DamagedKeyError } from './errors.ts';
import type { KeySpace, KeyTransaction } from './key-space.ts';

export class ExpirySweeper {
  readonly #keys: KeySpace;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | undefined;
  #isStopped = false;

  constructor(keys: KeySpace, { logger }: { readonly logger: Logger }) {
    this.#keys = keys;
    this.#logger = logger;
  }

  start(): void {
    this.#isStopped = false;
    this.#schedule();
  }

  /** Resolves when nothing is deleted any more. What is left is swept by a successor. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  /** Deletes all whose time is up, some in each turn of the event loop; how many. */
  async sweep(): Promise<number> {
    let swept = 0;
    for (;;) {
      const room = this.#keys.room();
      if (room !== undefined) await room;
      const names = this.#keys.expired(LIMITS.expirySweepKeys);
      if (names.length === 0) return swept;
      const before = this.#keys.count;
      this.#keys.transact((transaction) => {
        // One that is there has a time of its own; the row by time is wrong then, which is for fsck to say.
        for (const name of names) if (isGone(transaction, name)) transaction.delete(name);
      });
      const deleted = before - this.#keys.count;
      if (deleted === 0) {
        this.#logger.warn({ keys: names.length }, 'keys are in the order of their expiry that have none, or cannot be read: sdfs fsck --repair puts that right');
        return swept;
      }
      swept += deleted;
      if (this.#isStopped || names.length < LIMITS.expirySweepKeys) return swept;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #schedule(): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => {
      this.#sweeping = this.sweep()
        .catch((error: unknown) => this.#logger.warn({ err: error }, 'keys whose time is up were not deleted; trying again'))
        .then(() => this.#schedule());
    }, LIMITS.expirySweepMs).unref();
  }
}

/** Whether only the row is left. One that cannot be read is for fsck, and keeps no other from being swept. */
function isGone(transaction: KeyTransaction, name: Buffer): boolean {
  try {
    return transaction.get(name) === undefined;
  } catch (error) {
    if (error instanceof DamagedKeyError) return false;
    throw error;
  }
}
