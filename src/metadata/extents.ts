// The extents of files: which block holds which bytes, one row per chunk, with the blocks' references beside them.
import { assert } from '../base/assert.ts';
import { blockIdFromKey, blockKey } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Reader, Transaction } from './engine.ts';
import { PRESENT, decodeBlockRow, decodeExtents, encodeBlockRow, encodeExtents, extentCount, keys, ranges, secondOfKey } from './schema.ts';
import type { Extent } from './schema.ts';

const CHUNK = LIMITS.fileChunkBytes;

/** A piece of a file: bytes of a block at a file offset. */
export interface Mapping {
  readonly offset: number;
  readonly bytes: number;
  readonly block: BlockId;
  readonly blockOffset: number;
}

/** The mapped pieces of [offset, offset+bytes), in order; what they leave out is a hole. */
export function mappings(reader: Reader, inode: InodeNumber, offset: number, bytes: number): Mapping[] {
  const found: Mapping[] = [];
  const end = offset + bytes;
  for (let chunk = Math.floor(offset / CHUNK); chunk * CHUNK < end; chunk++) {
    const base = chunk * CHUNK;
    for (const extent of decodeExtents(reader.get(keys.extents(inode, chunk)))) {
      const from = Math.max(offset, base + extent.start);
      const to = Math.min(end, base + extent.start + extent.bytes);
      if (from < to) found.push({ offset: from, bytes: to - from, block: extent.block, blockOffset: extent.blockOffset + (from - base - extent.start) });
    }
  }
  return found;
}

/** A chunk that has extents, and how many. */
export interface ChunkExtents {
  readonly chunk: number;
  readonly extents: number;
}

/** Chunks with extents from `fromChunk` on, in order: at most `limit`. */
export function chunksFrom(reader: Reader, inode: InodeNumber, fromChunk: number, limit: number): ChunkExtents[] {
  const [start, end] = ranges.extents(inode, fromChunk);
  return reader.range(start, end, limit).map(([key, value]) => ({ chunk: secondOfKey(key), extents: extentCount(value) }));
}

/** The last chunks with extents at or behind `fromChunk`, the last one first: at most `limit`. */
export function lastChunks(reader: Reader, inode: InodeNumber, fromChunk: number, limit: number): ChunkExtents[] {
  const [start, end] = ranges.extents(inode, fromChunk);
  return reader.range(start, end, limit, 'backward').map(([key, value]) => ({ chunk: secondOfKey(key), extents: extentCount(value) }));
}

/** How many of these chunks, from the first on, have at most `extentsMax` extents together; at least one if there is one. */
export function withinExtents(chunks: readonly ChunkExtents[], extentsMax: number): number {
  let extents = 0;
  for (const [index, chunk] of chunks.entries()) {
    extents += chunk.extents;
    if (extents > extentsMax) return Math.max(index, 1);
  }
  return chunks.length;
}

interface Delta {
  references: number;
  liveBytes: number;
  newBytes: number;
  chunk: ChunkName | undefined;
}

/** A chunk of a file, by its number. */
export interface ChunkName {
  readonly inode: InodeNumber;
  readonly chunk: number;
}

/** A chunk that wants rewriting: too many extents, or blocks of which it uses little. */
export interface CrowdedChunk extends ChunkName {
  readonly extents: number;
}

/** True when less than half of a block is named by extents: rewriting them gives the rest back. */
export function isSparse(reader: Reader, block: BlockId): boolean {
  const value = reader.get(keys.block(block));
  if (value === undefined) return false;
  return isHalfDead(decodeBlockRow(value));
}

/** Small blocks are packed on the disks, which see to their dead space themselves. */
function isHalfDead(row: { bytes: number; liveBytes: number }): boolean {
  return row.bytes > LIMITS.inlineBytesMax && row.liveBytes * 2 < row.bytes;
}

/** Collects a transaction's changes to blocks, so that each block's row is written once. */
export class BlockReferences {
  /** What the transaction adds to the bytes set aside in the volume; see reservations.ts. */
  reservedDelta = 0;
  /** Chunks that the transaction left with more extents than LIMITS.chunkExtentsMax, or with blocks less than half alive. */
  readonly crowded: CrowdedChunk[] = [];
  readonly #deltas = new Map<string, Delta>();

  /** A block that this transaction names first. */
  create(block: BlockId, bytes: number): void {
    this.#delta(block).newBytes = bytes;
  }

  /** `chunk`: where extents of the block were changed. */
  add(block: BlockId, references: number, liveBytes: number, chunk: ChunkName): void {
    const delta = this.#delta(block);
    delta.references += references;
    delta.liveBytes += liveBytes;
    delta.chunk = chunk;
  }

