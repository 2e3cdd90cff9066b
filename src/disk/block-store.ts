// The blocks of one disk: stored, read, forgotten, listed. A block is process-proof when put() resolves.
//
// A put is a write at the end of a segment and a row in the index. Rows of one turn of the loop share a transaction:
// it costs as much as the rest of a small put, and nobody is told before it is committed.
import { join } from 'node:path';
import { assert, AssertionError } from '../base/assert.ts';
import { formatBlockId } from '../base/ids.ts';
import type { BlockId, Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { BlockPieces, BlockPut } from '../ipc/messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { BlockClass } from './block-format.ts';
import { classOf, encodeBlockHeader, layoutOf } from './block-format.ts';
import type { BlockIndex, BlockLocation } from './block-index.ts';
import { BlockReader } from './block-reader.ts';
import { openBlocks } from './block-recovery.ts';
import { BlockUpkeep } from './block-upkeep.ts';
import { BlockVerifier } from './block-verify.ts';
import { diskError } from './disk-error.ts';
import type { DiskSpace } from './disk-space.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

export interface BlockStoreOptions {
  /** The disk; the blocks are in blocks/ and index/ below it. */
  readonly directory: string;
  readonly volume: Uuid;
  readonly space: DiskSpace;
  /** Whether the last process ended cleanly, or on this boot: else the index is made anew. */
  readonly trusted: boolean;
  /** Nothing that the last process left is in memory only; else what it did not sync is written anew. */
  readonly allOnDisk?: boolean | undefined;
  readonly log: Logger;
  readonly segmentBytes?: number | undefined;
  /** Called again and again while the index is made anew, which reads a header for each block. */
  readonly onProgress?: (() => void) | undefined;
  /** Called when dead blocks cannot be cleared away. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

/** A row of the index that is still to be written. */
type Change =
  | { readonly kind: 'put'; readonly id: BlockId; readonly location: BlockLocation; readonly checksums: Uint32Array }
  | { readonly kind: 'delete'; readonly id: BlockId };

export class BlockStore {
  readonly #volume: Buffer;
  readonly #space: DiskSpace;
  readonly #index: BlockIndex;
  readonly #segments: SegmentSet;
  readonly #reader: BlockReader;
  readonly #upkeep: BlockUpkeep;
  /** Made at the first use: it has a large buffer. */
  #verifier: BlockVerifier | undefined;
  #putNumber: number;
  /** Blocks were put here that are not there any more, and were not synced: the next sync says so, once. */
  #lost = false;
  /** In order; committed together at the end of the turn, or before the index is read. */
  #changes: Change[] = [];
  #committed: Commit | undefined;

  private constructor(options: BlockStoreOptions, index: BlockIndex, segments: SegmentSet) {
    this.#volume = Buffer.from(options.volume, 'hex');
    this.#space = options.space;
    this.#index = index;
    this.#segments = segments;
    this.#putNumber = index.putNumber;
    this.#reader = new BlockReader(segments);
    this.#upkeep = new BlockUpkeep({ index, segments, log: options.log, settle: () => this.#commit(), onFailure: options.onFailure });
  }

  /** FormatError when the segments are a newer version's; errors of `fs`. */
  static async open(options: BlockStoreOptions): Promise<BlockStore> {
    const { index, segments, lost } = await openBlocks({
      segmentDirectory: join(options.directory, 'blocks'),
      indexDirectory: join(options.directory, 'index'),
      volume: options.volume,
      segmentBytes: options.segmentBytes ?? LIMITS.segmentBytes,
      trusted: options.trusted,
      allOnDisk: options.allOnDisk ?? false,
      log: options.log,
      onProgress: options.onProgress,
    });
    const store = new BlockStore(options, index, segments);
    store.#lost = lost;
    store.#upkeep.poke();
    return store;
  }

  /** Bytes that blocks take, live and dead. */
  get blockBytes(): number {
    let sum = 0;
    for (const segment of this.#segments.all()) sum += segment.end - segment.punchedBytes;
    return sum;
  }

  get blockCount(): number {
    this.#commit();
    return this.#index.blockCount;
  }

  /**
   * Stores blocks; one that is here already is replaced. The bytes are taken before it returns. WorkerError:
   * 'noSpace' and then none is stored, 'readOnly', 'diskFailure', 'badRequest'.
   */
  put(blocks: readonly BlockPut[]): Promise<void> {
    const large: Placed[] = [];
    const small: Placed[] = [];
    let bytes = 0;
    for (const put of blocks) {
      const blockBytes = put.data.reduce((sum, piece) => sum + piece.length, 0);
      if (blockBytes === 0 || blockBytes > LIMITS.blockBytesMax || put.checksums.length !== Math.ceil(blockBytes / LIMITS.checksumBytes)) {
        throw new WorkerError('badRequest', `block ${formatBlockId(put.id)} has ${blockBytes} bytes and ${put.checksums.length} checksums`);
      }
      bytes += layoutOf(blockBytes).recordBytes;
      (classOf(blockBytes) === 'large' ? large : small).push({ put, blockBytes });
    }
    const changes: Change[] = [];
    try {
      this.#space.take(bytes);
      this.#append('large', large, changes);
      this.#append('small', small, changes);
    } catch (error) {
      this.#withdraw(changes);
      throw diskError(error, 'blocks cannot be stored');
    }
    this.#changes.push(...changes);
    return this.#commitSoon();
  }

  /** Writes records behind one another, with one system call for each segment that takes some. */
  #append(blockClass: BlockClass, blocks: readonly Placed[], changes: Change[]): void {
    let from = 0;
    while (from < blocks.length) {
      const segment = this.#segments.roomFor(blockClass, layoutOf(blocks[from]!.blockBytes).recordBytes);
      const pieces: Uint8Array[] = [];
      let bytes = 0;
      do {
        const { put, blockBytes } = blocks[from]!;
        const { recordBytes } = layoutOf(blockBytes);
        changes.push({ kind: 'put', id: put.id, location: { segment: segment.number, offset: segment.end + bytes, blockBytes }, checksums: put.checksums });
        this.#encode(pieces, put, blockBytes);
        bytes += recordBytes;
        from++;
      } while (from < blocks.length && this.#segments.fits(segment, bytes + layoutOf(blocks[from]!.blockBytes).recordBytes));
      this.#segments.append(segment, pieces, bytes);
    }
  }

  /** Gives back the space of records that did not get into the index; they are the last ones of their segments. */
  #withdraw(changes: readonly Change[]): void {
    const ends = new Map<number, number>();
    for (const change of changes) {
      if (change.kind === 'put' && !ends.has(change.location.segment)) ends.set(change.location.segment, change.location.offset);
    }
    for (const [number, end] of ends) this.#segments.cut(this.#segments.get(number), end);
  }

  #encode(pieces: Uint8Array[], put: BlockPut, blockBytes: number): void {
    const { dataOffset, recordBytes } = layoutOf(blockBytes);
    const block = { volume: this.#volume, id: put.id, blockBytes, checksums: put.checksums, number: ++this.#putNumber };
    if (classOf(blockBytes) === 'small') {
      // Copied: cheaper than a vector of small pieces.
      const record = Buffer.allocUnsafe(recordBytes);
      encodeBlockHeader(record, 0, block);
      let at = dataOffset;
      for (const piece of put.data) {
        record.set(piece, at);
        at += piece.length;
      }
      record.fill(0, at);
      pieces.push(record);
      return;
    }
    const header = Buffer.allocUnsafe(dataOffset);
    encodeBlockHeader(header, 0, block);
    pieces.push(header, ...put.data);
    const padding = recordBytes - dataOffset - blockBytes;
    if (padding > 0) pieces.push(Buffer.alloc(padding));
  }

  /**
   * Pieces of a block, unverified. `data` is valid until the next read: a promise's until the microtasks that follow
   * it are done.
   * WorkerError: 'notFound', 'badRequest' (no such pieces), 'damaged', 'diskFailure'.
   */
  read(id: BlockId, firstPiece: number, pieceCount: number): BlockPieces | Promise<BlockPieces> {
    this.#commit();
    const found = this.#index.getPieces(id, firstPiece, pieceCount);
    if (found === undefined) throw new WorkerError('notFound', `block ${formatBlockId(id)} is not here`);
    const { blockBytes, checksums } = found;
    if (checksums.length !== pieceCount || pieceCount === 0) throw new WorkerError('badRequest', `block ${formatBlockId(id)} of ${blockBytes} bytes has no pieces ${firstPiece} to ${firstPiece + pieceCount - 1}`);
    const start = firstPiece * LIMITS.checksumBytes;
    const bytes = Math.min(blockBytes, start + pieceCount * LIMITS.checksumBytes) - start;
    const offset = found.offset + layoutOf(blockBytes).dataOffset + start;
    const failed = (error: unknown): never => {
      throw diskError(error, `block ${formatBlockId(id)} cannot be read`);
    };
    try {
      const segment = this.#segments.find(found.segment);
      if (segment === undefined) throw new WorkerError('damaged', `block ${formatBlockId(id)} should be in segment ${found.segment}, which is not here`);
      const data = this.#reader.read(segment, offset, bytes);
      return data instanceof Promise ? data.then((late) => ({ blockBytes, checksums, data: late }), failed) : { blockBytes, checksums, data };
    } catch (error) {
      return failed(error);
    }
  }

  /** Reads blocks back from the disk: one byte of COPY_STATE each. */
  verify(ids: readonly BlockId[]): Promise<Buffer> {
    this.#verifier ??= new BlockVerifier({
      segments: this.#segments,
      volume: this.#volume,
      locate: (id) => {
        this.#commit();
        return this.#index.getPieces(id, 0, LIMITS.blockBytesMax / LIMITS.checksumBytes);
      },
    });
    return this.#verifier.verify(ids);
  }

  /** Forgets blocks; ids that are not here are no error. */
  delete(ids: readonly BlockId[]): Promise<void> {
    for (const id of ids) this.#changes.push({ kind: 'delete', id });
    return this.#commitSoon();
  }

  /** One byte for each id: 1 when it is here. */
  has(ids: readonly BlockId[]): Buffer {
    this.#commit();
    const present = Buffer.alloc(ids.length);
    for (let index = 0; index < ids.length; index++) if (this.#index.get(ids[index]!) !== undefined) present[index] = 1;
    return present;
  }

  /** Up to `limit` blocks with ids greater than `after`, in order. */
  list(after: BlockId | null, limit: number): { id: BlockId; bytes: number }[] {
    this.#commit();
    return this.#index.list(after, limit);
  }

  /** Everything put before is power-proof when it resolves. WorkerError 'diskFailure', and then for good; 'damaged' when something was lost before. */
  async sync(): Promise<void> {
    if (this.#lost) {
      this.#lost = false;
      throw new WorkerError('damaged', 'blocks that the last process had not synced are lost');
    }
    try {
      await this.#segments.sync();
    } catch (error) {
      throw diskError(error, 'blocks cannot be synced');
    }
  }

  /** The next process makes the index anew, if that can still be noted. */
  distrust(): void {
    this.#index.distrust();
  }

  /** Synced, index and all, and closed. Every step is taken; the first failure is thrown. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of [() => this.#commit(), () => this.#upkeep.stop(), () => this.#segments.sync(), () => this.#segments.close(), () => this.#index.close()]) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  #commitSoon(): Promise<void> {
    if (this.#committed === undefined) {
      this.#committed = newCommit();
      setImmediate(() => this.#commit());
    }
    return this.#committed.promise;
  }

  /** Does what is pending; a failure is told to those who wait for it, and leaves index and counts as they were. */
  #commit(): void {
    const waiting = this.#committed;
    if (waiting === undefined) return;
    this.#committed = undefined;
    const changes = this.#changes;
    this.#changes = [];
    try {
      this.#apply(changes);
      waiting.resolve();
    } catch (error) {
      // What does not add up came from the index.
      waiting.reject(error instanceof AssertionError ? this.#index.damaged(error) : diskError(error, 'the block index cannot be written'));
      this.#withdraw(changes);
    }
  }

  #apply(changes: readonly Change[]): void {
    const liveBytes = new Map<BlockSegment, number>();
    const count = (number: number, bytes: number): void => {
      const segment = this.#segments.get(number);
      liveBytes.set(segment, (liveBytes.get(segment) ?? segment.liveBytes) + bytes);
    };
    let dead = false;
    this.#index.transactAgain(() => {
      liveBytes.clear();
      this.#index.putNumber = this.#putNumber;
      for (const change of changes) {
        const before = this.#index.get(change.id);
        if (before !== undefined) {
          count(before.segment, -layoutOf(before.blockBytes).recordBytes);
          this.#index.addDead(before);
          dead = true;
          if (change.kind === 'delete') this.#index.remove(change.id);
          else this.#upkeep.replaced();
        }
        if (change.kind === 'put') {
          count(change.location.segment, layoutOf(change.location.blockBytes).recordBytes);
          this.#index.put(change.id, change.location, change.checksums);
        }
      }
      for (const segment of this.#segments.unnoted) count(segment.number, 0);
      for (const [segment, bytes] of liveBytes) {
        assert(bytes >= 0, `segment ${segment.number} has live bytes: ${bytes}`);
        this.#index.putSegment({ number: segment.number, class: segment.class, end: segment.end, liveBytes: bytes, punchedBytes: segment.punchedBytes, synced: segment.synced });
      }
    }, changes.length);
    this.#segments.unnoted.clear();
    for (const [segment, bytes] of liveBytes) segment.liveBytes = bytes;
    if (dead) this.#upkeep.poke();
  }
}

/** The next commit, for all who wait for it. */
interface Commit {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

function newCommit(): Commit {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // The one who asked may not be waiting yet when a reader makes the commit.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}

interface Placed {
  readonly put: BlockPut;
  readonly blockBytes: number;
}
