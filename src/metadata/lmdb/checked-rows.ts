// The values of the driver's database as they lie in LMDB, which has no checksums of its own.
//
//   value   the row's value, then u32 CRC-32 of key and value; little-endian
//
// A row whose key or value changed, or that came to another key, is found when it is read. Pages that are gone altogether
// are found by `verifyRows` alone, which reads everything.
import { crc32 } from 'node:zlib';
import type { RootDatabase } from 'lmdb';
import { FormatError } from '../../base/errors.ts';
import type { Reader } from '../engine.ts';
import { keyAfter } from '../schema.ts';

const CHECK_BYTES = 4;

/** Grown to the longest value: LMDB copies what it is given before `put` returns, within a transaction. */
let scratch = Buffer.allocUnsafe(4096);

/** What to put for a row; valid until the next call. */
export function sealRow(key: Uint8Array, value: Uint8Array): Buffer {
  const { length } = value;
  if (length + CHECK_BYTES > scratch.length) scratch = Buffer.allocUnsafe(2 * (length + CHECK_BYTES));
  scratch.set(value);
  scratch.writeUInt32LE(crc32(value, crc32(key)), length);
  return scratch.subarray(0, length + CHECK_BYTES);
}

/** The value, a view of what was stored. FormatError when it is not what was put for this key. */
export function openRow(key: Uint8Array, stored: Buffer): Buffer {
  const length = stored.length - CHECK_BYTES;
  const value = stored.subarray(0, Math.max(0, length));
  if (length < 0 || crc32(value, crc32(key)) !== stored.readUInt32LE(length)) {
    throw new FormatError('metadata database', { wanted: `row ${Buffer.from(key).toString('hex')} with the checksum that it was put with`, found: 'another' });
  }
  return value;
}

/** Rows that LMDB says it has, those of the database itself included. */
export function entryCount(db: RootDatabase<Buffer, Buffer>): number {
  return (db.getStats() as { readonly entryCount: number }).entryCount;
}

const PAGE_ROWS = 4096;
/** About a millisecond of work. */
const VERIFY_ROWS = 256;

/** Seals every row of a database of which none is, within a transaction. */
export function sealAll(db: RootDatabase<Buffer, Buffer>): void {
  for (let after: Buffer | undefined; ;) {
    const page = [...db.getRange({ ...(after !== undefined && { start: after, exclusiveStart: true }), limit: PAGE_ROWS })].map(({ key, value }) => [Buffer.from(key as Buffer), Buffer.from(value)] as const);
    for (const [key, value] of page) void db.put(key, sealRow(key, value));
    after = page.at(-1)?.[0];
    if (page.length < PAGE_ROWS) return;
  }
}

/** Reads all rows of the schema; returns their number. FormatError when they are not in order, or not as many as `wanted`. */
export async function verifyRows(reader: Reader, wanted: number, pause: () => Promise<void>): Promise<number> {
  let found = 0;
  for (let start: Buffer = Buffer.of(1); ;) {
    const page = reader.range(start, Buffer.of(0xff), VERIFY_ROWS);
    for (const [key] of page) {
      if (key.compare(start) < 0) throw new FormatError('metadata database', { wanted: 'rows in the order of their keys', found: 'others' });
      start = keyAfter(key);
    }
    found += page.length;
    if (page.length < VERIFY_ROWS) break;
    await pause();
  }
  if (found !== wanted) throw new FormatError('metadata database', { wanted: `${wanted} rows`, found: String(found) });
  return found;
}
