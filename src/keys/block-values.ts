// Values that lie in blocks: put before the change that names them, read from memory or from the shards.
import { assert } from '../base/assert.ts';
import { FsError } from '../base/errors.ts';
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { overlap } from '../base/overlap.ts';
import { isFull, withRoom } from '../durability/make-room.ts';
import type { WriteEra } from '../metadata/allocator.ts';
import { PRESENT, keys } from '../metadata/schema.ts';
import type { ValueBlock } from '../metadata/key-rows.ts';
import { ReopenedError, StoreError } from './errors.ts';
import type { PreparedValue } from './key-space.ts';
import type { KeyStores } from './stores.ts';
import { ValueCache, defaultCacheBytes } from './value-cache.ts';

/** Blocks of one value that are being put at once. */
const PUTS_MAX = 4;

/** Its blocks are on the shards, and no row names them yet: they are kept from being taken for garbage until it is used. */
export class BlockValue implements PreparedValue {
  readonly bytes: number;
  readonly blocks: readonly ValueBlock[];
  readonly era: WriteEra;
  /** Whose allocator keeps its blocks. */
  readonly owner: BlockValues;
  /** Its bytes, where they are few. Without a block they ride in the log. */
  readonly small: Buffer | undefined;
  used = false;

  constructor(blocks: readonly ValueBlock[], { era, owner, small }: { era: WriteEra; owner: BlockValues; small?: Buffer }) {
    this.blocks = blocks;
    this.small = small;
    this.owner = owner;
    this.bytes = blocks.reduce((sum, piece) => sum + piece.bytes, 0);
    this.era = era;
  }
}

export class BlockValues {
  readonly #stores: KeyStores;
  readonly #cache: ValueCache;

  /** `cacheBytes`: of memory for small values. */
  constructor(stores: KeyStores, cacheBytes = defaultCacheBytes()) {
    this.#stores = stores;
    this.#cache = new ValueCache(cacheBytes);
  }

  /** [offset, offset + bytes) of a value. Rejects as the block engine does. */
  read(blocks: readonly ValueBlock[], offset: number, bytes: number): Buffer | Promise<Buffer> {
    const first = blocks[0];
    if (first === undefined || bytes === 0) return Buffer.alloc(0);
    if (blocks.length === 1) return this.#readBlock(first, offset, bytes);
    const pieces: (Buffer | Promise<Buffer>)[] = [];
    let at = 0;
    for (const piece of blocks) {
      const from = Math.max(offset, at);
      const to = Math.min(offset + bytes, at + piece.bytes);
      if (from < to) pieces.push(this.#readBlock(piece, from - at, to - from));
      at += piece.bytes;
    }
    return Promise.all(pieces).then((all) => (all.length === 1 ? all[0]! : Buffer.concat(all)));
  }

  #readBlock(piece: ValueBlock, offset: number, bytes: number): Buffer | Promise<Buffer> {
    const isSmall = piece.bytes <= LIMITS.inlineBytesMax;
    const held = isSmall ? this.#cache.get(piece.block, offset, bytes) ?? this.#riding(piece.block, offset, bytes) : undefined;
    if (held !== undefined) return held;
    const read = this.#stores.blocks.get(piece.block, isSmall ? 0 : offset, isSmall ? piece.bytes : bytes);
    return read.then((parts) => {
      const whole = joined(parts);
      if (!isSmall) return whole;
      this.#cache.add(piece.block, whole);
      // Not with the whole frame in which it came.
      return Buffer.from(whole.subarray(offset, offset + bytes));
    });
  }

