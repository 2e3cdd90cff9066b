// Rewrites chunks of files that were chopped into many extents: neighbouring small pieces become one block.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { BlockReferences, mappings, replaceRange } from '../metadata/extents.ts';
import type { ChunkName, Mapping } from '../metadata/extents.ts';
import { decodeInode, keys } from '../metadata/schema.ts';
import { putInode } from './context.ts';
import { readMapped } from './data.ts';
import type { PendingBlocks } from './pending.ts';

const CHUNK = LIMITS.fileChunkBytes;
/** Pieces at least this long are left alone: what is merged once is not merged again and again. */
const PIECE_BYTES_SMALL = 64 * 1024;
const CHUNKS_PER_RUN = 32;

export class Compactor {
  readonly #engine: MetadataEngine;
  readonly #blocks: BlockEngine;
  readonly #pending: PendingBlocks;
  readonly #allocator: Allocator;
  readonly #logger: Logger;
  /** By "inode:chunk", with the number of extents last seen. */
  readonly #crowded = new Map<string, ChunkName & { readonly extents: number }>();
  readonly #urgent = new Map<string, Promise<void>>();

  constructor(parts: { engine: MetadataEngine; blocks: BlockEngine; pending: PendingBlocks; allocator: Allocator; logger: Logger }) {
    this.#engine = parts.engine;
    this.#blocks = parts.blocks;
    this.#pending = parts.pending;
    this.#allocator = parts.allocator;
    this.#logger = parts.logger;
  }

  /** A write left this chunk with too many extents. */
  note(chunk: ChunkName & { readonly extents: number }): void {
    if (this.#crowded.size < LIMITS.crowdedChunksMax) this.#crowded.set(nameOf(chunk), chunk);
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
    const runs = smallRuns(mappings(this.#engine.reader, chunk.inode, chunk.chunk * CHUNK, CHUNK));
    const made: Mapping[] = [];
    for (const run of runs) {
      const data = await readMapped({ engine: this.#engine, blocks: this.#blocks, pending: this.#pending }, { number: chunk.inode }, run.offset, run.bytes, 1);
      const block = this.#allocator.block();
      await this.#blocks.put(block, data);
      made.push({ ...run, block, blockOffset: 0 });
    }
    const freed = this.#swap(chunk, key, snapshot, made);
    if (freed === undefined) await this.#blocks.delete(made.map((piece) => piece.block));
    else for (const block of freed) this.#pending.drop(block);
  }

  /** Puts the new blocks in place of what they copied; undefined when the chunk was changed meanwhile. */
  #swap(chunk: ChunkName, key: Buffer, snapshot: Buffer, made: readonly Mapping[]): BlockId[] | undefined {
    return this.#engine.transact(null, (tx) => {
      const row = tx.get(keys.inode(chunk.inode));
      if (row === undefined) return undefined;
      const inode = decodeInode(chunk.inode, row);
      if (tx.get(key)?.equals(snapshot) !== true) return undefined;
      const references = new BlockReferences();
      for (const piece of made) {
        references.create(piece.block, piece.bytes);
        inode.allocatedBytes += replaceRange(tx, references, chunk.inode, { offset: piece.offset, bytes: piece.bytes }, [piece]);
      }
      putInode(tx, inode);
      return references.apply(tx, (block) => this.#pending.isUnseen(block));
    });
  }
}

function nameOf(chunk: ChunkName): string {
  return `${chunk.inode}:${chunk.chunk}`;
}

/** Runs of at least two small pieces without a hole between them. */
function smallRuns(pieces: readonly Mapping[]): { offset: number; bytes: number }[] {
  const runs: { offset: number; bytes: number; count: number }[] = [];
  for (const piece of pieces) {
    if (piece.bytes >= PIECE_BYTES_SMALL) continue;
    const last = runs[runs.length - 1];
    if (last !== undefined && last.offset + last.bytes === piece.offset) {
      last.bytes += piece.bytes;
      last.count++;
    } else runs.push({ offset: piece.offset, bytes: piece.bytes, count: 1 });
  }
  return runs.filter((run) => run.count > 1);
}
