// File bytes: read and write.
import { isDeepStrictEqual } from 'node:util';
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import { mappings } from '../metadata/extents.ts';
import type { Mapping } from '../metadata/extents.ts';
import { replaceInFile, reservedWithin } from '../metadata/reservations.ts';
import { INODE_FLAG, PRESENT, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { carriedOut, checkWritable, getInode, isDirectory, noteAccess, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import type { Caller, MaybePromise, Pieces, ReadOptions, WriteOptions } from './filesystem.ts';
import { transactExtents } from './extent-transaction.ts';
import { isFull, whenThereIsRoom, withRoom } from '../durability/make-room.ts';
import { killPrivileges } from './privileges.ts';

const ZEROS = Buffer.alloc(LIMITS.requestBytesMax);
/** A block may be deleted under a reader that looked its extents up before: it looks again, this often. */
const READ_ATTEMPTS = 3;

export function read(context: VfsContext, number: InodeNumber, offset: number, bytes: number, options?: ReadOptions): MaybePromise<Pieces> {
  const inode = getInode(context.engine.reader, number);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  if (options?.keepAccessTime !== true) noteAccess(context, inode);
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
    try {
      writeInline(context, number, offset, data, options, caller);
    } catch (error) {
      if (!isFull(error)) throw error;
      return whenThereIsRoom(context, error, () => writeInline(context, number, offset, data, options, caller)).then(() => acknowledge(context, data, options));
    }
    return acknowledge(context, data, options);
  }
  return writeBlocksWithRoom(context, number, offset, data, options, caller);
}

/** A sync that fails is no reason to write again: the write is done, and may be followed by others by now. */
function acknowledge(context: VfsContext, data: Buffer, options: WriteOptions): MaybePromise<number> {
  return options.durability === 'process' ? data.length : context.durability.sync().then(() => data.length);
}

/** The workers are behind, or away: a bounded wait for them, and an error when it does not help. */
async function writeAfterDrain(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): Promise<number> {
  await context.durability.drain();
  if (context.engine.journalBytes > LIMITS.journalBytesHard) throw new FsError('ENOSPC', 'the journal is full, and the disks do not take it');
  return write(context, number, offset, data, options, caller);
}

function writeInline(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): void {
  admitWrite(context, number, offset, data.length);
  const copy = Buffer.from(data);
  const blocks = splitAtBlocks(context, offset, data.length);
  commitWrite(context, number, offset, data.length, blocks, options, caller, copy);
  context.durability.relievePressure();
}

function admitWrite(context: VfsContext, number: InodeNumber, offset: number, bytes: number): void {
  context.space.admit(bytes, () => reservedWithin(context.engine.reader, getInode(context.engine.reader, number), { offset, bytes }));
}

/** Who writes over the same bytes fills the disks with what he replaced, faster than it is collected in the background. */
async function writeBlocksWithRoom(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): Promise<number> {
  await withRoom(context, () => writeBlocks(context, number, offset, data, options, caller));
  return acknowledge(context, data, options);
}

async function writeBlocks(context: VfsContext, number: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): Promise<void> {
  // Without anything set aside the disks themselves say when they are full.
  if (context.space.reservedBytes > 0) admitWrite(context, number, offset, data.length);
  const blocks = splitAtBlocks(context, offset, data.length);
  const era = context.allocator.beginWrite();
  try {
    await context.blocks.putMany(blocks.map((block) => ({ id: block.block, data: [data.subarray(block.offset - offset, block.offset - offset + block.bytes)] })));
    commitWrite(context, number, offset, data.length, blocks, options, caller, undefined);
  } catch (error) {
    forgetBlocks(context, blocks);
    throw error;
  } finally {
    context.allocator.endWrite(era);
  }
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
    replaceInFile(tx, references, inode, { offset, bytes }, blocks);
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
