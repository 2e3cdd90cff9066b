// Space for what is to be acknowledged: enough for R copies of it, beside what waits for the disks and what is set aside.
import { FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { totalReserved } from '../metadata/reservations.ts';
import type { PendingBlocks } from './pending.ts';

/** Blocks take a little more than the data that they hold: so much of it is held beside what is set aside. */
const RESERVATION_OVERHEAD = 1 / 32;
/** So are the logs and databases of the disks, which grow by what is written: at most this share, and LIMITS.reservationSlackBytes. */
const RESERVATION_SLACK = 1 / 2;

/** What other writers must leave free for `bytes` that are set aside. */
function heldFor(bytes: number): number {
  return Math.ceil(bytes * (1 + RESERVATION_OVERHEAD) + Math.min(bytes * RESERVATION_SLACK, LIMITS.reservationSlackBytes));
}

/** Refuses what cannot be kept: space is checked before anything is acknowledged. */
export class Space {
  /** Set aside by fallocate in the whole volume, and not used yet. */
  reservedBytes: number;
  readonly #blocks: BlockEngine;
  readonly #pending: PendingBlocks;
  readonly #engine: MetadataEngine;

  constructor(parts: { blocks: BlockEngine; pending: PendingBlocks; engine: MetadataEngine }) {
    this.#blocks = parts.blocks;
    this.#pending = parts.pending;
    this.#engine = parts.engine;
    this.reservedBytes = totalReserved(parts.engine.reader);
  }

  /** What may still be promised: copies taken off, and what waits for the workers or is set aside. */
  get availableBytes(): number {
    const { availableBytes, recentBytes } = this.#blocks.statistics();
    if (this.reservedBytes === 0) return availableBytes - this.#pending.bytes;
    // The disks' numbers are a moment old, and what others set aside must not be taken in that moment.
    return availableBytes - recentBytes - this.#pending.bytes - heldFor(this.reservedBytes);
  }

  /**
   * Throws ENOSPC unless `bytes` more fit in R copies, beside all that waits for the workers and all that is set aside.
   * `ownReserved`, asked when they do not: how many of them were set aside for this write, and fit for certain.
   */
  admit(bytes: number, ownReserved?: () => number): void {
    if (this.#engine.full) throw new FsError('ENOSPC', 'no room for more metadata');
    if (this.availableBytes >= bytes) return;
    if (this.reservedBytes > 0 && ownReserved !== undefined) {
      const own = ownReserved();
      if (own >= bytes || this.availableBytes >= bytes - own) return;
    }
    throw new FsError('ENOSPC', `no room for ${bytes} bytes in enough copies`);
  }
}