  #riding(id: BlockId, offset: number, bytes: number): Buffer | undefined {
    const data = this.#stores.pending.get(id);
    return data === undefined ? undefined : Buffer.from(data.subarray(offset, offset + bytes));
  }

  /** A small value is read from memory from now on, in place of the one that it replaces. */
  keep(id: BlockId, value: Buffer, replaced: BlockId | undefined): void {
    this.#cache.add(id, value, replaced);
  }

  /** No row names it any more. */
  forget(id: BlockId): void {
    this.#cache.delete(id);
  }

  /** Puts a value on the shards. StoreError TOO_LARGE, FULL, UNAVAILABLE, INVALID for a stream of something else than bytes. */
  put(value: Buffer | AsyncIterable<Uint8Array>): Promise<BlockValue> {
    return Buffer.isBuffer(value) && value.length > 0 && value.length <= LIMITS.inlineBytesMax ? this.#putSmall(value) : this.#putBlocks(value);
  }

  async #putSmall(value: Buffer): Promise<BlockValue> {
    const { allocator, logger } = this.#stores;
    const made = this.#begun(value);
    try {
      await this.#putOrMakeRoom(made.blocks[0]!.block, value);
      return made;
    } catch (error) {
      this.discard(made);
      if (isFull(error)) throw asStoreError(error);
      logger.debug({ err: error, bytes: value.length }, 'the shards do not take a small value now: it rides in the log');
      return new BlockValue([], { era: allocator.beginWrite(), owner: this, small: value });
    }
  }

  #begun(value: Buffer): BlockValue {
    const { allocator } = this.#stores;
    const era = allocator.beginWrite();
    try {
      return new BlockValue([{ block: allocator.block(), bytes: value.length }], { era, owner: this, small: value });
    } catch (error) {
      allocator.endWrite(era);
      throw asStoreError(error);
    }
  }

  async #putBlocks(value: Buffer | AsyncIterable<Uint8Array>): Promise<BlockValue> {
    const era = this.#stores.allocator.beginWrite();
    const blocks: ValueBlock[] = [];
    const put = async (data: Buffer): Promise<void> => {
      const piece = { block: this.#stores.allocator.block(), bytes: data.length };
      blocks.push(piece);
      await this.#putOrMakeRoom(piece.block, data);
    };
    try {
      await overlap(this.#blocksOf(value), { atOnce: PUTS_MAX, work: put });
    } catch (error) {
      this.discard(new BlockValue(blocks, { era, owner: this }));
      throw asStoreError(error);
    }
    return new BlockValue(blocks, { era, owner: this });
  }

  /** Of one that no row will name. */
  discard(value: BlockValue): void {
    if (value.used) return;
    // Its volume was opened anew: what no row names then is collected.
    if (value.owner !== this) return value.owner.markUsed(value);
    const { engine, logger } = this.#stores;
    try {
      if (value.blocks.length > 0) engine.transact(null, (tx) => {
        for (const { block } of value.blocks) tx.put(keys.garbage(block), PRESENT);
      });
    } catch (error) {
      logger.warn({ err: error, blocks: value.blocks.length }, 'blocks of a value that was not set stay on the disks until they are collected');
    }
    this.markUsed(value);
  }

  /** ReopenedError for a value that was put before the volume was opened anew: its blocks may be collected at any time. */
  checkKept(value: BlockValue): void {
    if (value.owner !== this) throw new ReopenedError();
  }

  /** A row names its blocks now, or never will. */
  markUsed(value: BlockValue): void {
    assert(!value.used, 'a prepared value is used once');
    value.used = true;
    this.#stores.allocator.endWrite(value.era);
  }

  /** Who replaces values fills the disks with the old ones, faster than they are collected in the background. */
  #putOrMakeRoom(id: BlockId, data: Buffer): void | Promise<void> {
    const { blocks, space } = this.#stores;
    return withRoom(this.#stores, () => {
      space.admit(data.length);
      return blocks.put(id, [data]);
    });
  }

  /** Pieces of the size of a block, each a Buffer of its own. */
  async *#blocksOf(value: Buffer | AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    const { blockBytes } = this.#stores;
    if (Buffer.isBuffer(value)) {
      checkValueBytes(value.length);
      for (let at = 0; at < value.length; at += blockBytes) yield value.subarray(at, at + blockBytes);
      return;
    }
    let bytes = 0;
    let parts: Uint8Array[] = [];
    let partBytes = 0;
    for await (const part of value) {
      if (!(part instanceof Uint8Array)) throw new StoreError('INVALID', `a stream of bytes gave ${part === null ? 'null' : typeof part}`);
      bytes += part.length;
      checkValueBytes(bytes);
      parts.push(part);
      partBytes += part.length;
      if (partBytes < blockBytes) continue;
      const whole = Buffer.concat(parts);
      let at = 0;
      for (; whole.length - at >= blockBytes; at += blockBytes) yield whole.subarray(at, at + blockBytes);
      parts = at < whole.length ? [whole.subarray(at)] : [];
      partBytes = whole.length - at;
    }
    if (partBytes > 0) yield Buffer.concat(parts);
  }
}

function checkValueBytes(bytes: number): void {
  if (bytes > LIMITS.valueBytesMax) throw new StoreError('TOO_LARGE', `a value of ${bytes} bytes or more; ${LIMITS.valueBytesMax} are allowed`);
}

function joined(parts: readonly Uint8Array[]): Buffer {
  const [only] = parts;
  if (parts.length === 1) return Buffer.from(only!.buffer, only!.byteOffset, only!.byteLength);
  return Buffer.concat(parts);
}

export function asStoreError(error: unknown): Error {
  if (!(error instanceof FsError)) return error as Error;
  if (error.code === 'ENOSPC') return new StoreError('FULL', `the store is full (${error.message}): delete something, or add a disk`, { cause: error });
  return new StoreError('UNAVAILABLE', `the shards cannot do it now: ${error.message}`, { cause: error });
}
