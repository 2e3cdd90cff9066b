// Advisory locks of files: the words, and what every engine of them does (this machine's, or one that many share).
import type { InodeNumber } from '../base/ids.ts';

/** Answers come at once where nothing has to be waited for. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * 'range': fcntl(2) locks, POSIX and open file description locks alike. 'file': flock(2). The kinds do not see each
 * other, as on Linux.
 */
export type LockKind = 'range' | 'file';
export type LockMode = 'shared' | 'exclusive';

/** Bytes `first` to `last`, both included: 63 bits, more than a number holds exactly. */
export interface ByteRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** The last byte that a file can have: what "to the end of the file" means. OFFSET_MAX of the kernel. */
export const LAST_BYTE = 2n ** 63n - 1n;
export const WHOLE_FILE: ByteRange = { first: 0n, last: LAST_BYTE };

/** Who holds locks of a file: a process (POSIX), or an open file (open file description locks, flock). */
export interface Holder {
  readonly kind: LockKind;
  readonly owner: bigint;
}

export interface LockClaim extends Holder, ByteRange {
  readonly mode: LockMode;
  /** The open file that the lock was taken through: when it is released, the lock goes. Never used for a second one. */
  readonly handle: bigint;
  /** Process that F_GETLK shows. */
  readonly pid: number;
}

/** Who asks, as far as waiting is concerned. Looked at only when it has to wait. */
export interface LockWaiter {
  /** Aborted when the caller was interrupted: its lock() rejects with EINTR. */
  readonly signal?: AbortSignal | undefined;
  /** Thread id of the caller. */
  readonly pid: number;
}

export interface LockCounts {
  readonly held: number;
  readonly waiting: number;
}

/**
 * Who holds which locks of a mount, and who waits for one. A lock that was granted is not forgotten when the process
 * dies that granted it, and one that was released does not come back.
 *
 * Asking twice is asking once: a request whose answer was lost is sent again, to the successor of the process that
 * carried it out. lock() grants what its owner holds already.
 *
 * What is held decides alone: as on Linux a request waits only for locks that are held, never for one that waits. Those
 * that wait get it in the order in which they came, each as soon as nothing that is held stands against it.
 */
export interface LockEngine {
  /** The lock that stands against `claim`, the one that begins first; undefined where it would be granted. */
  test(inode: InodeNumber, claim: LockClaim): MaybePromise<LockClaim | undefined>;
  /** A lock that the holder itself has in `range`, the one that begins first. */
  ownLock(inode: InodeNumber, holder: Holder, range: ByteRange): MaybePromise<LockClaim | undefined>;
  /**
   * Grants `claim`; it replaces what its owner holds in that range. FsError EAGAIN where another's lock stands against
   * it and there is no `waiter`; with one, EINTR when it is interrupted, and EDEADLK (ranges only) where it would wait
   * for itself. ENOLCK: too many locks or waiters. A 'file' lock that changes its mode is given up first, and is lost
   * where the new mode cannot be had: flock(2).
   */
  lock(inode: InodeNumber, claim: LockClaim, waiter?: LockWaiter): MaybePromise<void>;
  unlock(inode: InodeNumber, holder: Holder, range: ByteRange): MaybePromise<void>;
  /** A process closed one of its descriptors of the file: POSIX drops all its range locks. */
  closed(inode: InodeNumber, owner: bigint): MaybePromise<void>;
  /** The open file is gone: every lock that was taken through it goes. */
  released(inode: InodeNumber, handle: bigint): MaybePromise<void>;
  /** A handle for a file that is being opened: no other open file of this mount has had it, under any driver. */
  newHandle(): bigint;
  readonly counts: LockCounts;
  /** The mount is gone: who still waits gets EINTR. */
  close(): void;
}
