// A replicated block store over workers in memory, and what a test wants to see of it.
import { blockKey } from '../../src/base/ids.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { ReplicatedBlockStore } from '../../src/kv/block-store.ts';
import type { BlockStoreOptions } from '../../src/kv/block-store.ts';
import { replicationPolicy } from '../../src/kv/replication.ts';
import type { Degradation } from '../../src/kv/replication.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';
import { memoryPool, silent } from './memory-pool.ts';
import type { MemoryWorker } from './memory-worker.ts';

export interface StoreHarness {
  readonly pool: WorkerPool;
  readonly workers: readonly MemoryWorker[];
  readonly store: ReplicatedBlockStore;
  /** What onDegraded was told, unless the options have their own. */
  readonly degraded: Degradation[];
  /** Indexes of the workers that have the block. */
  holders(block: BlockPut): number[];
}

export async function storeHarness(disks: number, copies: number, options: Partial<BlockStoreOptions> = {}): Promise<StoreHarness> {
  const { pool, workers } = await memoryPool(disks);
  const degraded: Degradation[] = [];
  const store = new ReplicatedBlockStore(pool, { policy: replicationPolicy(copies), logger: silent, onDegraded: (event) => void degraded.push(event), ...options });
  return { pool, workers, store, degraded, holders: ({ id }) => workers.flatMap((worker, index) => (worker.blocks.has(blockKey(id)) ? [index] : [])) };
}

/** The outcome of a promise that may reject, watched from now on. */
export function outcome<T>(promise: Promise<T>): Promise<T | { error: Error & { code?: string } }> {
  return promise.catch((error: Error) => ({ error }));
}
