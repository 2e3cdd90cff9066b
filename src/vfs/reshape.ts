// Changes of a file's shape: size, holes, shared ranges, removal; a bounded number of extents in each transaction.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import type { Transaction } from '../metadata/engine.ts';
import { chunksFrom, lastChunks, mappings, withinExtents } from '../metadata/extents.ts';
import type { BlockReferences } from '../metadata/extents.ts';
import { release, replaceInFile, reserve } from '../metadata/reservations.ts';
import { decodeInode, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { carriedOut, checkWritable, getInode, isDirectory, isRegular, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import { transactExtents } from './extent-transaction.ts';
import type { Caller, FallocateMode, MaybePromise } from './filesystem.ts';
import { killPrivileges } from './privileges.ts';

const CHUNK = LIMITS.fileChunkBytes;
/** Chunks looked at, and extents changed, in one transaction: its record stays well below LIMITS.logRecordBytesMax. */
const CHUNKS_PER_STEP = 512;
const EXTENTS_PER_STEP = 12_000;
/** So few chunks are changed in one transaction, whatever they hold, and looked up one by one. */
const FEW_CHUNKS = 4;

/**
 * Sets the size inside a transaction. Bytes behind a smaller size are gone: a later growth reads zeros there. A file
 * that shrinks by much has to go through shrinkInSteps before.
 */
export function setSize(tx: Transaction, references: BlockReferences, inode: Inode, size: number): void {
  if (size > LIMITS.fileBytesMax) throw new FsError('EFBIG', `a file may have ${LIMITS.fileBytesMax} bytes`);
  // What is set aside behind the end is given back by any truncation that does not grow the file, as on ext4.
  if (size <= inode.size) release(tx, references, inode, size, LIMITS.fileBytesMax);
  if (size < inode.size) dropRange(tx, references, inode, size, inode.size);
  inode.size = size;
}

/** Takes the data of [from, to) away, visiting only chunks that exist. */
function dropRange(tx: Transaction, references: BlockReferences, inode: Inode, from: number, to: number): void {
  if (to <= from) return;
  if (to - from <= FEW_CHUNKS * CHUNK) {
    replaceInFile(tx, references, inode, { offset: from, bytes: to - from }, []);
    return;
  }
  for (const { chunk } of chunksFrom(tx, inode.number, Math.floor(from / CHUNK), Math.ceil(to / CHUNK) - Math.floor(from / CHUNK))) {
    const start = Math.max(from, chunk * CHUNK);
    const stop = Math.min(to, (chunk + 1) * CHUNK);
    if (start >= to) break;
    replaceInFile(tx, references, inode, { offset: start, bytes: stop - start }, []);
  }
}

/** True when a change of size may touch more than one transaction should. */
export function isLargeShrink(inode: Inode, size: number): boolean {
  return inode.size - size > FEW_CHUNKS * CHUNK;
}

/** Before a large truncation or removal: drops chunks from the end, a bounded number in each turn of the event loop. */
export async function shrinkInSteps(context: VfsContext, number: InodeNumber, size: number): Promise<void> {
  for (;;) {
    const chunks = lastChunks(context.engine.reader, number, Math.ceil(size / CHUNK), CHUNKS_PER_STEP);
    const count = withinExtents(chunks, EXTENTS_PER_STEP);
    const first = chunks[count - 1];
    if (first === undefined || (count === chunks.length && count < CHUNKS_PER_STEP)) return;
    transactExtents(context, null, (tx, references) => {
      const inode = getInode(tx, number);
      setSize(tx, references, inode, Math.min(inode.size, first.chunk * CHUNK));
      putInode(tx, inode);
    });
    await nextTurn();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => { setImmediate(resolve); });
}

export function fallocate(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): MaybePromise<void> {
  checkWritable(context);
  if (offset + bytes > LIMITS.fileBytesMax) throw new FsError('EFBIG');
  if (carriedOut(context, caller) !== undefined) return undefined;
  const inode = getInode(context.engine.reader, number);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  if (!isRegular(inode.mode)) throw new FsError('ENODEV');
  const crowded = context.compactor.hardCrowded(number, offset, 1) ?? context.compactor.hardCrowded(number, offset + bytes - 1, 1);
  if (crowded !== undefined) return crowded.then(() => fallocate(context, number, mode, offset, bytes, caller));
  // Refuses at once what cannot fit whatever the file has already; the rest is counted exactly, step by step.
  const wantedBytes = mode === 'punchHole' ? 0 : bytes - inode.allocatedBytes - inode.reservedBytes;
  if (wantedBytes > 0) context.space.admit(wantedBytes);
  if (Math.min(bytes, inode.size - offset) > FEW_CHUNKS * CHUNK) return reallocateInSteps(context, number, mode, offset, bytes, caller);
  reallocate(context, number, mode, offset, bytes, caller);
  return undefined;
}

/** What each step does but the last, which sets the size where the mode says so. */
const STEP_MODE = { allocate: 'keepSize', keepSize: 'keepSize', punchHole: 'punchHole', zeroRange: 'zeroRangeKeepSize', zeroRangeKeepSize: 'zeroRangeKeepSize' } as const;

/** The last step does what concerns the whole, and it alone is recorded as the request: a driver that dies before starts again. */
async function reallocateInSteps(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): Promise<void> {
  const end = offset + bytes;
  let at = offset;
  for (;;) {
    const chunks = chunksFrom(context.engine.reader, number, Math.floor(at / CHUNK), CHUNKS_PER_STEP);
    const count = withinExtents(chunks, EXTENTS_PER_STEP);
    const next = ((chunks[count - 1]?.chunk ?? 0) + 1) * CHUNK;
    if ((count === chunks.length && count < CHUNKS_PER_STEP) || next >= end) break;
    reallocate(context, number, STEP_MODE[mode], at, next - at, { ...caller, requestHi: 0, requestLo: 0 });
    at = next;
    await nextTurn();
  }
  reallocate(context, number, mode, at, end - at, caller);
}

function reallocate(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): void {
  transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, number);
    if (mode === 'punchHole') release(tx, references, inode, offset, offset + bytes);
    if (mode !== 'allocate' && mode !== 'keepSize') dropRange(tx, references, inode, offset, Math.min(offset + bytes, inode.size));
    if (mode !== 'punchHole') {
      // What was data in a zeroed range counts too: its blocks may have other users, and come back later at best.
      const added = reserve(tx, references, inode, offset, offset + bytes);
      if (added > 0) context.space.admit(added);
    }
    if (mode === 'allocate' || mode === 'zeroRange') inode.size = Math.max(inode.size, offset + bytes);
    inode.modified = inode.changed = now();
    killPrivileges(tx, inode, { modeBits: caller.uid !== 0 });
    putInode(tx, inode);
  });
}

