// What one pass over all blocks found and did, as numbers.
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';

export interface PassCounts {
  /** Needed blocks that were looked at. */
  blocks: number;
  bytes: number;
  /** Of them, by how many disks have a good copy: index 0 to R-1, as found. Of those without one the first are named. */
  readonly found: number[];
  readonly unreadable: BlockId[];
  /** With R good copies, but not where they belong; and copies on bad places or of bad bytes beside them. */
  misplaced: number;
  /** Needed blocks that have fewer than R good copies now. */
  endangered: number;
  copiedCopies: number;
  copiedBytes: number;
  droppedCopies: number;
  /** Copies that nobody needs, and those of them that were deleted. */
  garbageCopies: number;
  garbageBytes: number;
  deletedCopies: number;
  deletedBytes: number;
  /** Copies that were read back, and those of them that were not what was put. */
  verifiedCopies: number;
  verifiedBytes: number;
  damagedCopies: number;
  /** By disk: copies that it should have, and that could not be put there. */
  readonly misses: number[];
}

export function newCounts(parts: { copies: number; disks: number }): PassCounts {
  return {
    blocks: 0, bytes: 0, found: Array.from({ length: parts.copies }, () => 0), unreadable: [], misplaced: 0, endangered: 0,
    copiedCopies: 0, copiedBytes: 0, droppedCopies: 0, garbageCopies: 0, garbageBytes: 0, deletedCopies: 0, deletedBytes: 0,
    verifiedCopies: 0, verifiedBytes: 0, damagedCopies: 0, misses: Array.from({ length: parts.disks }, () => 0),
  };
}

export function noteUnreadable(counts: PassCounts, id: BlockId): void {
  if (counts.unreadable.length < LIMITS.unreadableBlocksMax) counts.unreadable.push(id);
}
