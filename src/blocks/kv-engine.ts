// Blocks on the disks of this machine: checksums before the put, verification after the get, over kv's replicated store.
import { assert } from '../base/assert.ts';
import type { BlockId } from '../base/ids.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { BlockPieces } from '../ipc/messages.ts';
import type { BadCopy, PieceRange } from '../kv/block-read.ts';
import { ReplicatedBlockStore } from '../kv/block-store.ts';
import type { BlockCounters } from '../kv/block-store.ts';
import type { DiskReport } from '../kv/capacity.ts';
import type { DegradedHook, ReplicationPolicy } from '../kv/replication.ts';
import type { WorkerLink } from '../kv/worker-link.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import type { BlockCopy, BlockData, BlockEngine, BlockStatistics } from './block-engine.ts';
import { blockChecksums, ChecksumMismatchError, verifyPieces } from './checksum.ts';

export interface KvEngineOptions {
  readonly policy: ReplicationPolicy;
  readonly logger: Logger;
  /** Awaited before a block or a sync is acknowledged with fewer copies than R. */
  readonly onDegraded?: DegradedHook;
  /** Whether a disk counts as up to date, at the start. */
  readonly isMember?: (link: WorkerLink) => boolean;
  /** A copy was found bad or missing, read around, and is being rewritten. */
  readonly onBadCopy?: (copy: BadCopy) => void;
  /** Whether the metadata names a block: one that it does not is not written again. */
  readonly isNeeded?: (id: BlockId) => boolean;
}

export interface KvStatistics extends BlockStatistics {
  readonly details: { readonly disks: readonly DiskReport[]; readonly counters: BlockCounters };
}

const PIECE_BYTES = LIMITS.checksumBytes;

export class KvBlockEngine implements BlockEngine {
  readonly #store: ReplicatedBlockStore;

  constructor(pool: WorkerPool, options: KvEngineOptions) {
    const { onBadCopy, ...rest } = options;
    this.#store = new ReplicatedBlockStore(pool, {
      ...rest,
      onBadCopy: (copy, blockBytes) => {
        onBadCopy?.(copy);
        const whole: PieceRange = { id: copy.id, firstPiece: 0, pieceCount: Math.ceil(blockBytes / PIECE_BYTES) };
        void this.#store.rewriteCopy(copy, whole, verifyPieces);
      },
    });
  }

  /** For the background work on it. */
  get store(): ReplicatedBlockStore {
    return this.#store;
  }

  put(id: BlockId, data: readonly Uint8Array[]): Promise<void> {
    return this.#store.put({ id, checksums: blockChecksums(id, data), data });
  }

  putMany(blocks: readonly BlockData[]): Promise<void> {
    return this.#store.putMany(blocks.map(({ id, data }) => ({ id, checksums: blockChecksums(id, data), data })));
  }

  async get(id: BlockId, offset: number, bytes: number): Promise<Uint8Array[]> {
    assert(offset >= 0 && bytes > 0 && offset + bytes <= LIMITS.blockBytesMax, `bytes ${offset} to ${offset + bytes} lie in a block`);
    const firstPiece = Math.floor(offset / PIECE_BYTES);
    const range: PieceRange = { id, firstPiece, pieceCount: Math.ceil((offset + bytes) / PIECE_BYTES) - firstPiece };
    const { data } = await this.#store.get(range, (wanted, pieces) => verifyReach(wanted, pieces, offset + bytes));
    const start = offset - firstPiece * PIECE_BYTES;
    return [start === 0 && bytes === data.length ? data : data.subarray(start, start + bytes)];
  }

  /** Always true: a disk that is away is swept when it is back (kv/reconciler.ts). */
  async delete(ids: readonly BlockId[]): Promise<boolean> {
    await this.#store.delete(ids);
    return true;
  }

  sync(): Promise<void> {
    return this.#store.sync();
  }

  get dirty(): boolean {
    return this.#store.dirty;
  }

  locate(id: BlockId): Promise<readonly BlockCopy[]> {
    return this.#store.inspect(id, verifyPieces);
  }

  refreshStatistics(ageMsMax: number): Promise<void> {
    return this.#store.refreshCapacity(ageMsMax);
  }

  statistics(): KvStatistics {
    const { totalBytes, availableBytes, disks } = this.#store.capacity();
    return { totalBytes, availableBytes, recentBytes: this.#store.recentBytes, details: { disks, counters: this.#store.counters } };
  }
}

/** The length of a block has no checksum of its own: a copy that ends before `end` is a bad one. */
function verifyReach(range: PieceRange, pieces: BlockPieces, end: number): ChecksumMismatchError | undefined {
  if (pieces.blockBytes >= end) return verifyPieces(range, pieces);
  return new ChecksumMismatchError(range.id, range.firstPiece, { wanted: `a block of at least ${end} bytes`, found: `${pieces.blockBytes} bytes in ${formatBlockId(range.id)}` });
}
