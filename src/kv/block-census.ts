// Walks all blocks in the order of their ids, a window at a time: which the metadata needs, and which disks have them.
//
// A merge join of the metadata's rows with the lists of the disks, so that memory does not grow with the volume.
import type { BlockId } from '../base/ids.ts';
import { compareBlockIds } from '../base/ids.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface ListedBlock {
  readonly id: BlockId;
  readonly bytes: number;
}

/** What the metadata knows of blocks. Every block that is on the disks for a reason is among its rows. */
export interface BlockRows {
  /** Up to `limit` needed blocks behind `after`, in order, without those that are not on the disks yet. `through`: where the page ends, null at the end of all. */
  page(after: BlockId | null, limit: number): { readonly blocks: readonly ListedBlock[]; readonly through: BlockId | null };
  isNeeded(id: BlockId): boolean;
  /** True while not all that needs blocks may be known: what nothing names is kept. */
  keepsUnknown?(): boolean;
  /** See metadata/allocator.ts. */
  settled(): Promise<BlockId>;
  /** What is not needed now will never be again, whatever happens to the machine, when it resolves. */
  sync(): Promise<void>;
}

/** One block, on disks or needed or both. */
export interface CountedBlock {
  readonly id: BlockId;
  /** Length as the metadata knows it; undefined when nobody needs the block. */
  readonly neededBytes: number | undefined;
  /** Disks that say that they have it, with the right length where that is known. */
  readonly holders: number[];
  /** Disks where it has another length. */
  readonly wrong: number[];
  /** Longest that a disk has. */
  bytes: number;
}

const WINDOW_ROWS = 1024;
const LIST_ROWS = 2048;

/** The list of one disk, a page at a time. */
class DiskList {
  readonly index: number;
  readonly #pool: WorkerPool;
  #page: readonly ListedBlock[] = [];
  #at = 0;
  #after: BlockId | null;
  #ended = false;

  constructor(pool: WorkerPool, index: number, after: BlockId | null) {
    this.#pool = pool;
    this.index = index;
    this.#after = after;
  }

  /** Has the next page ready. Rejects as WorkerLink.request. */
  async fill(): Promise<void> {
    if (this.#at < this.#page.length || this.#ended) return;
    const { blocks } = await this.#pool.link(this.index).request('listBlocks', { after: this.#after, limit: LIST_ROWS }, { absenceMs: 0 });
    this.#page = blocks;
    this.#at = 0;
    this.#ended = blocks.length < LIST_ROWS;
    this.#after = blocks.at(-1)?.id ?? this.#after;
  }

  /** Last block that is known; null when all are. */
  get horizon(): BlockId | null {
    return this.#ended ? null : this.#after;
  }

  /** What is listed up to `through` (null: all) and was not taken yet. */
  take(through: BlockId | null): readonly ListedBlock[] {
    const from = this.#at;
    while (this.#at < this.#page.length && !isBehind(this.#page[this.#at]!.id, through)) this.#at++;
    return this.#page.slice(from, this.#at);
  }
}

/** null is the end of all ids. */
function isBehind(id: BlockId, end: BlockId | null): boolean {
  return end !== null && compareBlockIds(id, end) > 0;
}

export interface CensusOptions {
  readonly pool: WorkerPool;
  readonly rows: BlockRows;
  /** Disks that are asked. One that fails is left out from then on. */
  readonly disks: readonly number[];
  /** Blocks from here on are new, and left out. */
  readonly bound: BlockId;
  /** Begin behind this one. */
  readonly after: BlockId | null;
  /** A disk went away in the middle. */
  readonly onLeft: (index: number, error: unknown) => void;
}

export interface CensusWindow {
  readonly blocks: readonly CountedBlock[];
  /** Disks that were asked: of the others nothing is known in this window. */
  readonly disks: readonly number[];
  /** Last id that the window covers; null at the end of all. */
  readonly through: BlockId | null;
}

export async function* takeCensus(options: CensusOptions): AsyncGenerator<CensusWindow> {
  const { rows, bound, onLeft } = options;
  const lists = new Set(options.disks.map((index) => new DiskList(options.pool, index, options.after)));
  let after = options.after;
  for (;;) {
    await Promise.all([...lists].map((list) => list.fill().catch((error: unknown) => {
      lists.delete(list);
      onLeft(list.index, error);
    })));
    const page = rows.page(after, WINDOW_ROWS);
    let end = page.through;
    for (const { horizon } of lists) if (horizon !== null && !isBehind(horizon, end)) end = horizon;
    const needed = page.blocks.filter(({ id }) => !isBehind(id, end));
    const blocks = join(needed, [...lists].map((list) => ({ index: list.index, blocks: list.take(end) })), bound);
    const last = end === null || compareBlockIds(end, bound) >= 0;
    yield { blocks, disks: [...lists].map(({ index }) => index), through: last ? null : end };
    if (last) return;
    after = end;
  }
}

function join(rows: readonly ListedBlock[], disks: readonly { readonly index: number; readonly blocks: readonly ListedBlock[] }[], bound: BlockId): CountedBlock[] {
  const out: CountedBlock[] = [];
  const at = disks.map(() => 0);
  let rowAt = 0;
  for (;;) {
    let lowest = rows[rowAt]?.id;
    for (const [number, { blocks }] of disks.entries()) {
      const id = blocks[at[number]!]?.id;
      if (id !== undefined && (lowest === undefined || compareBlockIds(id, lowest) < 0)) lowest = id;
    }
    if (lowest === undefined || compareBlockIds(lowest, bound) >= 0) return out;
    const row = rows[rowAt];
    const needed = row !== undefined && compareBlockIds(row.id, lowest) === 0;
    if (needed) rowAt++;
    const counted: CountedBlock = { id: lowest, neededBytes: needed ? row.bytes : undefined, holders: [], wrong: [], bytes: 0 };
    for (const [number, { index, blocks }] of disks.entries()) {
      const block = blocks[at[number]!];
      if (block === undefined || compareBlockIds(block.id, lowest) !== 0) continue;
      at[number]!++;
      counted.bytes = Math.max(counted.bytes, block.bytes);
      (needed && block.bytes !== row.bytes ? counted.wrong : counted.holders).push(index);
    }
    out.push(counted);
  }
}
