// What would be lost if some disks were lost now: every needed block counted, with the disks that have it.
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { takeCensus } from './block-census.ts';
import type { BlockRows, CensusWindow, CountedBlock } from './block-census.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface BlockSum {
  blocks: number;
  bytes: number;
}

export interface Loss {
  /** Blocks that the metadata needs. */
  readonly all: BlockSum;
  /** Without a copy on any disk that can be asked, as it is. */
  readonly unreadable: BlockSum;
  /** With copies on the lost disks alone; the first of them. */
  readonly lost: BlockSum & { readonly ids: BlockId[] };
  /** Left with fewer copies than wanted, because of the loss. */
  readonly fewer: BlockSum;
  /** To be copied so that all that are left have as many as can be. */
  copyBytes: number;
  /** Disks that did not answer to the end: what they have is not counted. */
  readonly unknown: ReadonlySet<number>;
}

export interface LossOptions {
  readonly pool: WorkerPool;
  readonly rows: BlockRows;
  readonly copies: number;
  /** Disks by their index. */
  readonly lose: ReadonlySet<number>;
  readonly isStopped: () => boolean;
}

/** Rejects when it was stopped. */
export async function countLoss(options: LossOptions): Promise<Loss> {
  const { pool, rows, copies, lose, isStopped } = options;
  const bound = await rows.settled();
  const unknown = new Set(pool.links.flatMap((link, index) => (link.isReady ? [] : [index])));
  const disks = pool.links.flatMap((_, index) => (unknown.has(index) ? [] : [index]));
  const homes = pool.links.filter((_, index) => pool.isTarget(index) && !lose.has(index) && !unknown.has(index)).length;
  const loss: Loss = { all: sum(), unreadable: sum(), lost: { ...sum(), ids: [] }, fewer: sum(), copyBytes: 0, unknown };
  for await (const window of takeCensus({ pool, rows, disks, bound, after: null, onLeft: (index) => unknown.add(index) })) {
    if (isStopped()) throw new Error('the driver is ending');
    await lookAgain(window, options, unknown);
    for (const block of window.blocks) {
      const { neededBytes: bytes, holders, id } = block;
      if (bytes === undefined) continue;
      add(loss.all, bytes);
      const left = holders.filter((index) => !lose.has(index)).length;
      if (left === holders.length && left > 0) continue;
      // It may have been deleted since its row was read.
      if (left === 0 && !rows.isNeeded(id)) continue;
      if (holders.length === 0) add(loss.unreadable, bytes);
      else if (left === 0) {
        add(loss.lost, bytes);
        if (loss.lost.ids.length < LIMITS.unreadableBlocksMax) loss.lost.ids.push(id);
      } else if (left < copies) {
        add(loss.fewer, bytes);
        loss.copyBytes += bytes * Math.max(0, Math.min(copies, homes) - left);
      }
    }
  }
  return loss;
}

/** Blocks that were put between the lists of the disks and the rows: who seems to lack copies is asked for once more. */
async function lookAgain({ blocks, disks }: CensusWindow, { pool, lose, copies }: LossOptions, unknown: Set<number>): Promise<void> {
  const doubtful = blocks.filter(({ neededBytes, holders }) => neededBytes !== undefined && (holders.length < copies || holders.every((index) => lose.has(index))));
  await Promise.all(disks.map(async (index) => {
    const asked = doubtful.filter(({ holders, wrong }: CountedBlock) => !holders.includes(index) && !wrong.includes(index));
    if (asked.length === 0) return;
    try {
      const { present } = await pool.link(index).request('hasBlocks', { ids: asked.map(({ id }) => id) }, { absenceMs: 0 });
      for (const [at, block] of asked.entries()) if (present[at] === 1) block.holders.push(index);
    } catch {
      unknown.add(index);
    }
  }));
}

function sum(): BlockSum {
  return { blocks: 0, bytes: 0 };
}

function add(to: BlockSum, bytes: number): void {
  to.blocks++;
  to.bytes += bytes;
}
