// Small file data that rides in the metadata log and is not on the workers yet: kept in memory, moved in batches.
import type { BlockId, Sequence } from '../base/ids.ts';
import { blockKey } from '../base/ids.ts';

interface PendingBlock {
  readonly id: BlockId;
  readonly data: Buffer;
  /** Record that carries the data: the log is kept from here on until the data is power-proof on the workers. */
  readonly sequence: Sequence;
  /** When it came, in ms of a monotonic clock. */
  readonly since: number;
  /** waiting: only here and in the log. moving: a put is under way. again: a worker may have it, or not. */
  state: 'waiting' | 'moving' | 'again';
}

/** What a block takes besides its data, here and packed on a disk. */
const OVERHEAD_BYTES = 128;

/** Insertion order is sequence order, so the oldest is always first. */
export class PendingBlocks {
  readonly #blocks = new Map<string, PendingBlock>();
  /** Moved blocks whose sync is outstanding: their records must stay in the log. */
  readonly #unsynced = new Map<string, Sequence>();
  #bytes = 0;

  /** Bytes held in memory, what each block takes besides its data counted in. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes ownership of `data`. `replayed`: a driver before this one may have moved it. */
  add(id: BlockId, data: Buffer, sequence: Sequence, now: number, { replayed = false } = {}): void {
    this.#blocks.set(blockKey(id), { id, data, sequence, since: now, state: replayed ? 'again' : 'waiting' });
    this.#bytes += data.length + OVERHEAD_BYTES;
  }

  /** All of them, the oldest first. */
  all(): Iterable<{ readonly id: BlockId; readonly data: Buffer }> {
    return this.#blocks.values();
  }

  get(id: BlockId): Buffer | undefined {
    return this.#blocks.get(blockKey(id))?.data;
  }

  /** True when no worker has seen the block: when it is forgotten, there is nothing to delete. */
  isUnseen(id: BlockId): boolean {
    return this.#blocks.get(blockKey(id))?.state === 'waiting';
  }

  /** Forgets a block that no extent names any more. */
  drop(id: BlockId): void {
    const name = blockKey(id);
    const block = this.#blocks.get(name);
    if (block === undefined) return;
    this.#blocks.delete(name);
    this.#bytes -= block.data.length + OVERHEAD_BYTES;
  }

  /** The oldest waiting blocks, up to `bytesMax` (at least one), that came before `before`; they are marked as moving. */
  take(bytesMax: number, before: number): { id: BlockId; data: Buffer }[] {
    const taken: { id: BlockId; data: Buffer }[] = [];
    let bytes = 0;
    for (const block of this.#blocks.values()) {
      if (block.since > before || (taken.length > 0 && bytes + block.data.length > bytesMax)) break;
      if (block.state === 'moving') continue;
      block.state = 'moving';
      bytes += block.data.length;
      taken.push(block);
    }
    return taken;
  }

  /** The put of these blocks was acknowledged: reads go to the workers from now on. */
  moved(blocks: readonly { id: BlockId }[]): void {
    for (const { id } of blocks) {
      const name = blockKey(id);
      const block = this.#blocks.get(name);
      if (block === undefined) continue;
      this.#unsynced.set(name, block.sequence);
      this.drop(id);
    }
  }

  /** The put failed: they wait again. */
  notMoved(blocks: readonly { id: BlockId }[]): void {
    for (const { id } of blocks) {
      const block = this.#blocks.get(blockKey(id));
      if (block !== undefined) block.state = 'again';
    }
  }

  /** Call before a sync of the workers starts, and the result when it has succeeded. */
  syncing(): () => void {
    const covered = [...this.#unsynced.keys()];
    return () => {
      for (const name of covered) this.#unsynced.delete(name);
    };
  }

  /** The oldest record whose data is needed; undefined when the log is not needed for data at all. */
  oldestNeeded(): Sequence | undefined {
    let oldest: Sequence | undefined;
    for (const block of this.#blocks.values()) {
      oldest = block.sequence;
      break;
    }
    for (const sequence of this.#unsynced.values()) {
      if (oldest === undefined || sequence < oldest) oldest = sequence;
    }
    return oldest;
  }
}