/** Chunks looked at by the first and by later look-ups of one seek: mostly the answer is near. */
const SEEK_CHUNKS_FIRST = 4;

export function seek(context: VfsContext, number: InodeNumber, offset: number, what: 'data' | 'hole'): number {
  const inode = getInode(context.engine.reader, number);
  if (offset >= inode.size) throw new FsError('ENXIO');
  let at = offset;
  for (let limit = SEEK_CHUNKS_FIRST; ; limit = Math.min(limit * 4, CHUNKS_PER_STEP)) {
    const chunks = chunksFrom(context.engine.reader, number, Math.floor(at / CHUNK), limit);
    for (const { chunk } of chunks) {
      if (what === 'hole' && chunk * CHUNK > at) return at;
      const from = Math.max(at, chunk * CHUNK);
      for (const mapping of mappings(context.engine.reader, number, from, (chunk + 1) * CHUNK - from)) {
        if (mapping.offset >= inode.size) break;
        if (what === 'data') return Math.max(mapping.offset, offset);
        if (mapping.offset > at) return at;
        at = mapping.offset + mapping.bytes;
      }
      if (what === 'hole' && at < Math.min((chunk + 1) * CHUNK, inode.size)) return at;
    }
    const last = chunks.at(-1);
    if (last === undefined || chunks.length < limit || at >= inode.size) break;
    at = Math.max(at, (last.chunk + 1) * CHUNK);
  }
  if (what === 'data') throw new FsError('ENXIO');
  return Math.min(at, inode.size);
}

