// Reads rows that may be anything: undefined where the bytes are not what the schema says, lengths and ranges included.
import { LIMITS } from '../base/limits.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { decodeExpiryRowKey, decodeKeyRecord } from '../metadata/key-rows.ts';
import type { KeyRecord } from '../metadata/key-rows.ts';
import { decodeBlockRow, decodeEntry, decodeExtents, decodeInode, decodeListing, decodeNumber, decodeReservation, numberOfKey } from '../metadata/schema.ts';
import type { BlockRow, Entry, Extent, Inode, Reservation } from '../metadata/schema.ts';

/** mode >> 12: what an inode is. */
export const FILE_KIND = { fifo: 1, character: 2, directory: 4, block: 6, regular: 8, link: 10, socket: 12 } as const;
const KINDS: ReadonlySet<number> = new Set(Object.values(FILE_KIND));

const INODE_BYTES = 104;
const ENTRY_BYTES = 24;
const BLOCK_BYTES = 24;
const EXTENTS_HEADER_BYTES = 8;
const EXTENT_BYTES = 24;

function attempt<T>(decode: () => T | undefined): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

export function kindOf(inode: Inode): number {
  return inode.mode >>> 12;
}

export function readInode([key, value]: Row): Inode | undefined {
  return attempt(() => {
    if (key.length !== 9 || (value.length !== INODE_BYTES && value.length !== INODE_BYTES + 8)) return undefined;
    const inode = decodeInode(numberOfKey(key) as InodeNumber, value);
    const counts = [inode.number, inode.size, inode.allocatedBytes, inode.reservedBytes, inode.parent, inode.nextCookie];
    return KINDS.has(kindOf(inode)) && counts.every(isCount) && inode.size <= LIMITS.fileBytesMax ? inode : undefined;
  });
}

export function readEntry([key, value]: Row): Entry | undefined {
  return attempt(() => {
    if (key.length < 10 || key.length > 9 + LIMITS.nameBytesMax || value.length !== ENTRY_BYTES || key.includes(0x2f, 9) || key.includes(0, 9)) return undefined;
    const entry = decodeEntry(value);
    return isCount(entry.inode) && entry.inode > 0 && isCount(entry.cookie) && KINDS.has(entry.type) ? entry : undefined;
  });
}

/** As a copy. */
export function readListing([key, value]: Row): { inode: InodeNumber; type: number; name: Buffer } | undefined {
  return attempt(() => {
    if (key.length !== 17 || value.length < 17 || value.length > 16 + LIMITS.nameBytesMax) return undefined;
    const listing = decodeListing(value);
    return isCount(listing.inode) && listing.inode > 0 && KINDS.has(listing.type) ? listing : undefined;
  });
}

export function readExtents([key, value]: Row): Extent[] | undefined {
  return attempt(() => {
    if (key.length !== 17 || value.length <= EXTENTS_HEADER_BYTES || (value.length - EXTENTS_HEADER_BYTES) % EXTENT_BYTES !== 0) return undefined;
    return decodeExtents(value);
  });
}

export function readReservation([key, value]: Row): Reservation | undefined {
  return attempt(() => {
    if (key.length !== 9 || value.length < 16 || value.length % 16 !== 0) return undefined;
    const reservation = decodeReservation(numberOfKey(key) as InodeNumber, value);
    let end = -1;
    for (const range of reservation.ranges) {
      if (range.start <= end || range.end <= range.start || !isCount(range.end)) return undefined;
      ({ end } = range);
    }
    return isCount(reservation.reservedBytes) ? reservation : undefined;
  });
}

export function readBlockRow([key, value]: Row): BlockRow | undefined {
  return attempt(() => {
    if (key.length !== 9 || value.length !== BLOCK_BYTES) return undefined;
    const row = decodeBlockRow(value);
    return row.bytes > 0 && row.bytes <= LIMITS.blockBytesMax && isCount(row.liveBytes) ? row : undefined;
  });
}

export function readKeyRow([key, value]: Row): KeyRecord | undefined {
  return attempt(() => {
    if (key.length > 1 + LIMITS.keyBytesMax) return undefined;
    const record = decodeKeyRecord(value);
    const blocksAreGood = record.blocks.every(({ bytes }) => bytes > 0 && bytes <= LIMITS.blockBytesMax);
    return record.version > 0 && isCount(record.version) && isCount(record.expiresMs) && blocksAreGood ? record : undefined;
  });
}

export function readExpiryRow([key, value]: Row): { expiresMs: number; key: Buffer } | undefined {
  return attempt(() => {
    if (key.length < 9 || key.length > 9 + LIMITS.keyBytesMax || value[0] !== 1) return undefined;
    const expiry = decodeExpiryRowKey(key);
    return expiry.expiresMs > 0 && isCount(expiry.expiresMs) ? expiry : undefined;
  });
}

const NUMBER_BYTES = 16;

export function readNumber(value: Buffer): number | undefined {
  return attempt(() => {
    const number = value.length === NUMBER_BYTES ? decodeNumber(value) : undefined;
    return number !== undefined && isCount(number) ? number : undefined;
  });
}

const LOCK_KEY_BYTES = 26;
const LOCK_BYTES = 24;

/** Drawn in locks/lock-rows.ts. */
export function isLock([key, value]: Row): boolean {
  return key.length === LOCK_KEY_BYTES && value.length === LOCK_BYTES && value[0] === 1 && key[9]! <= 1;
}

/** Of rows that are a version and bytes, or a version alone. */
export function isVersioned([key, value]: Row): boolean {
  return key.length >= 9 && value.length > 0 && value[0] === 1;
}
