// The identifiers that travel through every room, as branded types so that one is never taken for another.

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

/** Inode number = FUSE node id. Never reused; 1 is the root. A plain number below 2^53. */
export type InodeNumber = Branded<number, 'InodeNumber'>;
export const ROOT_INODE = 1 as InodeNumber;

/** Sequence number of a log record: 1, 2, 3 … without gaps for the life of a volume. Below 2^53. */
export type Sequence = Branded<number, 'Sequence'>;

/** Counts the drivers that a volume has had. Every frame carries it; a worker refuses an older one. u32. */
export type DriverEpoch = Branded<number, 'DriverEpoch'>;

/** Number of a disk in its volume, and of the worker that serves it. Stays while others come and go. */
export type WorkerId = Branded<number, 'WorkerId'>;

/**
 * Name of an immutable block: a 16-bit allocator epoch and a 48-bit counter, as two u32 (no BigInt on the
 * data path). Never reused: the counter is leased in ranges, the epoch grows whenever leases may have been lost.
 */
export interface BlockId {
  readonly hi: number;
  readonly lo: number;
}

/** A string that is equal exactly for equal ids, for use as a Map key. Eight bytes of content, not printable. */
export function blockKey(id: BlockId): string {
  return String.fromCharCode(id.hi >>> 16, id.hi & 0xffff, id.lo >>> 16, id.lo & 0xffff);
}

export function blockIdFromKey(key: string): BlockId {
  return {
    hi: ((key.charCodeAt(0) << 16) | key.charCodeAt(1)) >>> 0,
    lo: ((key.charCodeAt(2) << 16) | key.charCodeAt(3)) >>> 0,
  };
}

/** Below 0, 0 or above 0: the order in which disks and metadata list blocks. */
export function compareBlockIds(one: BlockId, other: BlockId): number {
  return one.hi - other.hi || one.lo - other.lo;
}

/** Sixteen hex digits, for people. */
export function formatBlockId(id: BlockId): string {
  return id.hi.toString(16).padStart(8, '0') + id.lo.toString(16).padStart(8, '0');
}

/** Of what formatBlockId wrote. */
export function parseBlockId(text: string): BlockId {
  return { hi: Number.parseInt(text.slice(0, 8), 16), lo: Number.parseInt(text.slice(8, 16), 16) };
}

/** 16 random bytes that name a volume or a disk; 32 hex digits in text. */
export type Uuid = Branded<string, 'Uuid'>;
