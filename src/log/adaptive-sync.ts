// fdatasync on this thread while the disk is quick, on a pool thread while it is not.
//
// A sync of a preallocated log takes some 100 us on a quiet disk; handing it to a pool thread and back costs as much
// again. One that is slow holds this thread up once, and sends the next ones to the pool.
import fs from 'node:fs';
import { fdatasync } from './segment.ts';

/** A sync that takes longer than this is a slow one. */
const SLOW_MS = 2;
/** Syncs that go to the pool after a slow one. */
const POOLED_AFTER_SLOW = 64;

export class AdaptiveSync {
  #pooledLeft = 0;

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
    if (performance.now() - started > SLOW_MS) this.#pooledLeft = POOLED_AFTER_SLOW;
    return Promise.resolve();
  }
}
