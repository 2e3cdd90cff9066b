// File bytes: read, write, truncate, holes, shared-extent copies.
import { isDeepStrictEqual } from 'node:util';
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { chunksFrom, lastChunks, mappings, replaceRange } from '../metadata/extents.ts';
import type { BlockReferences, Mapping } from '../metadata/extents.ts';
import type { Transaction } from '../metadata/engine.ts';
import { INODE_FLAG, PRESENT, decodeInode, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { carriedOut, checkWritable, getInode, isDirectory, isRegular, now, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import type { Caller, FallocateMode, MaybePromise, Pieces, WriteOptions } from './filesystem.ts';
import { transactExtents } from './extent-transaction.ts';
import { killPrivileges } from './privileges.ts';

const CHUNK = LIMITS.fileChunkBytes;
const ZEROS = Buffer.alloc(LIMITS.requestBytesMax);
/** Chunks whose extents one transaction may drop or copy, so that its record stays small. */
const CHUNKS_PER_TRANSACTION = 512;
/** Up to so many chunks are looked up one by one, which is cheaper than a search for those that exist. */
const FEW_CHUNKS = 8;
/** A block may be deleted under a reader that looked its extents up before: it looks again, this often. */
const READ_ATTEMPTS = 3;

export function read(context: VfsContext, number: InodeNumber, offset: number, bytes: number): MaybePromise<Pieces> {
  const inode = getInode(context.engine.reader, number);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  if (context.accessTimes.touch(inode)) context.accessTimes.flush(context.engine);
  const length = Math.min(bytes, inode.size - offset);
  if (length <= 0) return [];
  return readMapped(context, inode, offset, length, READ_ATTEMPTS);
}

/** Everything that is in memory is answered at once; what lies on workers is fetched in parallel. */
export function readMapped(context: Pick<VfsContext, 'engine' | 'pending' | 'blocks'>, inode: Pick<Inode, 'number'>, offset: number, bytes: number, attempts: number): MaybePromise<Pieces> {
  const pieces: (Uint8Array | Promise<readonly Uint8Array[]>)[] = [];
  const found = mappings(context.engine.reader, inode.number, offset, bytes);
  let remote = false;
  let at = offset;
  for (const mapping of found) {
    pushZeros(pieces, mapping.offset - at);
    const pending = context.pending.get(mapping.block);
    if (pending !== undefined) pieces.push(pending.subarray(mapping.blockOffset, mapping.blockOffset + mapping.bytes));
    else {
      remote = true;
      pieces.push(context.blocks.get(mapping.block, mapping.blockOffset, mapping.bytes));
    }
    at = mapping.offset + mapping.bytes;
  }
  pushZeros(pieces, offset + bytes - at);
  if (!remote) return pieces as Uint8Array[];
  return Promise.all(pieces).then(
    (resolved) => resolved.flat() as Uint8Array[],
    async (error: unknown) => {
      const inodeNow = getInode(context.engine.reader, inode.number);
      const length = Math.min(bytes, inodeNow.size - offset);
      if (length <= 0) return [];
      // A block that is still named and cannot be read is lost, or its disks are away.
      if (attempts <= 1 || isDeepStrictEqual(mappings(context.engine.reader, inode.number, offset, bytes), found)) throw error;
      return readMapped(context, inodeNow, offset, length, attempts - 1);
    },
  );
}

function pushZeros(pieces: unknown[], bytes: number): void {
  for (let left = bytes; left > 0; left -= ZEROS.length) pieces.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
}

export function write(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): MaybePromise<number> {
  checkWritable(context);
  if (offset + data.length > LIMITS.fileBytesMax) throw new FsError('EFBIG', `a file may have ${LIMITS.fileBytesMax} bytes`);
  if (data.length === 0) return 0;
  if (carriedOut(context, caller) !== undefined) return options.durability === 'process' ? data.length : context.durability.sync().then(() => data.length);
  const crowded = context.compactor.hardCrowded(number, offset, data.length);
  if (crowded !== undefined) return crowded.then(() => write(context, number, offset, data, options, caller));
  if (context.engine.journalBytes > LIMITS.journalBytesHard) return writeAfterDrain(context, number, offset, data, options, caller);
  // Small data rides in the log, unless too much of it waits for the workers already: their pace is the limit then.
  if (data.length <= LIMITS.inlineBytesMax && context.pending.bytes < LIMITS.pendingBytesHard) {
    writeInline(context, number, offset, data, options, caller);
    context.durability.relievePressure();
    return options.durability === 'process' ? data.length : context.durability.sync().then(() => data.length);
  }
  return writeBlocks(context, number, offset, data, options, caller);
}

/** The workers are behind, or away: a bounded wait for them, and an error when it does not help. */
async function writeAfterDrain(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): Promise<number> {
  await context.durability.drain();
  if (context.engine.journalBytes > LIMITS.journalBytesHard) throw new FsError('ENOSPC', 'the journal is full, and the disks do not take it');
  return write(context, number, offset, data, options, caller);
}

function writeInline(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): void {
  context.space.admit(data.length);
  const copy = Buffer.from(data);
  const blocks = splitAtBlocks(context, offset, data.length);
  commitWrite(context, number, offset, data.length, blocks, options, caller, copy);
}

async function writeBlocks(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): Promise<number> {
  const blocks = splitAtBlocks(context, offset, data.length);
  try {
    await context.blocks.putMany(blocks.map((block) => ({ id: block.block, data: [data.subarray(block.offset - offset, block.offset - offset + block.bytes)] })));
    commitWrite(context, number, offset, data.length, blocks, options, caller, undefined);
  } catch (error) {
    forgetBlocks(context, blocks);
    throw error;
  }
  if (options.durability !== 'process') await context.durability.sync();
  return data.length;
}

/** Some workers may have got these blocks, and no metadata names them: they are deleted like all garbage. */
export function forgetBlocks(stores: Pick<VfsContext, 'engine' | 'logger'>, blocks: readonly Mapping[]): void {
  try {
    stores.engine.transact(null, (tx) => {
      for (const { block } of blocks) tx.put(keys.garbage(block), PRESENT);
    });
  } catch (error) {
    stores.logger.warn({ err: error, blocks: blocks.length }, 'blocks of a failed write stay on the disks until a scrub');
  }
}

/** One new block for each block-sized part of the file that the range touches. */
function splitAtBlocks(context: VfsContext, offset: number, bytes: number): Mapping[] {
  const { blockBytes } = context;
  const blocks: Mapping[] = [];
  const end = offset + bytes;
  for (let at = offset; at < end; ) {
    const stop = Math.min(end, (Math.floor(at / blockBytes) + 1) * blockBytes);
    blocks.push({ offset: at, bytes: stop - at, block: context.allocator.block(), blockOffset: 0 });
    at = stop;
  }
  return blocks;
}

function commitWrite(
  context: VfsContext, number: InodeNumber, offset: number, bytes: number,
  blocks: readonly Mapping[], options: WriteOptions, caller: Caller, inline: Buffer | undefined,
): void {
  transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, number);
    for (const block of blocks) {
      references.create(block.block, block.bytes);
      if (inline !== undefined) tx.data(block.block, inline.subarray(block.offset - offset, block.offset - offset + block.bytes));
    }
    inode.allocatedBytes += replaceRange(tx, references, number, { offset, bytes }, blocks);
    inode.size = Math.max(inode.size, offset + bytes);
    inode.modified = inode.changed = now();
    if (options.killPrivileges || (inode.flags & INODE_FLAG.capability) !== 0) killPrivileges(tx, inode, { modeBits: options.killPrivileges });
    putInode(tx, inode);
  });
  if (inline === undefined) return;
  const time = performance.now();
  for (const block of blocks) {
    context.pending.add(block.block, inline.subarray(block.offset - offset, block.offset - offset + block.bytes), context.engine.lastSequence, time);
  }
}

