// What is asked of a store of mutable keys: ordered, versioned, with conditions, expiry and atomic changes.
//
// Keys are bytes (0 to LIMITS.keyBytesMax), ordered as memcmp orders them; values are bytes (0 to LIMITS.valueBytesMax).
// All changes go through one process, one after the other: what `transact` does is atomic, and seen by all who come later.
import type { DamagedKeyError } from './errors.ts';

export interface KeyEntry {
  /** Grows with every set of any key, and is never used twice, also after a power cut: what conditions name. */
  readonly version: number;
  /** When it goes by itself: ms since 1970; 0: never. */
  readonly expiresMs: number;
  /** Length of the value. */
  readonly bytes: number;
  /** The value where it lies in the row; else only the space that made the entry knows. */
  readonly inline: Buffer | undefined;
}

/** A value that is ready to be set: small ones are plain bytes, large ones were put on the disks by `prepare`. */
export interface PreparedValue {
  readonly bytes: number;
  /** Set, or discarded: it cannot be used again. */
  readonly used: boolean;
}

export interface KeyTransaction {
  /** Undefined for a key that is not there or has expired. Sees what this transaction did. */
  get(key: Buffer): KeyEntry | undefined;
  /** The new version. Bytes above LIMITS.inlineBytesMax are to be prepared first. Copies the key and the value. */
  set(key: Buffer, value: Buffer | PreparedValue, options?: { readonly expiresMs?: number | undefined }): number;
  /** Whether there was one. */
  delete(key: Buffer): boolean;
  /** Changes when it goes (0: never), not its version. Whether there is one. */
  expire(key: Buffer, expiresMs: number): boolean;
}

/** Bounds of keys; what is absent does not bound. */
export interface KeyRange {
  /** First key that is in it. */
  readonly start?: Buffer | undefined;
  /** First key that is not. */
  readonly end?: Buffer | undefined;
  readonly reverse?: boolean | undefined;
}

/** What is left of a range behind one of its keys. */
export function rangeBehind(range: KeyRange, key: Buffer): KeyRange {
  return range.reverse === true ? { ...range, end: key } : { ...range, start: Buffer.concat([key, NUL]) };
}

/** The key with this behind it is the first after it. */
const NUL = Buffer.alloc(1);

export interface KeyRow {
  readonly key: Buffer;
  readonly entry: KeyEntry;
}

export interface KeyPage {
  readonly rows: readonly KeyRow[];
  /** The key behind `rows` cannot be read; it is told of, and left out. */
  readonly damaged: DamagedKeyError | undefined;
  /** What is left of the range, where there may be more. */
  readonly next: KeyRange | undefined;
}

export interface KeySpace {
  /** A promise while nothing can be asked, as while a shard is added: to be awaited before anything else. */
  paused(): Promise<void> | undefined;
  get(key: Buffer): KeyEntry | undefined;
  /**
   * The value of an entry: at once where it is in memory. It is the caller's own, or the entry's. StoreError CHANGED when
   * it was replaced or deleted meanwhile.
   */
  load(entry: KeyEntry): Buffer | Promise<Buffer>;
  /** Some bytes of it, [offset, offset + bytes), which lie in it. */
  read(entry: KeyEntry, offset: number, bytes: number): Buffer | Promise<Buffer>;
  /**
   * Whether a value of so many bytes should be prepared before it is set: always above LIMITS.inlineBytesMax, smaller
   * ones while so many come that it costs less to put them on the shards at once than to move them there later.
   */
  isLarge(bytes: number): boolean;
  /** Puts a value where it will lie. StoreError TOO_LARGE, FULL, UNAVAILABLE. Keeps the Buffer until it resolves: do not change it. */
  prepare(value: Buffer | AsyncIterable<Uint8Array>): Promise<PreparedValue>;
  /** Of one that will not be set. */
  discard(value: PreparedValue): void;
  /**
   * Runs `work` at once; when it returns, all that it did is process-proof, and when it throws, nothing happened.
   * `work` must not wait. StoreError TOO_LARGE, FULL.
   */
  transact<T>(work: (transaction: KeyTransaction) => T): T;
  /**
   * The calls of `transact` in `work` share one record of the log, so that many cost little more than one: all of them
   * are process-proof when it returns, none when it throws. Each still sees what those before it did. Not nested, and
   * no `page` in it.
   */
  group<T>(work: () => T): T;
  /** The group that runs has a record so large by now that it should end, and another begin. */
  readonly groupIsFull: boolean;
  /**
   * Live keys in order: up to `limit`, or fewer, or none, and where to go on. Looks at LIMITS.pageRowsMax rows at most, of
   * which those may be of keys that are not there any more.
   */
  page(range: KeyRange, limit: number): KeyPage;
  /** Keys that are there, and those that have expired and are not swept yet. */
  readonly count: number;
  /** Keys whose time is up and that are still there, those that went first at the front; at most `limit`. */
  expired(limit: number): Buffer[];
  /** A promise when writers have to wait for the disks: to be awaited before the next change. */
  room(): Promise<void> | undefined;
  /** All that was done before is power-proof on enough disks when it resolves. StoreError UNAVAILABLE. */
  sync(): Promise<void>;
}
