// The small transaction on an ordered key space that all metadata logic is written over.
import type { BlockId, InodeNumber, Sequence } from '../base/ids.ts';
import type { Operation } from '../log/record.ts';

export type { Operation };

/** One row of the key space. */
export type Row = readonly [key: Buffer, value: Buffer];

/** The request that caused a change: recorded with it, so that a successor can tell what was carried out. */
export interface Cause {
  readonly requestHi: number;
  readonly requestLo: number;
}

export interface Reader {
  /** The value, valid until the next call on this reader: decode or copy it at once. */
  get(key: Buffer): Buffer | undefined;
  /**
   * Up to `limit` rows with start <= key < end, in key order or from the end backwards, as copies. Does not see the
   * changes of a transaction that is being made.
   */
  range(start: Buffer, end: Buffer, limit: number, direction?: 'forward' | 'backward'): Row[];
}

export interface Transaction extends Reader {
  /** Keeps both Buffers: do not change them afterwards. `get` sees the new value. */
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
  /** Small file data that rides in the record (and is not a row): see durability/pending.ts. */
  data(id: BlockId, data: Buffer): void;
  /** The inode that the request made, for the record. */
  result(inode: InodeNumber): void;
}

/** All rows as they were at one moment, while others go on to change them. */
export interface MetadataView {
  readonly reader: Reader;
  /** Changes up to here are in it, none behind. */
  readonly sequence: Sequence;
  /** What the engine counted then. */
  readonly inodeCount: number;
  /** To be called soon: the store keeps whatever the view may still need. */
  close(): void;
}

/**
 * A store of rows with atomic, process-proof transactions. `work` runs synchronously, may run more than once on
 * engines that load rows from afar, and must have no effect but through its transaction; when it throws, nothing
 * happened. (An engine that must wait for rows runs a whole operation again when they have come.)
 */
export interface MetadataEngine {
  /** Committed rows, and those of transactions not yet in a batch. */
  readonly reader: Reader;
  /**
   * Process-proof when it returns. FsError ENOSPC: nothing happened. EIO: nothing, or, where it is the journal that failed,
   * perhaps all; the engine takes no more changes then, so that nothing is done twice. What is done inside `work` by a
   * transaction of its own, as a lease of numbers, has its record before this one, and stays though this one fails.
   */
  transact<T>(cause: Cause | null, work: (transaction: Transaction) => T): T;
  /** Sequence of the last transaction. */
  readonly lastSequence: Sequence;
  /** Transactions up to here are held by the engine itself, without its journal. */
  readonly appliedSequence: Sequence;
  /** True while there is no room for more rows: only what makes room should be changed. */
  readonly full: boolean;
  /** Bytes of journal that is not trimmed yet. */
  readonly journalBytes: number;
  /** Inodes that exist. */
  readonly inodeCount: number;
  view(): Promise<MetadataView>;
  /** Puts the count of inodes right; for fsck. */
  correctInodeCount(delta: number): void;
  /** Brings appliedSequence up to lastSequence; called at idle moments. */
  commitBatch(): void;
  /** The journal may forget records up to `through`. */
  trim(through: Sequence): void;
  /** The result recorded for a request, if a former driver of this mount carried it out: the inode it made, or 0. */
  committedResult(cause: Cause): InodeNumber | 0 | undefined;
}
