// What the keys lie on: rows and blocks, with what makes them durable. The file system of a volume lies on the same.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { BlockId, Sequence } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine } from '../metadata/engine.ts';

/** Small values that are not on the shards yet. vfs/pending.ts */
export interface PendingData {
  readonly bytes: number;
  add(id: BlockId, data: Buffer, sequence: Sequence, now: number): void;
  get(id: BlockId): Buffer | undefined;
  isUnseen(id: BlockId): boolean;
  drop(id: BlockId): void;
}

/** vfs/durability.ts */
export interface SyncedStores {
  sync(): Promise<void>;
  relievePressure(): void;
  drain(): Promise<void>;
  reclaim(): Promise<void>;
}

export interface KeyStores {
  readonly engine: MetadataEngine;
  readonly blocks: BlockEngine;
  readonly allocator: Allocator;
  readonly pending: PendingData;
  readonly durability: SyncedStores;
  /** FsError ENOSPC when so many bytes cannot be promised. */
  readonly space: { admit(bytes: number): void };
  readonly logger: Logger;
  /** Largest block, bytes. */
  readonly blockBytes: number;
}