/** Copies less than asked for where that would be too much for one transaction: the caller goes on from there. */
export function copyRange(
  context: VfsContext, from: { inode: InodeNumber; offset: number }, to: { inode: InodeNumber; offset: number }, bytes: number, caller: Caller,
): MaybePromise<number> {
  checkWritable(context);
  const source = getInode(context.engine.reader, from.inode);
  if (!isRegular(source.mode) || !isRegular(getInode(context.engine.reader, to.inode).mode)) throw new FsError('EINVAL');
  const asked = Math.min(bytes, source.size - from.offset, CHUNKS_PER_STEP * CHUNK);
  if (asked <= 0) return 0;
  if (to.offset + asked > LIMITS.fileBytesMax) throw new FsError('EFBIG');
  if (from.inode === to.inode && from.offset < to.offset + asked && to.offset < from.offset + asked) throw new FsError('EINVAL', 'source and target overlap');
  const length = Math.min(asked, stepBytes(context, from), stepBytes(context, to));
  if (carriedOut(context, caller) !== undefined) return length;
  const crowded = context.compactor.hardCrowded(to.inode, to.offset, length);
  if (crowded !== undefined) return crowded.then(() => copyRange(context, from, to, bytes, caller));
  transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, to.inode);
    const shift = to.offset - from.offset;
    const pieces = mappings(tx, from.inode, from.offset, length).map((piece) => ({ ...piece, offset: piece.offset + shift }));
    replaceInFile(tx, references, inode, { offset: to.offset, bytes: length }, pieces);
    inode.size = Math.max(inode.size, to.offset + length);
    inode.modified = inode.changed = now();
    killPrivileges(tx, inode, { modeBits: caller.uid !== 0 });
    putInode(tx, inode);
  });
  return length;
}

/** How far from here one transaction may change, or read for one, the extents of a file. */
function stepBytes(context: VfsContext, place: { inode: InodeNumber; offset: number }): number {
  const chunks = chunksFrom(context.engine.reader, place.inode, Math.floor(place.offset / CHUNK), CHUNKS_PER_STEP);
  const beyond = chunks[withinExtents(chunks, EXTENTS_PER_STEP)];
  return beyond === undefined ? Infinity : beyond.chunk * CHUNK - place.offset;
}

/** Frees an inode without names: extents, attributes, row. A large file takes many turns of the event loop. */
export function freeInode(context: VfsContext, number: InodeNumber, dropXattrs: (tx: Transaction, inode: Inode) => void): void {
  context.orphans.delete(number);
  const failed = (error: unknown): void => context.logger.error({ err: error, inode: number }, 'a removed file could not be freed; the next mount tries again');
  try {
    const row = context.engine.reader.get(keys.inode(number));
    if (row === undefined) return;
    const found = decodeInode(number, row);
    if (isRegular(found.mode) && isLargeShrink(found, 0)) shrinkInSteps(context, number, 0).then(() => freeRest(context, number, dropXattrs)).catch(failed);
    else freeRest(context, number, dropXattrs);
  } catch (error) {
    failed(error);
  }
}

function freeRest(context: VfsContext, number: InodeNumber, dropXattrs: (tx: Transaction, inode: Inode) => void): void {
  transactExtents(context, null, (tx, references) => {
    const inode = getInode(tx, number);
    if (isRegular(inode.mode)) setSize(tx, references, inode, 0);
    dropXattrs(tx, inode);
    tx.delete(keys.inode(number));
    tx.delete(keys.orphan(number));
  });
}
