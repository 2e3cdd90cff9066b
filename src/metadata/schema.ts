// The key schema and the bytes of every row. Keys are big-endian with the type first; values little-endian with a
// version first.
//
//   key                                  value
//   01 name                              bookkeeping: see BOOKKEEPING (u8 version, u64; of the scrub u8 version, JSON)
//   10 inode:8                           inode
//        0 u8 version  1 u8 flags  4 u32 mode  8 u32 links  12 u32 uid  16 u32 gid  20 u32 device
//        24 u64 size (bytes; entries of a directory)  32 u64 allocated bytes  40 u64 parent (directories)
//        48 u64 next cookie (directories)  56 4 x (i64 seconds, u32 nanoseconds): accessed modified changed born
//        104 u64 reserved bytes: only where there are any, and with them a row 38
//   20 parent:8 name                     entry by name:   0 u8 version  1 u8 type (mode >> 12)  8 u64 inode  16 u64 cookie
//   21 parent:8 cookie:8                 entry by cookie: 0 u8 version  1 u8 type  8 u64 inode  16 name
//   30 inode:8 chunk:8                   extents of one chunk of a file: 8 bytes (u8 version), then each 24 bytes:
//        0 u32 start in chunk  4 u32 bytes  8 u32 block hi  12 u32 block lo  16 u32 offset in block  20 u32 zero
//   38 inode:8                           space set aside by fallocate: 0 u8 version  8 u64 reserved bytes (those of the ranges that
//        no extent covers)  16 ranges in order, apart from each other: each u64 start, u64 end. Since schema 2
//   40 inode:8 name                      extended attribute, ACLs among them: u8 version, value
//   48 inode:8                           target of a symbolic link: u8 version, target
//   50 block:8                           block: 0 u8 version  4 u32 bytes  8 u32 references (extents)  16 u64 live bytes
//   60 inode:8                           orphan: u8 version. No name is left, the kernel may still use it
//   70 block:8                           garbage: u8 version. On workers, named by no extent; deleted after a sync
//   80 inode:8 …                         held lock of the present mount: locks/lock-rows.ts
//   a0 … a5                              keys of the key-value store, and its leases: key-rows.ts. Since schema 3
//   f0 key                               a row that fsck set aside, since it cannot be: u8 version, value (metadata/row-types.ts)
//
// Schema 2 adds row 38 and what belongs to it, and ACLs. A volume becomes one of schema 2 when space is first set aside in
// it or an ACL set, and one of schema 3 when a key is first set: one where that never happened can still be read by an sdfs
// that knows older schemas alone. (One that knows no keys would take their blocks for unused.)
import { FormatError } from '../base/errors.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import type { Timestamp } from '../base/time.ts';
import { readU64, writeU64 } from '../log/record.ts';

/** Of the whole: what the bookkeeping row says, at most. */
export const SCHEMA_VERSION = 3;
/** What came with which. */
export const SCHEMA_OF = { reservations: 2, acls: 2, keys: 3 } as const;
/** What a volume begins with. */
export const SCHEMA_VERSION_FIRST = 1;
/** Of each row. */
const ROW_VERSION = 1;

/** First byte of a key. */
export const TYPE = { bookkeeping: 0x01, inode: 0x10, entry: 0x20, listing: 0x21, extents: 0x30, reservation: 0x38, xattr: 0x40, linkTarget: 0x48, block: 0x50, orphan: 0x60, garbage: 0x70 } as const;

/** Names of the bookkeeping rows. Leases are upper bounds: numbers below them may be in use, none above is. */
export const BOOKKEEPING = { schema: 'schema', inodeLease: 'inode-lease', blockLease: 'block-lease', blockEpoch: 'block-epoch', lockMount: 'lock-mount', scrub: 'scrub', garbageHold: 'garbage-hold' } as const;

export interface Inode {
  number: InodeNumber;
  flags: number;
  mode: number;
  links: number;
  uid: number;
  gid: number;
  device: number;
  /** Bytes of a file; number of entries of a directory. */
  size: number;
  allocatedBytes: number;
  /** Set aside by fallocate and not used yet; see reservations.ts. */
  reservedBytes: number;
  parent: InodeNumber | 0;
  nextCookie: number;
  accessed: Timestamp;
  modified: Timestamp;
  changed: Timestamp;
  born: Timestamp;
}

/** What the inode may have in other rows: where a flag is missing, nobody needs to look. */
export const INODE_FLAG = { xattrs: 1, capability: 2, accessAcl: 4, defaultAcl: 8 } as const;

