// Rewrites chunks of files that were chopped into many extents: neighbouring small pieces become one block.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { isSparse, mappings, replaceRange } from '../metadata/extents.ts';
import type { ChunkName, CrowdedChunk, Mapping } from '../metadata/extents.ts';
import { decodeInode, keys } from '../metadata/schema.ts';
import { putInode } from './context.ts';
import { forgetBlocks, readMapped } from './data.ts';
import { transactExtents } from './extent-transaction.ts';
import type { PendingBlocks } from './pending.ts';

const CHUNK = LIMITS.fileChunkBytes;
/** Pieces at least this long are left alone: what is merged once is not merged again and again. */
const PIECE_BYTES_SMALL = 64 * 1024;
const CHUNKS_PER_RUN = 32;
/** Rewriting covers what was covered: nothing that is set aside is used by it. */
const UNTOUCHED = { reservedBytes: 0 };

export class Compactor {
  readonly #engine: MetadataEngine;
  readonly #blocks: BlockEngine;
  readonly #pending: PendingBlocks;
  readonly #allocator: Allocator;
  readonly #logger: Logger;
  /** By "inode:chunk", with the number of extents last seen. */
  readonly #crowded = new Map<string, CrowdedChunk>();
  readonly #urgent = new Map<string, Promise<void>>();

  constructor(parts: { engine: MetadataEngine; blocks: BlockEngine; pending: PendingBlocks; allocator: Allocator; logger: Logger }) {
    this.#engine = parts.engine;
    this.#blocks = parts.blocks;
    this.#pending = parts.pending;
    this.#allocator = parts.allocator;
    this.#logger = parts.logger;
  }

  /** A write left this chunk with too many extents. */
  note(chunk: CrowdedChunk): void {
    const name = nameOf(chunk);
    const room = this.#crowded.size < LIMITS.crowdedChunksMax || this.#crowded.has(name) || chunk.extents >= LIMITS.chunkExtentsHard;
    if (room) this.#crowded.set(name, chunk);
  }

  /** A promise to wait for before writing to the range, when one of its chunks has more extents than a row may have. */
  hardCrowded(inode: InodeNumber, offset: number, bytes: number): Promise<void> | undefined {
    if (this.#crowded.size === 0) return undefined;
    for (let chunk = Math.floor(offset / CHUNK); chunk * CHUNK < offset + bytes; chunk++) {
      const name = nameOf({ inode, chunk });
      if ((this.#crowded.get(name)?.extents ?? 0) < LIMITS.chunkExtentsHard) continue;
      let urgent = this.#urgent.get(name);
      if (urgent === undefined) {
        urgent = this.#rewrite({ inode, chunk }).finally(() => this.#urgent.delete(name));
        this.#urgent.set(name, urgent);
      }
      return urgent;
    }
    return undefined;
  }

  /** Rewrites some of the crowded chunks, one after the other. Failures are logged: the chunk stays as it is. */
  async run(): Promise<void> {
    for (const chunk of [...this.#crowded.values()].slice(0, CHUNKS_PER_RUN)) {
      try {
        await this.#rewrite(chunk);
      } catch (error) {
        this.#crowded.delete(nameOf(chunk));
        this.#logger.warn({ err: error, inode: chunk.inode, chunk: chunk.chunk }, 'a chunk could not be rewritten');
      }
    }
  }

  async #rewrite(chunk: ChunkName): Promise<void> {
    this.#crowded.delete(nameOf(chunk));
    const key = keys.extents(chunk.inode, chunk.chunk);
    const before = this.#engine.reader.get(key);
    if (before === undefined) return;
    const snapshot = Buffer.from(before);
    const { reader } = this.#engine;
    const runs = runsToMerge(mappings(reader, chunk.inode, chunk.chunk * CHUNK, CHUNK), (block) => isSparse(reader, block));
    const made: Mapping[] = [];
    let swapped = false;
    const era = this.#allocator.beginWrite();
    try {
      for (const run of runs) {
        const piece: Mapping = { ...run, block: this.#allocator.block(), blockOffset: 0 };
        made.push(piece);
        await this.#blocks.put(piece.block, await readMapped({ engine: this.#engine, blocks: this.#blocks, pending: this.#pending }, { number: chunk.inode }, run.offset, run.bytes, 1));
      }
      swapped = this.#swap(chunk, key, snapshot, made);
    } finally {
      if (!swapped && made.length > 0) forgetBlocks({ engine: this.#engine, logger: this.#logger }, made);
      this.#allocator.endWrite(era);
    }
  }

  /** Puts the new blocks in place of what they copied; false when the chunk was changed meanwhile. */
  #swap(chunk: ChunkName, key: Buffer, snapshot: Buffer, made: readonly Mapping[]): boolean {
    return transactExtents({ engine: this.#engine, pending: this.#pending, compactor: this, space: UNTOUCHED }, null, (tx, references) => {
      const row = tx.get(keys.inode(chunk.inode));
      if (row === undefined) return false;
      const inode = decodeInode(chunk.inode, row);
      if (tx.get(key)?.equals(snapshot) !== true) return false;
      for (const piece of made) {
        references.create(piece.block, piece.bytes);
        inode.allocatedBytes += replaceRange(tx, references, chunk.inode, { offset: piece.offset, bytes: piece.bytes }, [piece]);
      }
      putInode(tx, inode);
      return true;
    });
  }
}

function nameOf(chunk: ChunkName): string {
  return `${chunk.inode}:${chunk.chunk}`;
}

/** Runs of neighbouring small pieces, at least two, and pieces of blocks that are mostly dead. */
function runsToMerge(pieces: readonly Mapping[], isSparseBlock: (block: BlockId) => boolean): { offset: number; bytes: number }[] {
  const runs: { offset: number; bytes: number; count: number; sparse: boolean }[] = [];
  for (const piece of pieces) {
    const sparse = isSparseBlock(piece.block);
    if (piece.bytes >= PIECE_BYTES_SMALL && !sparse) continue;
    const last = runs[runs.length - 1];
    if (last !== undefined && last.offset + last.bytes === piece.offset) {
      last.bytes += piece.bytes;
      last.count++;
      last.sparse ||= sparse;
    } else runs.push({ offset: piece.offset, bytes: piece.bytes, count: 1, sparse });
  }
  return runs.filter((run) => run.count > 1 || run.sparse).map(({ offset, bytes }) => ({ offset, bytes }));
}
