// Looks at every copy of one block, each by itself: for people, and for a scrub.
import type { BlockId, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { VerifyPieces } from './block-read.ts';
import { failureOf } from './replication.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

export type CopyState = 'good' | 'missing' | 'damaged' | 'unreachable';

export interface CopyReport {
  readonly worker: WorkerId;
  readonly state: CopyState;
}

/** The disks where the copies belong, and others that have one, best first. Reads and verifies every byte of each copy. */
export async function inspectBlock(pool: WorkerPool, id: BlockId, options: { readonly copies: number; readonly verify: VerifyPieces }): Promise<CopyReport[]> {
  const reports = await Promise.all(pool.rank(id).map(async (index, at) => {
    const link = pool.link(index);
    const state = await stateOf(link, id, options.verify);
    const belongs = at < options.copies;
    return belongs || state === 'good' || state === 'damaged' ? { worker: link.worker, state } : undefined;
  }));
  return reports.filter((report) => report !== undefined);
}

async function stateOf(link: WorkerLink, id: BlockId, verify: VerifyPieces): Promise<CopyState> {
  try {
    const once = { absenceMs: 0 };
    const { blockBytes } = await link.request('getBlock', { id, firstPiece: 0, pieceCount: 1 }, once);
    const whole = { id, firstPiece: 0, pieceCount: Math.ceil(blockBytes / LIMITS.checksumBytes) };
    return verify(whole, await link.request('getBlock', whole, once)) === undefined ? 'good' : 'damaged';
  } catch (error) {
    switch (failureOf(error)) {
      case 'absent': return 'unreachable';
      case 'missing': return 'missing';
      default: return 'damaged';
    }
  }
}