export interface Entry {
  readonly inode: InodeNumber;
  /** mode >> 12. */
  readonly type: number;
  readonly cookie: number;
}

export interface Extent {
  /** Bytes from the start of the chunk. */
  readonly start: number;
  readonly bytes: number;
  readonly block: BlockId;
  readonly blockOffset: number;
}

/** Bytes of a file: [start, end). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface Reservation {
  readonly reservedBytes: number;
  readonly ranges: readonly ByteRange[];
}

export interface BlockRow {
  readonly bytes: number;
  readonly references: number;
  readonly liveBytes: number;
}

/** First cookie that an entry can have: 1 and 2 stand for "." and "..". */
export const FIRST_COOKIE = 3;

// ---- keys

function keyOfNumber(type: number, value: number, extra = 0): Buffer {
  const key = Buffer.allocUnsafe(9 + extra);
  key[0] = type;
  key.writeUInt32BE(Math.floor(value / 0x1_0000_0000), 1);
  key.writeUInt32BE(value >>> 0, 5);
  return key;
}

function keyOfTwo(type: number, first: number, second: number): Buffer {
  const key = keyOfNumber(type, first, 8);
  key.writeUInt32BE(Math.floor(second / 0x1_0000_0000), 9);
  key.writeUInt32BE(second >>> 0, 13);
  return key;
}

function keyOfBlock(type: number, block: BlockId): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = type;
  key.writeUInt32BE(block.hi, 1);
  key.writeUInt32BE(block.lo, 5);
  return key;
}

function keyOfName(type: number, inode: number, name: Buffer): Buffer {
  const key = keyOfNumber(type, inode, name.length);
  key.set(name, 9);
  return key;
}

export const keys = {
  bookkeeping: (name: string): Buffer => Buffer.concat([Buffer.of(TYPE.bookkeeping), Buffer.from(name)]),
  inode: (inode: InodeNumber): Buffer => keyOfNumber(TYPE.inode, inode),
  entry: (parent: InodeNumber, name: Buffer): Buffer => keyOfName(TYPE.entry, parent, name),
  listing: (parent: InodeNumber, cookie: number): Buffer => keyOfTwo(TYPE.listing, parent, cookie),
  extents: (inode: InodeNumber, chunk: number): Buffer => keyOfTwo(TYPE.extents, inode, chunk),
  reservation: (inode: InodeNumber): Buffer => keyOfNumber(TYPE.reservation, inode),
  xattr: (inode: InodeNumber, name: Buffer): Buffer => keyOfName(TYPE.xattr, inode, name),
  linkTarget: (inode: InodeNumber): Buffer => keyOfNumber(TYPE.linkTarget, inode),
  block: (block: BlockId): Buffer => keyOfBlock(TYPE.block, block),
  orphan: (inode: InodeNumber): Buffer => keyOfNumber(TYPE.orphan, inode),
  garbage: (block: BlockId): Buffer => keyOfBlock(TYPE.garbage, block),
} as const;

/** The key behind `key`, without a gap. */
export function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.alloc(1)]);
}

/** Half-open key ranges: [start, end). */
export const ranges = {
  allExtents: [Buffer.of(TYPE.extents), Buffer.of(TYPE.extents + 1)] as const,
  allEntries: [Buffer.of(TYPE.entry), Buffer.of(TYPE.entry + 1)] as const,
  entries: (parent: InodeNumber) => [keyOfNumber(TYPE.entry, parent), keyOfNumber(TYPE.entry, parent + 1)] as const,
  /** All blocks behind one. */
  blocksAfter: (after: BlockId | null) => [after === null ? Buffer.of(TYPE.block) : keyAfter(keyOfBlock(TYPE.block, after)), Buffer.of(TYPE.block + 1)] as const,
  orphans: [Buffer.of(TYPE.orphan), Buffer.of(TYPE.orphan + 1)] as const,
  garbage: [Buffer.of(TYPE.garbage), Buffer.of(TYPE.garbage + 1)] as const,
  reservations: [Buffer.of(TYPE.reservation), Buffer.of(TYPE.reservation + 1)] as const,
  xattrs: (inode: InodeNumber) => [keyOfNumber(TYPE.xattr, inode), keyOfNumber(TYPE.xattr, inode + 1)] as const,
  listing: (parent: InodeNumber, afterCookie: number) => [keyOfTwo(TYPE.listing, parent, afterCookie + 1), keyOfNumber(TYPE.listing, parent + 1)] as const,
  extents: (inode: InodeNumber, fromChunk: number) => [keyOfTwo(TYPE.extents, inode, fromChunk), keyOfNumber(TYPE.extents, inode + 1)] as const,
} as const;