  /** Writes the rows; returns the blocks that lost their last reference. Unseen ones never went to a worker: no garbage row. */
  apply(tx: Transaction, { isUnseen }: { isUnseen: (block: BlockId) => boolean }): BlockId[] {
    const freed: BlockId[] = [];
    for (const [name, delta] of this.#deltas) {
      const block = blockIdFromKey(name);
      const key = keys.block(block);
      const value = delta.newBytes > 0 ? undefined : tx.get(key);
      assert(delta.newBytes > 0 || value !== undefined, 'a block that an extent names has a row');
      const before = value === undefined ? { bytes: delta.newBytes, references: 0, liveBytes: 0 } : decodeBlockRow(value);
      const references = before.references + delta.references;
      const liveBytes = before.liveBytes + delta.liveBytes;
      assert(references >= 0 && liveBytes >= 0, 'references are never below zero');
      if (references > 0) {
        tx.put(key, encodeBlockRow({ bytes: before.bytes, references, liveBytes }));
        if (delta.liveBytes < 0 && isHalfDead({ bytes: before.bytes, liveBytes }) && delta.chunk !== undefined) this.crowded.push({ ...delta.chunk, extents: 0 });
        continue;
      }
      if (value !== undefined) tx.delete(key);
      if (!isUnseen(block)) tx.put(keys.garbage(block), PRESENT);
      freed.push(block);
    }
    return freed;
  }

  #delta(block: BlockId): Delta {
    const name = blockKey(block);
    let delta = this.#deltas.get(name);
    if (delta === undefined) this.#deltas.set(name, (delta = { references: 0, liveBytes: 0, newBytes: 0, chunk: undefined }));
    return delta;
  }
}

/**
 * Replaces what [offset, offset+bytes) maps to by `pieces` (in order, within the range; gaps become holes).
 * Returns allocated bytes after, less before. Extents that the range cuts keep their outer parts.
 */
export function replaceRange(
  tx: Transaction,
  references: BlockReferences,
  inode: InodeNumber,
  range: { offset: number; bytes: number },
  pieces: readonly Mapping[],
): number {
  const end = range.offset + range.bytes;
  let allocatedDelta = 0;
  let next = 0;
  for (let chunk = Math.floor(range.offset / CHUNK); chunk * CHUNK < end; chunk++) {
    const base = chunk * CHUNK;
    const from = Math.max(range.offset - base, 0);
    const to = Math.min(end - base, CHUNK);
    const key = keys.extents(inode, chunk);
    const value = tx.get(key);
    const before = decodeExtents(value);
    const after: Extent[] = [];
    for (const extent of before) allocatedDelta -= keepOutside(extent, from, to, after, (block, count, bytes) => references.add(block, count, bytes, { inode, chunk }));
    const insertAt = after.findIndex((extent) => extent.start >= to);
    const inside: Extent[] = [];
    for (let piece = pieces[next]; piece !== undefined && piece.offset < base + to; piece = pieces[next]) {
      const start = Math.max(piece.offset, base + from);
      const stop = Math.min(piece.offset + piece.bytes, base + to);
      inside.push({ start: start - base, bytes: stop - start, block: piece.block, blockOffset: piece.blockOffset + (start - piece.offset) });
      references.add(piece.block, 1, stop - start, { inode, chunk });
      allocatedDelta += stop - start;
      if (piece.offset + piece.bytes > base + to) break;
      next++;
    }
    after.splice(insertAt === -1 ? after.length : insertAt, 0, ...inside);
    if (after.length > LIMITS.chunkExtentsMax) references.crowded.push({ inode, chunk, extents: after.length });
    if (after.length > 0) tx.put(key, encodeExtents(after));
    else if (value !== undefined) tx.delete(key);
  }
  return allocatedDelta;
}

/** Pushes the parts of `extent` outside [from, to) to `after`; returns the bytes that were inside. */
function keepOutside(extent: Extent, from: number, to: number, after: Extent[], account: (block: BlockId, references: number, liveBytes: number) => void): number {
  const extentEnd = extent.start + extent.bytes;
  if (extentEnd <= from || extent.start >= to) {
    after.push(extent);
    return 0;
  }
  let parts = 0;
  if (extent.start < from) {
    after.push({ ...extent, bytes: from - extent.start });
    parts++;
  }
  if (extentEnd > to) {
    const cut = to - extent.start;
    after.push({ start: to, bytes: extentEnd - to, block: extent.block, blockOffset: extent.blockOffset + cut });
    parts++;
  }
  const inside = Math.min(extentEnd, to) - Math.max(extent.start, from);
  account(extent.block, parts - 1, -inside);
  return inside;
}
