// What the keys lie on: rows and blocks, with what makes them durable. The file system of a volume lies on the same.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { Logger } from '../base/log.ts';
import type { Durability } from '../durability/durability.ts';
import type { PendingBlocks } from '../durability/pending.ts';
import type { Space } from '../durability/space.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine } from '../metadata/engine.ts';

export interface KeyStores {
  readonly engine: MetadataEngine;
  readonly blocks: BlockEngine;
  readonly allocator: Allocator;
  readonly pending: PendingBlocks;
  readonly durability: Durability;
  readonly space: Space;
  readonly logger: Logger;
  /** Largest block, bytes. */
  readonly blockBytes: number;
}
