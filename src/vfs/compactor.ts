// Rewrites chunks of files that were chopped into many extents: neighbouring small pieces become one block.
import type { BlockEngine } from '../blocks/block-engine.ts';
import { FailureLog } from '../base/failure-log.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { isSparse, mappings } from '../metadata/extents.ts';
import type { ChunkName, CrowdedChunk, Mapping } from '../metadata/extents.ts';
import { replaceInFile } from '../metadata/reservations.ts';
import { decodeInode, keys } from '../metadata/schema.ts';
import { putInode } from './context.ts';
import { forgetBlocks, readMapped } from './data.ts';
import { transactExtents } from './extent-transaction.ts';
import type { PendingBlocks } from '../durability/pending.ts';

const CHUNK = LIMITS.fileChunkBytes;
/** Pieces at least this long are left alone: what is merged once is not merged again and again. */
const PIECE_BYTES_SMALL = 64 * 1024;
const CHUNKS_PER_RUN = 32;
const PAGE_BYTES = 4096;
/** A chunk with more pieces than pages has holes that no local file system keeps: those without a whole page become zeros. */
const BRIDGED_EXTENTS_MIN = CHUNK / PAGE_BYTES;

export class Compactor {
  readonly #engine: MetadataEngine;
  readonly #blocks: BlockEngine;
  readonly #pending: PendingBlocks;
  readonly #allocator: Allocator;
  readonly #space: { reservedBytes: number };
  readonly #logger: Logger;
  readonly #failures: FailureLog;
  /** By "inode:chunk", with the number of extents last seen. */
  readonly #crowded = new Map<string, CrowdedChunk>();
  readonly #urgent = new Map<string, Promise<void>>();

  constructor(parts: { engine: MetadataEngine; blocks: BlockEngine; pending: PendingBlocks; allocator: Allocator; space: { reservedBytes: number }; logger: Logger }) {
    this.#engine = parts.engine;
    this.#blocks = parts.blocks;
    this.#pending = parts.pending;
    this.#allocator = parts.allocator;
    this.#space = parts.space;
    this.#logger = parts.logger;
    this.#failures = new FailureLog(parts.logger);
  }

  /** A change left this chunk with too many extents, or (`extents` 0) with little use of a block. */
  note(chunk: CrowdedChunk): void {
    const name = nameOf(chunk);
    const known = this.#crowded.get(name);
    const room = this.#crowded.size < LIMITS.crowdedChunksMax || known !== undefined || chunk.extents >= LIMITS.chunkExtentsHard;
    if (room && (known === undefined || chunk.extents > 0)) this.#crowded.set(name, chunk);
  }

  /**
   * A promise to wait for before changing the range, when one of its chunks has more extents than a row should have. Never
   * rejects: the change may be tried whatever became of the chunk.
   */
  hardCrowded(inode: InodeNumber, offset: number, bytes: number): Promise<void> | undefined {
    if (this.#crowded.size === 0) return undefined;
    for (let chunk = Math.floor(offset / CHUNK); chunk * CHUNK < offset + bytes; chunk++) {
      const name = nameOf({ inode, chunk });
      if ((this.#crowded.get(name)?.extents ?? 0) < LIMITS.chunkExtentsHard) continue;
      let urgent = this.#urgent.get(name);
      if (urgent === undefined) {
        urgent = this.#tryRewrite({ inode, chunk }).finally(() => this.#urgent.delete(name));
        this.#urgent.set(name, urgent);
      }
      return urgent;
    }
    return undefined;
  }

  /** Rewrites some of the crowded chunks, one after the other. Failures are logged: the chunk stays as it is. */
  async run(): Promise<void> {
    for (const chunk of [...this.#crowded.values()].slice(0, CHUNKS_PER_RUN)) await this.#tryRewrite(chunk);
  }

  async #tryRewrite(chunk: ChunkName): Promise<void> {
    try {
      await this.#rewrite(chunk);
    } catch (error) {
      this.#failures.report({ operation: 'rewriting a chunk', inode: chunk.inode }, error);
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
    return transactExtents({ engine: this.#engine, pending: this.#pending, compactor: this, space: this.#space }, null, (tx, references) => {
      const row = tx.get(keys.inode(chunk.inode));
      if (row === undefined) return false;
      const inode = decodeInode(chunk.inode, row);
      if (tx.get(key)?.equals(snapshot) !== true) return false;
      for (const piece of made) {
        references.create(piece.block, piece.bytes);
        replaceInFile(tx, references, inode, { offset: piece.offset, bytes: piece.bytes }, [piece]);
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
  const isBridged = pieces.length > BRIDGED_EXTENTS_MIN;
  for (const piece of pieces) {
    const sparse = isSparseBlock(piece.block);
    if (piece.bytes >= PIECE_BYTES_SMALL && !sparse) continue;
    const last = runs[runs.length - 1];
    const end = last === undefined ? 0 : last.offset + last.bytes;
    if (last !== undefined && (end === piece.offset || (isBridged && !hasWholePage(end, piece.offset)))) {
      last.bytes = piece.offset + piece.bytes - last.offset;
      last.count++;
      last.sparse ||= sparse;
    } else runs.push({ offset: piece.offset, bytes: piece.bytes, count: 1, sparse });
  }
  return runs.filter((run) => run.count > 1 || run.sparse).map(({ offset, bytes }) => ({ offset, bytes }));
}

function hasWholePage(from: number, to: number): boolean {
  return Math.ceil(from / PAGE_BYTES) + 1 <= Math.floor(to / PAGE_BYTES);
}
