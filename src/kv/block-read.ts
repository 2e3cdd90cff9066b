// One read of a block: the least loaded copy first, then the other copies, then every other disk; absent disks are
// waited for, damaged copies are reported.
import { FsError } from '../base/errors.ts';
import type { BlockId } from '../base/ids.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockPieces } from '../ipc/messages.ts';
import { failureOf } from './replication.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface PieceRange {
  readonly id: BlockId;
  readonly firstPiece: number;
  readonly pieceCount: number;
}

/** Why these pieces are not what was put; undefined when they are. Runs on every reply before it is believed. */
export type VerifyPieces = (range: PieceRange, pieces: BlockPieces) => Error | undefined;

export interface DamagedCopy {
  readonly id: BlockId;
  /** Disk that has it. */
  readonly index: number;
  readonly cause: Error;
}

export interface ReadContext {
  readonly pool: WorkerPool;
  readonly copies: number;
  /** A good copy was found after these bad ones. `blockBytes` is the length of the whole block. */
  damaged(copies: readonly DamagedCopy[], blockBytes: number): void;
  /** A disk that should have the block does not. */
  missing(id: BlockId, index: number): void;
}

/** Every disk that could have the block was asked, or was absent for too long: FsError EIO. */
export async function readBlock(context: ReadContext, range: PieceRange, verify: VerifyPieces, options: { readonly except?: number } = {}): Promise<BlockPieces> {
  const { pool } = context;
  const ranking = pool.rank(range.id);
  /** Disks that have not said what they have, best first. */
  let left = options.except === undefined ? ranking : ranking.filter((index) => index !== options.except);
  let bad: DamagedCopy[] | undefined;
  let lastError: unknown;
  let deadlineMs = 0;
  for (;;) {
    const index = choose(pool, left, ranking, context.copies, range.id);
    if (index === undefined || deadlineMs !== 0) {
      const now = performance.now();
      if (deadlineMs === 0) deadlineMs = now + LIMITS.workerAbsenceMs;
      const hopeful = left.filter((absent) => pool.link(absent).state.kind !== 'closed');
      if (hopeful.length === 0 || now >= deadlineMs) throw unreadable(range, left.length, bad, lastError);
      if (index === undefined) {
        await pool.anyReady(hopeful, deadlineMs - now);
        continue;
      }
    }
    try {
      const pieces = await pool.link(index).request('getBlock', range, { absenceMs: 0 });
      const damage = verify(range, pieces);
      if (damage === undefined) {
        if (bad !== undefined) context.damaged(bad, pieces.blockBytes);
        return pieces;
      }
      lastError = damage;
      (bad ??= []).push({ id: range.id, index, cause: damage });
    } catch (error) {
      lastError = error;
      const failure = failureOf(error);
      if (failure === 'absent') {
        // It stays in the running: asked again when it is back, until the time is up.
        if (deadlineMs === 0) deadlineMs = performance.now() + LIMITS.workerAbsenceMs;
        continue;
      }
      if (failure === 'missing') {
        if (ranking.indexOf(index) < context.copies) context.missing(range.id, index);
      } else {
        (bad ??= []).push({ id: range.id, index, cause: error as Error });
      }
    }
    left = left.filter((other) => other !== index);
  }
}

/** Among the R disks where copies belong the least loaded, ties spread by the id; then the best of the others. */
function choose(pool: WorkerPool, left: readonly number[], ranking: readonly number[], copies: number, id: BlockId): number | undefined {
  let best: number | undefined;
  let bestLoad = Infinity;
  const count = Math.min(copies, ranking.length);
  for (let offset = 0; offset < count; offset++) {
    const index = ranking[(id.lo + offset) % count]!;
    const link = pool.link(index);
    if (link.isReady && link.load < bestLoad && left.includes(index)) {
      best = index;
      bestLoad = link.load;
    }
  }
  return best ?? left.find((index) => pool.link(index).isReady);
}

function unreadable(range: PieceRange, absent: number, bad: readonly DamagedCopy[] | undefined, cause: unknown): FsError {
  return new FsError('EIO', `block ${formatBlockId(range.id)}: no disk has a good copy (${bad?.length ?? 0} damaged copies, ${absent} disks absent)`, { cause });
}
