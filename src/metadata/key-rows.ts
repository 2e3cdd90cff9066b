// The rows of the mutable keys: keys/ is written over them; fsck and dump read them too.
//
//   key                        value
//   a0 key                     a key of the store: 0 u8 version  1 u8 kind (0 the value follows, 1 its blocks follow)  4 u32 value bytes
//        8 u64 version of the key  16 u64 expires, ms since 1970; 0: never  24 the value, or of each block in order
//        u32 block hi, u32 block lo, u32 bytes
//   a1 expires:8 key           u8 version. One for each key that expires
//   a4 name, a5 expires:8 name the same for what is leased: keys/leases.ts
//   01 key-version             bookkeeping (u8 version, u64): versions below it may be in use, none above is
//   01 key-count:TYPE          bookkeeping: keys of the area whose rows begin with TYPE (two hex digits)
//
// A block of a value has a row 50 with one reference and all its bytes alive.
import { FormatError } from '../base/errors.ts';
import type { BlockId } from '../base/ids.ts';
import { readU64, writeU64 } from '../log/record.ts';

const ROW_VERSION = 1;
const HEADER_BYTES = 24;
const BLOCK_BYTES = 12;
const KIND = { inline: 0, blocks: 1 } as const;

/** Keys that live apart from others: first byte of their rows, and of the rows by time of expiry. */
export interface KeyArea {
  readonly key: number;
  readonly expiry: number;
}

export const KEY_AREAS = {
  keys: { key: 0xa0, expiry: 0xa1 },
  leases: { key: 0xa4, expiry: 0xa5 },
} as const satisfies Record<string, KeyArea>;

export const KEY_VERSION_LEASE = 'key-version';

export function keyCountName(area: KeyArea): string {
  return `key-count:${area.key.toString(16)}`;
}

export interface ValueBlock {
  readonly block: BlockId;
  readonly bytes: number;
}

/** What a key row says. Either `inline` or `blocks`. */
export interface KeyRecord {
  readonly version: number;
  readonly expiresMs: number;
  readonly bytes: number;
  readonly inline: Buffer | undefined;
  readonly blocks: readonly ValueBlock[];
}

export function keyRowKey(area: KeyArea, key: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(1 + key.length);
  out[0] = area.key;
  out.set(key, 1);
  return out;
}

/** All key rows of an area, half-open. */
export function keyRange(area: KeyArea): readonly [start: Buffer, end: Buffer] {
  return [Buffer.of(area.key), Buffer.of(area.key + 1)];
}

/** Its rows by time of expiry. */
export function expiryRange(area: KeyArea): readonly [start: Buffer, end: Buffer] {
  return [Buffer.of(area.expiry), Buffer.of(area.expiry + 1)];
}

/** The key of a key row: a view into the row's. */
export function keyOfKeyRow(rowKey: Buffer): Buffer {
  return rowKey.subarray(1);
}

export function expiryRowKey(area: KeyArea, expiresMs: number, key: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(9 + key.length);
  out[0] = area.expiry;
  out.writeUInt32BE(Math.floor(expiresMs / 0x1_0000_0000), 1);
  out.writeUInt32BE(expiresMs >>> 0, 5);
  out.set(key, 9);
  return out;
}

export function decodeExpiryRowKey(rowKey: Buffer): { expiresMs: number; key: Buffer } {
  return { expiresMs: rowKey.readUInt32BE(1) * 0x1_0000_0000 + rowKey.readUInt32BE(5), key: rowKey.subarray(9) };
}

export function encodeKeyRecord(record: Omit<KeyRecord, 'bytes'>): Buffer {
  const { inline, blocks } = record;
  const out = Buffer.allocUnsafe(HEADER_BYTES + (inline === undefined ? blocks.length * BLOCK_BYTES : inline.length));
  out.writeUInt32LE(ROW_VERSION | ((inline === undefined ? KIND.blocks : KIND.inline) << 8), 0);
  writeU64(out, record.version, 8);
  writeU64(out, record.expiresMs, 16);
  if (inline !== undefined) {
    out.writeUInt32LE(inline.length, 4);
    out.set(inline, HEADER_BYTES);
    return out;
  }
  let bytes = 0;
  let at = HEADER_BYTES;
  for (const piece of blocks) {
    out.writeUInt32LE(piece.block.hi, at);
    out.writeUInt32LE(piece.block.lo, at + 4);
    out.writeUInt32LE(piece.bytes, at + 8);
    bytes += piece.bytes;
    at += BLOCK_BYTES;
  }
  out.writeUInt32LE(bytes, 4);
  return out;
}

/** What a change of a key has to know of its row. */
export type KeyHead = Pick<KeyRecord, 'version' | 'expiresMs' | 'blocks'>;

const NO_BLOCKS: readonly ValueBlock[] = [];

/** As decodeKeyRecord, without the value: what every change needs, and at a third of the cost. */
export function decodeKeyHead(value: Buffer): KeyHead {
  if (value[0] !== ROW_VERSION || value[1] !== KIND.inline || value.length < HEADER_BYTES) return decodeKeyRecord(value);
  return { version: readU64(value, 8), expiresMs: readU64(value, 16), blocks: NO_BLOCKS };
}

/** `inline` is a view into `value`. FormatError for what no sdfs of this version wrote. */
export function decodeKeyRecord(value: Buffer): KeyRecord {
  if (value[0] !== ROW_VERSION) throw new FormatError('key', { wanted: `version ${ROW_VERSION}`, found: value.length === 0 ? 'nothing' : `version ${value[0]}` });
  if (value.length < HEADER_BYTES) throw new FormatError('key', { wanted: `at least ${HEADER_BYTES} bytes`, found: `${value.length}` });
  const bytes = value.readUInt32LE(4);
  const head = { version: readU64(value, 8), expiresMs: readU64(value, 16), bytes };
  if (value[1] === KIND.inline) {
    if (value.length !== HEADER_BYTES + bytes) throw new FormatError('key', { wanted: `a value of ${bytes} bytes`, found: `${value.length - HEADER_BYTES}` });
    return { ...head, inline: value.subarray(HEADER_BYTES), blocks: NO_BLOCKS };
  }
  if (value[1] !== KIND.blocks) throw new FormatError('key', { wanted: 'kind 0 or 1', found: `kind ${value[1]}` });
  const blocks: ValueBlock[] = [];
  let sum = 0;
  for (let at = HEADER_BYTES; at + BLOCK_BYTES <= value.length; at += BLOCK_BYTES) {
    const piece = { block: { hi: value.readUInt32LE(at), lo: value.readUInt32LE(at + 4) }, bytes: value.readUInt32LE(at + 8) };
    blocks.push(piece);
    sum += piece.bytes;
  }
  if (sum !== bytes || (value.length - HEADER_BYTES) % BLOCK_BYTES !== 0) throw new FormatError('key', { wanted: `blocks of ${bytes} bytes`, found: `${sum} bytes in ${value.length - HEADER_BYTES} bytes of the row` });
  return { ...head, inline: undefined, blocks };
}