/**
 * Sets the size inside a transaction. Bytes behind a smaller size are gone: a later growth reads zeros there. A large
 * file has to go through shrinkInSteps before.
 */
export function setSize(tx: Transaction, references: BlockReferences, inode: Inode, size: number): void {
  if (size > LIMITS.fileBytesMax) throw new FsError('EFBIG', `a file may have ${LIMITS.fileBytesMax} bytes`);
  if (size < inode.size) inode.allocatedBytes += dropRange(tx, references, inode.number, size, inode.size);
  inode.size = size;
}

/** Makes holes of [from, to), visiting only chunks that exist; returns the change of allocated bytes. */
function dropRange(tx: Transaction, references: BlockReferences, inode: InodeNumber, from: number, to: number): number {
  if (to <= from) return 0;
  if (to - from <= FEW_CHUNKS * CHUNK) return replaceRange(tx, references, inode, { offset: from, bytes: to - from }, []);
  let delta = 0;
  for (const chunk of chunksFrom(tx, inode, Math.floor(from / CHUNK), Math.ceil(to / CHUNK) - Math.floor(from / CHUNK))) {
    const start = Math.max(from, chunk * CHUNK);
    const stop = Math.min(to, (chunk + 1) * CHUNK);
    if (start >= to) break;
    delta += replaceRange(tx, references, inode, { offset: start, bytes: stop - start }, []);
  }
  return delta;
}

/** True when a change of size touches more chunks than one transaction should. */
export function isLargeShrink(inode: Inode, size: number): boolean {
  return inode.size - size > CHUNKS_PER_TRANSACTION * CHUNK;
}

/** Before a large truncation or removal: drops chunks from the end, a bounded number in each turn of the event loop. */
export async function shrinkInSteps(context: VfsContext, number: InodeNumber, size: number): Promise<void> {
  for (;;) {
    const chunks = lastChunks(context.engine.reader, number, Math.ceil(size / CHUNK), CHUNKS_PER_TRANSACTION);
    const first = chunks.at(-1);
    if (first === undefined || chunks.length < CHUNKS_PER_TRANSACTION) return;
    transactExtents(context, null, (tx, references) => {
      const inode = getInode(tx, number);
      setSize(tx, references, inode, Math.min(inode.size, first * CHUNK));
      putInode(tx, inode);
    });
    await new Promise((resolve) => { setImmediate(resolve); });
  }
}

