// Numbers that are never used twice: inode numbers and block ids, leased in ranges of 2^16.
import { assert } from '../base/assert.ts';
import { ROOT_INODE } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import type { MetadataEngine } from './engine.ts';
import { BOOKKEEPING, decodeNumber, encodeNumber, keys } from './schema.ts';

const LEASE = 2 ** 16;
const BLOCK_COUNTER_MAX = 2 ** 48;
const BLOCK_EPOCH_MAX = 2 ** 16;
/** After a forced mount: disks that were left behind may hold blocks of epochs that the metadata here never heard of. */
export const BLOCK_EPOCH_LEAP = 2 ** 8;

/** More inodes than one journal names (LIMITS.journalBytesHard, some 400 bytes for each that is made). */
export const INODE_LEAP = 2 ** 21;

/** Writes that began before some moment, and are not all over. */
export interface WriteEra {
  count: number;
  over: (() => void) | undefined;
}

/**
 * Leases survive the process by being rows: what was leased and not used is skipped by the next driver. After a
 * power cut leases themselves may be lost, while blocks named under them lie on workers: the block epoch is
 * raised then, and inode numbers (which only the lost metadata named) may come again. Not so under a living mount: the
 * kernel knows inodes that the lost metadata named, and would take a new one for the old.
 */
export class Allocator {
  readonly #engine: MetadataEngine;
  #nextInode: number;
  #inodeLease: number;
  #nextBlock: number;
  #blockLease: number;
  #blockEpoch: number;
  #era: WriteEra = { count: 0, over: undefined };
  #settling: Promise<unknown> = Promise.resolve();

  constructor(engine: MetadataEngine, options: { newBlockEpoch: boolean; leap?: boolean; inodesMayBeKnown?: boolean }) {
    this.#engine = engine;
    const number = (name: string, initial: number): number => {
      const value = engine.reader.get(keys.bookkeeping(name));
      return value === undefined ? initial : decodeNumber(value);
    };
    this.#nextInode = this.#inodeLease = number(BOOKKEEPING.inodeLease, ROOT_INODE + 1) + (options.inodesMayBeKnown === true ? INODE_LEAP : 0);
    this.#nextBlock = this.#blockLease = number(BOOKKEEPING.blockLease, 1);
    this.#blockEpoch = number(BOOKKEEPING.blockEpoch, 0);
    if (options.newBlockEpoch) {
      this.#blockEpoch += options.leap === true ? BLOCK_EPOCH_LEAP : 1;
      assert(this.#blockEpoch < BLOCK_EPOCH_MAX, 'block epochs are not used up');
      engine.transact(null, (tx) => tx.put(keys.bookkeeping(BOOKKEEPING.blockEpoch), encodeNumber(this.#blockEpoch)));
    }
  }

  inode(): InodeNumber {
    if (this.#nextInode >= this.#inodeLease) {
      const lease = this.#inodeLease + LEASE;
      this.#lease(BOOKKEEPING.inodeLease, lease);
      this.#inodeLease = lease;
    }
    return this.#nextInode++ as InodeNumber;
  }

  /** 16-bit epoch, 48-bit counter. */
  block(): BlockId {
    if (this.#nextBlock >= this.#blockLease) {
      const lease = this.#blockLease + LEASE;
      assert(lease < BLOCK_COUNTER_MAX, 'block numbers are not used up');
      this.#lease(BOOKKEEPING.blockLease, lease);
      this.#blockLease = lease;
    }
    return this.#idOf(this.#nextBlock++);
  }

  /** Numbers below `lease` may be used when it returns, and not when it throws. */
  #lease(name: string, lease: number): void {
    this.#engine.transact(null, (tx) => tx.put(keys.bookkeeping(name), encodeNumber(lease)));
  }

  /** For a write that puts blocks first and names them in a later turn: until endWrite its ids are not settled. */
  beginWrite(): WriteEra {
    this.#era.count++;
    return this.#era;
  }

  endWrite(era: WriteEra): void {
    if (--era.count === 0) era.over?.();
  }

  /**
   * The id below which a block is named by a row now, or was, or never will be, whoever allocated it: writes that began
   * before the call are over when it resolves, and those of former drivers were cut off by the workers.
   */
  settled(): Promise<BlockId> {
    const settling = this.#settling.then(async () => {
      const bound = this.#idOf(this.#nextBlock);
      const era = this.#era;
      this.#era = { count: 0, over: undefined };
      if (era.count > 0) await new Promise<void>((resolve) => { era.over = resolve; });
      return bound;
    });
    this.#settling = settling;
    return settling;
  }

  #idOf(counter: number): BlockId {
    return { hi: ((this.#blockEpoch << 16) | Math.floor(counter / 0x1_0000_0000)) >>> 0, lo: counter >>> 0 };
  }
}
