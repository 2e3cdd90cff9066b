// A block store over workers in memory with rows that a test sets, and the background work on them.
import { blockKey, compareBlockIds } from '../../src/base/ids.ts';
import type { BlockId } from '../../src/base/ids.ts';
import { verifyPieces } from '../../src/blocks/checksum.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import type { BlockRows, ListedBlock } from '../../src/kv/block-census.ts';
import { ReplicatedBlockStore } from '../../src/kv/block-store.ts';
import { replicationPolicy } from '../../src/kv/replication.ts';
import type { RunReport } from '../../src/kv/reconciler.ts';
import type { ScrubRecord } from '../../src/kv/scrubber.ts';
import { Upkeep } from '../../src/kv/upkeep.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';
import { silent } from './memory-pool.ts';

/** Stands in for the metadata: what a test says is needed. */
export class TestRows implements BlockRows {
  readonly needed = new Map<string, ListedBlock>();
  /** Ids from here on are new. */
  bound: BlockId = { hi: 0xffff_ffff, lo: 0 };
  syncs = 0;

  need(blocks: readonly BlockPut[]): void {
    for (const { id, data } of blocks) this.needed.set(blockKey(id), { id, bytes: data.reduce((sum, piece) => sum + piece.length, 0) });
  }

  forget(blocks: readonly { readonly id: BlockId }[]): void {
    for (const { id } of blocks) this.needed.delete(blockKey(id));
  }

  page(after: BlockId | null, limit: number) {
    const blocks = [...this.needed.values()].filter(({ id }) => after === null || compareBlockIds(id, after) > 0).toSorted((one, other) => compareBlockIds(one.id, other.id)).slice(0, limit);
    return { blocks, through: blocks.length < limit ? null : blocks.at(-1)!.id };
  }

  isNeeded(id: BlockId): boolean {
    return this.needed.has(blockKey(id));
  }

  settled(): Promise<BlockId> {
    return Promise.resolve(this.bound);
  }

  sync(): Promise<void> {
    this.syncs++;
    return Promise.resolve();
  }
}

export interface UpkeepHarness {
  readonly rows: TestRows;
  readonly store: ReplicatedBlockStore;
  readonly upkeep: Upkeep;
  /** What the scrubber kept. */
  readonly record: { scrub: ScrubRecord | undefined };
  readonly completed: number[];
  run(): Promise<RunReport>;
}

export function upkeepOver(pool: WorkerPool, copies: number, options: { diskLostMs?: number; record?: { scrub: ScrubRecord | undefined } } = {}): UpkeepHarness {
  const rows = new TestRows();
  const store = new ReplicatedBlockStore(pool, { policy: replicationPolicy(copies), logger: silent, isNeeded: (id) => rows.isNeeded(id) });
  const record = options.record ?? { scrub: undefined };
  const completed: number[] = [];
  const upkeep = new Upkeep({
    pool, store, rows, copies, verify: verifyPieces, logger: silent, onDiskComplete: (index) => void completed.push(index),
    ...(options.diskLostMs !== undefined && { diskLostMs: options.diskLostMs }),
    scrubs: { load: () => record.scrub, save: (scrub) => { record.scrub = scrub; } },
  });
  return { rows, store, upkeep, record, completed, run: () => upkeep.reconcile({ dryRun: false }) };
}