export function fallocate(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): MaybePromise<void> {
  checkWritable(context);
  if (offset + bytes > LIMITS.fileBytesMax) throw new FsError('EFBIG');
  if (carriedOut(context, caller) !== undefined) return undefined;
  const inode = getInode(context.engine.reader, number);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  if (!isRegular(inode.mode)) throw new FsError('ENODEV');
  if (mode === 'allocate' || mode === 'keepSize') context.space.admit(bytes);
  else if (Math.min(bytes, inode.size - offset) > CHUNKS_PER_TRANSACTION * CHUNK) return punchInSteps(context, number, mode, offset, bytes, caller);
  reallocate(context, number, mode, offset, bytes, caller);
  return undefined;
}

/** Chunks that exist are visited, a bounded number in each transaction; the last one does what concerns the whole. */
async function punchInSteps(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): Promise<void> {
  const end = offset + bytes;
  let at = offset;
  for (;;) {
    const chunks = chunksFrom(context.engine.reader, number, Math.floor(at / CHUNK), CHUNKS_PER_TRANSACTION);
    const next = ((chunks.at(-1) ?? 0) + 1) * CHUNK;
    if (chunks.length < CHUNKS_PER_TRANSACTION || next >= end) break;
    reallocate(context, number, 'punchHole', at, next - at, { ...caller, requestHi: 0, requestLo: 0 });
    at = next;
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  reallocate(context, number, mode, at, end - at, caller);
}

function reallocate(context: VfsContext, number: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): void {
  transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, number);
    if (mode === 'punchHole' || mode === 'zeroRange' || mode === 'zeroRangeKeepSize') {
      inode.allocatedBytes += dropRange(tx, references, number, offset, Math.min(offset + bytes, inode.size));
    }
    if (mode === 'allocate' || mode === 'zeroRange') inode.size = Math.max(inode.size, offset + bytes);
    inode.modified = inode.changed = now();
    killPrivileges(tx, inode, { modeBits: caller.uid !== 0 });
    putInode(tx, inode);
  });
}

export function seek(context: VfsContext, number: InodeNumber, offset: number, what: 'data' | 'hole'): number {
  const inode = getInode(context.engine.reader, number);
  if (offset >= inode.size) throw new FsError('ENXIO');
  let at = offset;
  for (;;) {
    const chunks = chunksFrom(context.engine.reader, number, Math.floor(at / CHUNK), CHUNKS_PER_TRANSACTION);
    for (const chunk of chunks) {
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
    if (chunks.length < CHUNKS_PER_TRANSACTION || at >= inode.size) break;
    at = Math.max(at, ((chunks.at(-1) as number) + 1) * CHUNK);
  }
  if (what === 'data') throw new FsError('ENXIO');
  return Math.min(at, inode.size);
}

export function copyRange(
  context: VfsContext, from: { inode: InodeNumber; offset: number }, to: { inode: InodeNumber; offset: number }, bytes: number, caller: Caller,
): number {
  checkWritable(context);
  const source = getInode(context.engine.reader, from.inode);
  if (!isRegular(source.mode) || !isRegular(getInode(context.engine.reader, to.inode).mode)) throw new FsError('EINVAL');
  const length = Math.min(bytes, source.size - from.offset, CHUNKS_PER_TRANSACTION * CHUNK);
  if (length <= 0) return 0;
  if (to.offset + length > LIMITS.fileBytesMax) throw new FsError('EFBIG');
  if (from.inode === to.inode && from.offset < to.offset + length && to.offset < from.offset + length) throw new FsError('EINVAL', 'source and target overlap');
  if (carriedOut(context, caller) !== undefined) return length;
  transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, to.inode);
    const shift = to.offset - from.offset;
    const pieces = mappings(tx, from.inode, from.offset, length).map((piece) => ({ ...piece, offset: piece.offset + shift }));
    inode.allocatedBytes += replaceRange(tx, references, to.inode, { offset: to.offset, bytes: length }, pieces);
    inode.size = Math.max(inode.size, to.offset + length);
    inode.modified = inode.changed = now();
    killPrivileges(tx, inode, { modeBits: caller.uid !== 0 });
    putInode(tx, inode);
  });
  return length;
}

/** Frees an inode without names: extents, attributes, row. A large file takes many turns of the event loop. */
export function freeInode(context: VfsContext, number: InodeNumber, dropXattrs: (tx: Transaction, inode: Inode) => void): void {
  context.orphans.delete(number);
  const row = context.engine.reader.get(keys.inode(number));
  if (row === undefined) return;
  const found = decodeInode(number, row);
  if (isRegular(found.mode) && isLargeShrink(found, 0)) {
    shrinkInSteps(context, number, 0).then(() => freeRest(context, number, dropXattrs)).catch((error: unknown) => {
      context.logger.error({ err: error, inode: number }, 'a removed file could not be freed; the next mount tries again');
    });
  } else freeRest(context, number, dropXattrs);
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
