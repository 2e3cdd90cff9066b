// One transaction that changes extents, with all that follows from it: references of blocks, pending data, crowded chunks.
import type { BlockId } from '../base/ids.ts';
import type { Cause, MetadataEngine, Transaction } from '../metadata/engine.ts';
import { BlockReferences } from '../metadata/extents.ts';
import type { CrowdedChunk } from '../metadata/extents.ts';
import type { PendingBlocks } from '../durability/pending.ts';

export interface ExtentStores {
  readonly engine: MetadataEngine;
  readonly pending: PendingBlocks;
  readonly compactor: { note(chunk: CrowdedChunk): void };
  readonly space: { reservedBytes: number };
}

/** Runs `work` in a transaction; blocks that lost their last reference are forgotten when it is committed. */
export function transactExtents<T>(stores: ExtentStores, cause: Cause | null, work: (tx: Transaction, references: BlockReferences) => T): T {
  const references = new BlockReferences();
  let freed: BlockId[] = [];
  const value = stores.engine.transact(cause, (tx) => {
    const result = work(tx, references);
    freed = references.apply(tx, { isUnseen: (block) => stores.pending.isUnseen(block) });
    return result;
  });
  stores.space.reservedBytes += references.reservedDelta;
  for (const block of freed) stores.pending.drop(block);
  for (const chunk of references.crowded) stores.compactor.note(chunk);
  return value;
}
