// One pass over all blocks: counts copies, makes missing ones anew, moves misplaced ones, deletes what nobody needs.
//
// The order of things keeps R copies safe: a copy is made from a verified one; a superfluous one is dropped when all R
// disks where the block belongs have read theirs back as good and have synced; a block that no row names is deleted when the
// metadata that forgot it is synced, and only while every disk of the volume is there, so that nobody can know better.
import type { BlockId } from '../base/ids.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { COPY_STATE } from '../ipc/messages.ts';
import { takeCensus } from './block-census.ts';
import type { BlockRows, CensusWindow, CountedBlock } from './block-census.ts';
import type { PieceRange, VerifyPieces } from './block-read.ts';
import type { ReplicatedBlockStore } from './block-store.ts';
import { newCounts, noteUnreadable } from './reconcile-counts.ts';
import type { PassCounts } from './reconcile-counts.ts';
import { planCopies } from './reconcile-plan.ts';
import type { CopyPlan, DiskPresence, DiskView } from './reconcile-plan.ts';
import { failureOf } from './replication.ts';
import type { Throttle } from './throttle.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface PassParts {
  readonly pool: WorkerPool;
  readonly store: ReplicatedBlockStore;
  readonly rows: BlockRows;
  readonly verify: VerifyPieces;
  readonly logger: Logger;
  readonly throttle: Throttle;
  readonly copies: number;
  readonly presenceOf: (index: number) => DiskPresence;
  readonly isStopped: () => boolean;
}

export interface PassOptions {
  readonly bound: BlockId;
  readonly after?: BlockId | null;
  /** Blocks with at most so many good copies get new ones; 0: none. */
  readonly copyUpTo: number;
  /** Misplaced copies are moved, and garbage is deleted. */
  readonly tidy: boolean;
  /** Every copy is read back. */
  readonly deep: boolean;
  /** After each window, with the id that it ends with (null: the last one). */
  readonly onWindow?: (through: BlockId | null) => void;
}

interface Task {
  readonly block: CountedBlock;
  readonly plan: CopyPlan;
  /** Disks that have a good copy, those included that got one now. */
  readonly have: number[];
}

const VERIFY_BYTES = 4 * 1024 * 1024;
const VERIFY_BLOCKS = 256;

export class ReconcilePass {
  readonly counts: PassCounts;
  readonly #parts: PassParts;
  readonly #options: PassOptions;
  /** Disks that went away, or were full, in the middle. */
  readonly #left = new Set<number>();
  readonly #full = new Set<number>();

  constructor(parts: PassParts, options: PassOptions) {
    this.#parts = parts;
    this.#options = options;
    this.counts = newCounts({ copies: parts.copies, disks: parts.pool.links.length });
  }

  /** False when it was stopped before the end. Rejects when the metadata cannot be synced. */
  async run(): Promise<boolean> {
    const { pool, rows, throttle, isStopped } = this.#parts;
    const disks = pool.links.flatMap((link, index) => (link.isReady ? [index] : []));
    throttle.begin();
    for await (const window of takeCensus({ pool, rows, disks, bound: this.#options.bound, after: this.#options.after ?? null, onLeft: (index) => this.#left.add(index) })) {
      if (isStopped()) return false;
      await this.#lookAgain(window);
      if (isStopped()) return false;
      if (this.#options.deep) await this.#readBack(window);
      if (isStopped()) return false;
      await this.#handle(window);
      // A window that was cut short is not done.
      if (isStopped()) return false;
      this.#options.onWindow?.(window.through);
      await throttle.spent(0);
    }
    return true;
  }

  /** True when every disk of the volume was there from the beginning to now. */
  get sawAllDisks(): boolean {
    return this.#left.size === 0 && this.#parts.pool.links.every((link) => link.isReady);
  }

  async #handle(window: CensusWindow): Promise<void> {
    const { pool, copies } = this.#parts;
    const views = this.#views(window);
    const { copyUpTo, tidy } = this.#options;
    const garbage: CountedBlock[] = [];
    const copying: Task[] = [];
    const moving: Task[] = [];
    for (const block of window.blocks) {
      if (block.neededBytes === undefined) {
        if (!this.#parts.rows.isNeeded(block.id)) garbage.push(block);
        continue;
      }
      const plan = planCopies({ ranking: pool.rank(block.id), holders: block.holders }, views, copies);
      const task: Task = { block, plan, have: [...block.holders] };
      this.#count(block);
      if (block.holders.length === 0) continue;
      if (block.holders.length < copies) {
        if (block.holders.length <= copyUpTo) copying.push(task);
        else this.counts.endangered++;
      } else if (plan.copyTo.length > 0 || plan.drop.length > 0 || (block.wrong.length > 0 && plan.keep.length === copies)) {
        this.counts.misplaced++;
        if (tidy) moving.push(task);
      }
    }
    await this.#copyAll([...copying, ...moving]);
    for (const { have } of copying) if (have.length < copies) this.counts.endangered++;
    const placed = [...copying, ...moving].filter(({ block, plan, have }) => (plan.drop.length > 0 || block.wrong.length > 0) && plan.keep.length === copies && plan.keep.every((index) => have.includes(index)));
    if (tidy && placed.length > 0) await this.#dropAll(placed);
    await this.#sweep(garbage);
  }

  #views({ disks }: CensusWindow): DiskView[] {
    const { pool, store } = this.#parts;
    const statistics = store.capacity().disks;
    return pool.links.map((link, index) => {
      const known = statistics[index]?.statistics;
      const presence = this.#parts.presenceOf(index);
      return {
        // Of a disk that did not say what it has nothing is known.
        presence: presence === 'ready' && !disks.includes(index) ? 'away' : presence,
        target: pool.isTarget(index),
        hasRoom: !this.#full.has(index) && known !== undefined && known.availableBytes > known.totalBytes * LIMITS.backgroundReserveFraction,
      };
    });
  }

  #count(block: CountedBlock): void {
    const { counts } = this;
    const { copies, rows } = this.#parts;
    counts.blocks++;
    counts.bytes += block.neededBytes!;
    if (block.holders.length >= copies) return;
    if (block.holders.length === 0) {
      // It may have been deleted since its row was read.
      if (!rows.isNeeded(block.id)) return;
      counts.endangered++;
      noteUnreadable(counts, block.id);
    }
    counts.found[block.holders.length]!++;
  }

  /** Blocks that were put between the lists of the disks and the rows are in the rows alone: who lacks copies is asked for once more. */
  async #lookAgain({ blocks, disks }: CensusWindow): Promise<void> {
    const { pool, copies } = this.#parts;
    const lacking = blocks.filter(({ neededBytes, holders }) => neededBytes !== undefined && holders.length < copies);
    if (lacking.length === 0) return;
    await Promise.all(disks.map(async (index) => {
      const asked = lacking.filter(({ holders, wrong }) => !holders.includes(index) && !wrong.includes(index));
      if (asked.length === 0) return;
      try {
        const { present } = await pool.link(index).request('hasBlocks', { ids: asked.map(({ id }) => id) }, { absenceMs: 0 });
        for (const [at, block] of asked.entries()) if (present[at] === 1) block.holders.push(index);
      } catch (error) {
        this.#failed(index, error);
      }
    }));
  }

