// What can go wrong with keys, for those who use the store: each error says what was asked, and what to do.

export type StoreErrorCode =
  /** A condition did not hold: somebody else changed the key. Read it again. */
  | 'CONFLICT'
  /** A key, value or option that cannot be. */
  | 'INVALID'
  /** A key, value or batch above its limit. */
  | 'TOO_LARGE'
  /** The value was replaced or deleted while it was being read. Read it again. */
  | 'CHANGED'
  /** The disks are full: delete something, or add a disk. */
  | 'FULL'
  /** The row of this one key cannot be read. `sdfs fsck --repair` sets it aside. */
  | 'DAMAGED'
  /** No good copy is left, or not enough disks are there to answer. */
  | 'UNAVAILABLE'
  /** Another process has the store open; or a lock is held. */
  | 'BUSY'
  /** A wait reached its bound. */
  | 'TIMEOUT'
  /** The store was closed, or its process is gone: whether the last writes were carried out is not known. */
  | 'CLOSED'
  /** No permission for its directories. */
  | 'DENIED'
  /** There is no store here, or it is of a kind or version that this sdfs does not know. */
  | 'FOREIGN';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** A condition of a write did not hold; nothing of the write or its batch happened. */
export class ConflictError extends StoreError {
  readonly key: Buffer;
  /** What the key has; undefined when there is none. */
  readonly version: number | undefined;
  constructor(key: Buffer, detail: { wanted: string; version: number | undefined }) {
    super('CONFLICT', `key ${showKey(key)}: wanted ${detail.wanted}, found ${detail.version === undefined ? 'no key' : `version ${detail.version}`}`);
    this.key = key;
    this.version = detail.version;
  }
}

/** The row of one key is not what this sdfs writes: the others are as they were. A range goes on behind it. */
export class DamagedKeyError extends StoreError {
  readonly key: Buffer;
  constructor(key: Buffer, detail: string, options?: { cause?: unknown }) {
    super('DAMAGED', `the row of key ${showKey(key)} cannot be read (${detail}): run "sdfs fsck --repair" on the store or volume`, options);
    this.key = key;
  }
}

/** The store was opened anew while a value was on its way to it: nothing of the change was done, and the value has to be put again. */
export class ReopenedError extends StoreError {
  constructor(options?: { cause?: unknown }) {
    super('UNAVAILABLE', 'the store was opened anew while this value was sent to it, and nothing of the change was done: set it again', options);
  }
}

/** A key, for people: as text where it is text, and not all of a long one. */
export function showKey(key: Buffer): string {
  const text = key.toString();
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 61)}...` : text);
}