/** True for keys of inode rows: what statistics count. */
export function isInodeKey(key: Buffer): boolean {
  return key[0] === TYPE.inode;
}

/** The number in bytes 1-8 of a key. */
export function numberOfKey(key: Buffer): number {
  return key.readUInt32BE(1) * 0x1_0000_0000 + key.readUInt32BE(5);
}

/** The second number of an extents or listing key. */
export function secondOfKey(key: Buffer): number {
  return key.readUInt32BE(9) * 0x1_0000_0000 + key.readUInt32BE(13);
}

export function blockOfKey(key: Buffer): BlockId {
  return { hi: key.readUInt32BE(1), lo: key.readUInt32BE(5) };
}

/** What follows type and inode in an xattr key, as a copy. */
export function nameOfKey(key: Buffer): Buffer {
  return Buffer.from(key.subarray(9));
}

// ---- values

function checkVersion(value: Buffer, what: string): void {
  if (value[0] !== ROW_VERSION) {
    throw new FormatError(what, { wanted: `version ${ROW_VERSION}`, found: `version ${value[0]}` });
  }
}

export const PRESENT = Buffer.of(ROW_VERSION);

const INODE_BYTES = 56 + 4 * 12;

export function encodeInode(inode: Inode): Buffer {
  const out = Buffer.allocUnsafe(INODE_BYTES + (inode.reservedBytes > 0 ? 8 : 0));
  out.writeUInt32LE(ROW_VERSION | (inode.flags << 8), 0);
  out.writeUInt32LE(inode.mode, 4);
  out.writeUInt32LE(inode.links, 8);
  out.writeUInt32LE(inode.uid, 12);
  out.writeUInt32LE(inode.gid, 16);
  out.writeUInt32LE(inode.device, 20);
  writeU64(out, inode.size, 24);
  writeU64(out, inode.allocatedBytes, 32);
  writeU64(out, inode.parent, 40);
  writeU64(out, inode.nextCookie, 48);
  writeTime(out, inode.accessed, 56);
  writeTime(out, inode.modified, 68);
  writeTime(out, inode.changed, 80);
  writeTime(out, inode.born, 92);
  if (inode.reservedBytes > 0) writeU64(out, inode.reservedBytes, INODE_BYTES);
  return out;
}

export function decodeInode(number: InodeNumber, value: Buffer): Inode {
  checkVersion(value, `inode ${number}`);
  return {
    number,
    flags: value.readUInt8(1),
    mode: value.readUInt32LE(4),
    links: value.readUInt32LE(8),
    uid: value.readUInt32LE(12),
    gid: value.readUInt32LE(16),
    device: value.readUInt32LE(20),
    size: readU64(value, 24),
    allocatedBytes: readU64(value, 32),
    reservedBytes: value.length > INODE_BYTES ? readU64(value, INODE_BYTES) : 0,
    parent: readU64(value, 40) as InodeNumber | 0,
    nextCookie: readU64(value, 48),
    accessed: readTime(value, 56),
    modified: readTime(value, 68),
    changed: readTime(value, 80),
    born: readTime(value, 92),
  };
}

function writeTime(out: Buffer, time: Timestamp, at: number): void {
  out.writeUInt32LE(time.seconds >>> 0, at);
  out.writeInt32LE(Math.floor(time.seconds / 0x1_0000_0000), at + 4);
  out.writeUInt32LE(time.nanoseconds, at + 8);
}

function readTime(value: Buffer, at: number): Timestamp {
  return { seconds: value.readUInt32LE(at) + value.readInt32LE(at + 4) * 0x1_0000_0000, nanoseconds: value.readUInt32LE(at + 8) };
}

export function encodeEntry(entry: Entry): Buffer {
  const out = Buffer.allocUnsafe(24);
  out.writeUInt32LE(ROW_VERSION | (entry.type << 8), 0);
  out.writeUInt32LE(0, 4);
  writeU64(out, entry.inode, 8);
  writeU64(out, entry.cookie, 16);
  return out;
}

export function decodeEntry(value: Buffer): Entry {
  checkVersion(value, 'directory entry');
  return { type: value.readUInt8(1), inode: readU64(value, 8) as InodeNumber, cookie: readU64(value, 16) };
}