  /** Asks the disks to read their copies, and takes those that are bad out of the holders. */
  async #readBack({ blocks, disks }: CensusWindow): Promise<void> {
    await Promise.all(disks.map(async (index) => {
      const held = blocks.filter(({ neededBytes, holders }) => neededBytes !== undefined && holders.includes(index));
      for (const block of await this.#findBad(index, held)) {
        this.counts.damagedCopies++;
        block.holders.splice(block.holders.indexOf(index), 1);
        block.wrong.push(index);
        this.#parts.logger.error({ block: formatBlockId(block.id), worker: this.#parts.pool.link(index).worker }, 'a copy of a block is damaged');
      }
    }));
  }

  /** Those of the blocks that the disk has, and not as they were put. One that goes away is taken to have them. */
  async #findBad(index: number, blocks: readonly CountedBlock[]): Promise<CountedBlock[]> {
    const { pool, throttle, isStopped } = this.#parts;
    const bad: CountedBlock[] = [];
    for (let at = 0; at < blocks.length && !isStopped(); ) {
      const chunk: CountedBlock[] = [];
      let bytes = 0;
      while (at < blocks.length && chunk.length < VERIFY_BLOCKS && bytes < VERIFY_BYTES) {
        bytes += blocks[at]!.bytes;
        chunk.push(blocks[at++]!);
      }
      try {
        throttle.begin();
        const { states } = await pool.link(index).request('verifyBlocks', { ids: chunk.map(({ id }) => id) }, { absenceMs: 0 });
        bad.push(...chunk.filter(({ id }, number) => states[number] !== COPY_STATE.good && this.#parts.rows.isNeeded(id)));
        this.counts.verifiedCopies += chunk.length;
        this.counts.verifiedBytes += bytes;
      } catch (error) {
        this.#failed(index, error);
        return bad;
      }
      await throttle.spent(bytes);
    }
    return bad;
  }

  async #copyAll(tasks: readonly Task[]): Promise<void> {
    const { throttle, isStopped } = this.#parts;
    const wanted = tasks.filter(({ plan }) => plan.copyTo.length > 0);
    if (wanted.length === 0) return;
    const there = await this.#alreadyThere(wanted);
    for (let at = 0; at < wanted.length && !isStopped(); at += LIMITS.backgroundCopiesMax) {
      const batch = wanted.slice(at, at + LIMITS.backgroundCopiesMax);
      throttle.begin();
      const bytes = await Promise.all(batch.map((task) => this.#copy(task, there)));
      await throttle.spent(bytes.reduce((sum, each) => sum + each, 0));
    }
  }

  /** Copies that came since the disks were listed, as `id key + disk`. */
  async #alreadyThere(tasks: readonly Task[]): Promise<Set<string>> {
    const there = new Set<string>();
    await Promise.all(this.#parts.pool.links.map(async (link, index) => {
      const blocks = tasks.flatMap(({ block, plan }) => (plan.copyTo.includes(index) && !block.wrong.includes(index) ? [block.id] : []));
      if (blocks.length === 0) return;
      try {
        const { present } = await link.request('hasBlocks', { ids: blocks }, { absenceMs: 0 });
        blocks.forEach((id, at) => present[at] === 1 && there.add(nameOf(id, index)));
      } catch (error) {
        this.#failed(index, error);
      }
    }));
    return there;
  }

  /** Resolves with the bytes copied. */
  async #copy({ block, plan, have }: Task, there: ReadonlySet<string>): Promise<number> {
    const whole = wholeOf(block);
    let bytes = 0;
    for (const index of plan.copyTo) {
      if (there.has(nameOf(block.id, index))) {
        have.push(index);
        continue;
      }
      try {
        // One that is not needed any more is as good as copied.
        const copied = !this.#left.has(index) && await this.#parts.store.copyTo(index, whole, this.#parts.verify, { patienceMs: LIMITS.backgroundPatienceMs });
        if (!copied && this.#parts.rows.isNeeded(block.id)) this.counts.misses[index]!++;
        else have.push(index);
        if (!copied) continue;
        this.counts.copiedCopies++;
        this.counts.copiedBytes += block.neededBytes!;
        bytes += block.neededBytes!;
      } catch (error) {
        if (!this.#parts.rows.isNeeded(block.id)) continue;
        this.counts.misses[index]!++;
        if (failureOf(error) === 'full') this.#full.add(index);
        else this.#failed(index, error);
      }
    }
    return bytes;
  }

  /** All R disks have a copy: the others go, when those have read theirs back and synced. */
  async #dropAll(tasks: readonly Task[]): Promise<void> {
    const { pool, store } = this.#parts;
    const doubtful = new Set<CountedBlock>();
    const keepers = new Set(tasks.flatMap(({ plan }) => plan.keep));
    await Promise.all([...keepers].map(async (index) => {
      const kept = tasks.filter(({ plan }) => plan.keep.includes(index)).map(({ block }) => block);
      try {
        await store.syncDisk(index);
        for (const block of await this.#findBad(index, kept)) {
          doubtful.add(block);
          this.counts.damagedCopies++;
          this.counts.misses[index]!++;
          await store.copyTo(index, wholeOf(block), this.#parts.verify, { patienceMs: LIMITS.backgroundPatienceMs });
        }
      } catch (error) {
        this.#failed(index, error);
      }
      if (this.#left.has(index)) for (const block of kept) doubtful.add(block);
    }));
    const certain = tasks.filter(({ block }) => !doubtful.has(block));
    await Promise.all(pool.links.map(async (_, index) => {
      const ids = certain.flatMap(({ block, plan }) => (plan.drop.includes(index) || (block.wrong.includes(index) && !plan.keep.includes(index)) ? [block.id] : []));
      if (await this.#delete(index, ids)) this.counts.droppedCopies += ids.length;
    }));
  }

  /** Blocks that no row names. */
  async #sweep(found: readonly CountedBlock[]): Promise<void> {
    const { counts } = this;
    const { pool, rows } = this.#parts;
    for (const { holders, bytes } of found) {
      counts.garbageCopies += holders.length;
      counts.garbageBytes += holders.length * bytes;
    }
    if (found.length === 0 || !this.#options.tidy || !this.sawAllDisks || rows.keepsUnknown?.() === true) return;
    await rows.sync();
    const garbage = found.filter(({ id }) => !rows.isNeeded(id));
    await Promise.all(pool.links.map(async (_, index) => {
      const held = garbage.filter(({ holders }) => holders.includes(index));
      if (!(await this.#delete(index, held.map(({ id }) => id)))) return;
      counts.deletedCopies += held.length;
      counts.deletedBytes += held.reduce((sum, { bytes }) => sum + bytes, 0);
    }));
  }

  async #delete(index: number, ids: readonly BlockId[]): Promise<boolean> {
    try {
      for (let at = 0; at < ids.length; at += LIMITS.blockIdsMax) {
        await this.#parts.pool.link(index).request('deleteBlocks', { ids: ids.slice(at, at + LIMITS.blockIdsMax) }, { absenceMs: 0 });
      }
      return ids.length > 0;
    } catch (error) {
      this.#failed(index, error);
      return false;
    }
  }

  #failed(index: number, error: unknown): void {
    if (failureOf(error) === 'absent') this.#left.add(index);
    this.#parts.logger.debug({ err: error, worker: this.#parts.pool.link(index).worker }, 'a step of making copies whole failed; the next pass tries again');
  }
}

function wholeOf({ id, neededBytes }: CountedBlock): PieceRange {
  return { id, firstPiece: 0, pieceCount: Math.ceil(neededBytes! / LIMITS.checksumBytes) };
}

function nameOf(id: BlockId, index: number): string {
  return `${formatBlockId(id)}:${index}`;
}
