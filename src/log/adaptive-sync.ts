// fdatasync on this thread while the disk is quick, on a pool thread while it is not.
//
// A sync of a preallocated log takes some 100 us on a quiet disk; handing it to a pool thread and back costs as much
// again. One that is slow holds this thread up once, and sends the next ones to the pool.
import fs from 'node:fs';
import { fdatasync } from './segment.ts';

/** A sync that takes longer than this is a slow one. */
const SLOW_MS = 2;
const VERY_SLOW_MS = 100;
/** Syncs that go to the pool after a slow one: doubles from min to max with each slow one in a row. */
const POOLED_MIN = 64;
const POOLED_MAX = 65_536;

export class AdaptiveSync {
  #pooledLeft = 0;
  #pooledNext = POOLED_MIN;

  /** Rejects with the errors of `fs`. */
  sync(fd: number): Promise<void> {
    if (this.#pooledLeft > 0) {
      this.#pooledLeft--;
      return fdatasync(fd);
    }
    const started = performance.now();
    try {
      fs.fdatasyncSync(fd);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const elapsedMs = performance.now() - started;
    if (elapsedMs <= SLOW_MS) this.#pooledNext = POOLED_MIN;
    else {
      // One that held this thread up for long is not risked again soon.
      this.#pooledLeft = elapsedMs > VERY_SLOW_MS ? POOLED_MAX : this.#pooledNext;
      this.#pooledNext = Math.min(this.#pooledNext * 2, POOLED_MAX);
    }
    return Promise.resolve();
  }
}
