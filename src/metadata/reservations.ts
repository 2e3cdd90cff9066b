// Space set aside by fallocate(2): ranges of a file, and how many of their bytes no extent covers yet.
//
// The ranges of a file stay as they were asked for while extents come and go below them; what is counted in the inode
// row is always: bytes of the ranges, less what extents map inside them. When that comes to zero the row is deleted.
// A write to a file without reservations looks at one number of its inode and at nothing else.
import { assert } from '../base/assert.ts';
import { FileLimitError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Reader, Transaction } from './engine.ts';
import { chunksFrom, mappings, replaceRange } from './extents.ts';
import type { BlockReferences, Mapping } from './extents.ts';
import { pagesOf } from './look-through.ts';
import { raiseSchema } from './schema-version.ts';
import { decodeReservation, encodeReservation, keys, numberOfKey, ranges as keyRanges } from './schema.ts';
import type { ByteRange, Inode } from './schema.ts';

const CHUNK = LIMITS.fileChunkBytes;
/** So few chunks are looked up one by one, without asking which of them exist. */
const FEW_CHUNKS = 4;

/** Bytes set aside in the whole volume, asked for once at start. */
export function totalReserved(reader: Reader): number {
  let total = 0;
  for (const rows of pagesOf(reader, keyRanges.reservations)) {
    for (const [key, value] of rows) total += decodeReservation(numberOfKey(key) as InodeNumber, value).reservedBytes;
  }
  return total;
}

/** How many bytes of [offset, offset+bytes) are set aside and not used yet. */
export function reservedWithin(reader: Reader, inode: Inode, range: { offset: number; bytes: number }): number {
  if (inode.reservedBytes === 0) return 0;
  const parts = overlaps(rangesOf(reader, inode.number), range.offset, range.offset + range.bytes);
  return lengthOf(parts) - mappedWithin(reader, inode.number, parts);
}

/** As replaceRange, with the accounts of the inode: allocated bytes, and what is set aside where the range is used or unused now. */
export function replaceInFile(tx: Transaction, references: BlockReferences, inode: Inode, range: { offset: number; bytes: number }, pieces: readonly Mapping[]): void {
  if (inode.reservedBytes === 0) {
    inode.allocatedBytes += replaceRange(tx, references, inode.number, range, pieces);
    return;
  }
  const ranges = rangesOf(tx, inode.number);
  const before = mappedWithin(tx, inode.number, overlaps(ranges, range.offset, range.offset + range.bytes));
  inode.allocatedBytes += replaceRange(tx, references, inode.number, range, pieces);
  let after = 0;
  for (const piece of pieces) after += lengthOf(overlaps(ranges, piece.offset, piece.offset + piece.bytes));
  if (after !== before) settle(tx, references, inode, ranges, inode.reservedBytes + before - after);
}

/** Sets the unused bytes of [from, to) aside; returns how many those are. FsError ENOSPC when the file has too many ranges. */
export function reserve(tx: Transaction, references: BlockReferences, inode: Inode, from: number, to: number): number {
  const ranges = inode.reservedBytes === 0 ? [] : rangesOf(tx, inode.number);
  const missing = gaps(ranges, from, to);
  const bytes = lengthOf(missing) - mappedWithin(tx, inode.number, missing);
  if (bytes === 0 && inode.reservedBytes === 0) return 0;
  const merged = joined(ranges, from, to);
  if (merged.length > LIMITS.reservationRangesMax) throw new FileLimitError(`a file may have ${LIMITS.reservationRangesMax} ranges of space set aside`);
  raiseSchema(tx, 'reservations');
  settle(tx, references, inode, merged, inode.reservedBytes + bytes);
  return bytes;
}

/** Gives back what is set aside in [from, to). A file with too many ranges keeps what would split one more. */
export function release(tx: Transaction, references: BlockReferences, inode: Inode, from: number, to: number): void {
  if (inode.reservedBytes === 0) return;
  const ranges = rangesOf(tx, inode.number);
  const parts = overlaps(ranges, from, to);
  if (parts.length === 0) return;
  const left = without(ranges, from, to);
  if (left.length > LIMITS.reservationRangesMax) return;
  settle(tx, references, inode, left, inode.reservedBytes - (lengthOf(parts) - mappedWithin(tx, inode.number, parts)));
}

function settle(tx: Transaction, references: BlockReferences, inode: Inode, ranges: readonly ByteRange[], reservedBytes: number): void {
  assert(reservedBytes >= 0, 'what is set aside is never below zero');
  references.reservedDelta += reservedBytes - inode.reservedBytes;
  const key = keys.reservation(inode.number);
  if (reservedBytes > 0) tx.put(key, encodeReservation({ reservedBytes, ranges }));
  else if (inode.reservedBytes > 0) tx.delete(key);
  inode.reservedBytes = reservedBytes;
}

function rangesOf(reader: Reader, inode: InodeNumber): readonly ByteRange[] {
  const value = reader.get(keys.reservation(inode));
  assert(value !== undefined, 'an inode with space set aside says where');
  return decodeReservation(inode, value).ranges;
}

/** Bytes that extents map inside these ranges. */
function mappedWithin(reader: Reader, inode: InodeNumber, ranges: readonly ByteRange[]): number {
  let bytes = 0;
  const count = (from: number, to: number): void => {
    for (const mapping of mappings(reader, inode, from, to - from)) bytes += mapping.bytes;
  };
  for (const { start, end } of ranges) {
    if (end - start <= FEW_CHUNKS * CHUNK) {
      count(start, end);
      continue;
    }
    for (const { chunk } of chunksFrom(reader, inode, Math.floor(start / CHUNK), Math.ceil(end / CHUNK) - Math.floor(start / CHUNK))) {
      if (chunk * CHUNK >= end) break;
      count(Math.max(start, chunk * CHUNK), Math.min(end, (chunk + 1) * CHUNK));
    }
  }
  return bytes;
}

// ---- ranges: in order, apart from each other

function lengthOf(ranges: readonly ByteRange[]): number {
  let bytes = 0;
  for (const { start, end } of ranges) bytes += end - start;
  return bytes;
}

function overlaps(ranges: readonly ByteRange[], from: number, to: number): ByteRange[] {
  const found: ByteRange[] = [];
  for (const { start, end } of ranges) {
    if (start < to && end > from) found.push({ start: Math.max(start, from), end: Math.min(end, to) });
  }
  return found;
}

/** What of [from, to) the ranges leave out. */
function gaps(ranges: readonly ByteRange[], from: number, to: number): ByteRange[] {
  const found: ByteRange[] = [];
  let at = from;
  for (const { start, end } of overlaps(ranges, from, to)) {
    if (start > at) found.push({ start: at, end: start });
    at = end;
  }
  if (at < to) found.push({ start: at, end: to });
  return found;
}

/** The ranges with [from, to) added, neighbours made one. */
function joined(ranges: readonly ByteRange[], from: number, to: number): ByteRange[] {
  const touching = ranges.filter(({ start, end }) => start <= to && end >= from);
  const one = { start: Math.min(from, touching[0]?.start ?? from), end: Math.max(to, touching.at(-1)?.end ?? to) };
  return [...ranges.filter(({ end }) => end < from), one, ...ranges.filter(({ start }) => start > to)];
}

function without(ranges: readonly ByteRange[], from: number, to: number): ByteRange[] {
  return ranges.flatMap(({ start, end }) => {
    if (end <= from || start >= to) return [{ start, end }];
    return [{ start, end: from }, { start: to, end }].filter((part) => part.start < part.end);
  });
}
