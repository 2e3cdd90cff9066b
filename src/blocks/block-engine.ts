// What the file system asks of a store of immutable blocks: kv on this machine, S3 and others later.
import type { BlockId, WorkerId } from '../base/ids.ts';

export interface BlockData {
  readonly id: BlockId;
  /** The bytes, in pieces that are not joined; 1 byte to LIMITS.blockBytesMax in all. */
  readonly data: readonly Uint8Array[];
}

export interface BlockStatistics {
  /** Bytes of user data that fit, copies taken off, and those of them that are left. */
  readonly totalBytes: number;
  readonly availableBytes: number;
  /** Bytes put since these numbers were asked for, at least: they may not be taken off yet. */
  readonly recentBytes: number;
}

/** A copy of a block on a disk that should hold it or does. */
export interface BlockCopy {
  readonly worker: WorkerId;
  readonly state: 'good' | 'missing' | 'damaged' | 'unreachable';
}

/** Buffers given to put belong to the engine until its promise settles; those that get returns belong to the caller. */
export interface BlockEngine {
  /** Process-proof when it resolves. An id is put once; putting the same bytes again is harmless. FsError ENOSPC, EIO. */
  put(id: BlockId, data: readonly Uint8Array[]): Promise<void>;
  /** As put for each; settles when all have, with the first error. */
  putMany(blocks: readonly BlockData[]): Promise<void>;
  /** `bytes` bytes of a block from `offset`, verified, in one or more pieces. FsError EIO when no good copy is had. */
  get(id: BlockId, offset: number, bytes: number): Promise<Uint8Array[]>;
  /** Forgets blocks; ids that are not there are no error. False when some place could not be told, which may have them still. */
  delete(ids: readonly BlockId[]): Promise<boolean>;
  /** All that was put before the call is power-proof when it resolves. FsError EIO. */
  sync(): Promise<void>;
  /** True when something may be there that is not power-proof. */
  readonly dirty: boolean;
  /** The copies of a block, each read and verified; none where an engine does not know of copies. */
  locate(id: BlockId): Promise<readonly BlockCopy[]>;
  /** At once, from numbers of a moment ago. */
  statistics(): BlockStatistics;
  /** Resolves when these numbers are at most so old, ms, as far as they can be had soon. */
  refreshStatistics(ageMsMax: number): Promise<void>;
}