export function encodeListing(entry: { inode: InodeNumber; type: number; name: Buffer }): Buffer {
  const out = Buffer.allocUnsafe(16 + entry.name.length);
  out.writeUInt32LE(ROW_VERSION | (entry.type << 8), 0);
  out.writeUInt32LE(0, 4);
  writeU64(out, entry.inode, 8);
  out.set(entry.name, 16);
  return out;
}

/** `name` is a view into `value`. */
export function decodeListing(value: Buffer): { inode: InodeNumber; type: number; name: Buffer } {
  checkVersion(value, 'directory listing');
  return { type: value.readUInt8(1), inode: readU64(value, 8) as InodeNumber, name: value.subarray(16) };
}

const EXTENT_BYTES = 24;
const EXTENTS_HEADER_BYTES = 8;

export function encodeExtents(extents: readonly Extent[]): Buffer {
  const out = Buffer.allocUnsafe(EXTENTS_HEADER_BYTES + extents.length * EXTENT_BYTES);
  out.writeUInt32LE(ROW_VERSION, 0);
  out.writeUInt32LE(0, 4);
  let at = EXTENTS_HEADER_BYTES;
  for (const extent of extents) {
    out.writeUInt32LE(extent.start, at);
    out.writeUInt32LE(extent.bytes, at + 4);
    out.writeUInt32LE(extent.block.hi, at + 8);
    out.writeUInt32LE(extent.block.lo, at + 12);
    out.writeUInt32LE(extent.blockOffset, at + 16);
    out.writeUInt32LE(0, at + 20);
    at += EXTENT_BYTES;
  }
  return out;
}

export function decodeExtents(value: Buffer | undefined): Extent[] {
  if (value === undefined) return [];
  checkVersion(value, 'extents');
  const extents: Extent[] = [];
  for (let at = EXTENTS_HEADER_BYTES; at < value.length; at += EXTENT_BYTES) {
    extents.push({
      start: value.readUInt32LE(at),
      bytes: value.readUInt32LE(at + 4),
      block: { hi: value.readUInt32LE(at + 8), lo: value.readUInt32LE(at + 12) },
      blockOffset: value.readUInt32LE(at + 16),
    });
  }
  return extents;
}

/** Extents in a row, without decoding them. */
export function extentCount(value: Buffer): number {
  return (value.length - EXTENTS_HEADER_BYTES) / EXTENT_BYTES;
}

const RESERVATION_HEADER_BYTES = 16;
const RANGE_BYTES = 16;

export function encodeReservation({ reservedBytes, ranges: parts }: Reservation): Buffer {
  const out = Buffer.alloc(RESERVATION_HEADER_BYTES + parts.length * RANGE_BYTES);
  out[0] = ROW_VERSION;
  writeU64(out, reservedBytes, 8);
  let at = RESERVATION_HEADER_BYTES;
  for (const { start, end } of parts) {
    writeU64(out, start, at);
    writeU64(out, end, at + 8);
    at += RANGE_BYTES;
  }
  return out;
}

export function decodeReservation(inode: InodeNumber, value: Buffer): Reservation {
  checkVersion(value, `space set aside for inode ${inode}`);
  const parts: ByteRange[] = [];
  for (let at = RESERVATION_HEADER_BYTES; at < value.length; at += RANGE_BYTES) parts.push({ start: readU64(value, at), end: readU64(value, at + 8) });
  return { reservedBytes: readU64(value, 8), ranges: parts };
}

export function encodeBlockRow(row: BlockRow): Buffer {
  const out = Buffer.allocUnsafe(24);
  out.writeUInt32LE(ROW_VERSION, 0);
  out.writeUInt32LE(row.bytes, 4);
  out.writeUInt32LE(row.references, 8);
  out.writeUInt32LE(0, 12);
  writeU64(out, row.liveBytes, 16);
  return out;
}

export function decodeBlockRow(value: Buffer): BlockRow {
  checkVersion(value, 'block');
  return { bytes: value.readUInt32LE(4), references: value.readUInt32LE(8), liveBytes: readU64(value, 16) };
}

export function encodeNumber(number: number): Buffer {
  const out = Buffer.alloc(16);
  out[0] = ROW_VERSION;
  writeU64(out, number, 8);
  return out;
}

export function decodeNumber(value: Buffer): number {
  checkVersion(value, 'bookkeeping');
  return readU64(value, 8);
}

/** Values of extended attributes and targets of links: a version and the bytes. */
export function encodeBytes(value: Buffer): Buffer {
  return Buffer.concat([PRESENT, value]);
}

/** A copy of the value. */
export function decodeBytes(value: Buffer): Buffer {
  checkVersion(value, 'bytes');
  return Buffer.from(value.subarray(1));
}
