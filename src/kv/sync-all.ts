// Makes what all workers hold power-proof, and decides when one that stays away may be left out.
import { FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { failureOf } from './replication.ts';
import type { Degradation } from './replication.ts';
import type { SyncBarrier } from './sync-barrier.ts';

interface Failed {
  readonly barrier: SyncBarrier;
  /** What it had when the attempt began. */
  readonly mark: number;
  readonly error: unknown;
}

/** Every wait is bounded by LIMITS.workerAbsenceMs for absence and workerSyncTimeoutMs for the disks. Rejects with FsError EIO. */
export async function syncAll(barriers: readonly SyncBarrier[], options: { copiesMin: number; beforeDegraded(degradation: Degradation): void | Promise<void> }): Promise<void> {
  const startMs = performance.now();
  const dirty = barriers.filter((barrier) => barrier.dirty);
  let failed = await attempt(dirty, (barrier) => barrier.link.patienceMs(LIMITS.workerSwitchMs));
  if (failed.length > 0 && !isTolerable(failed, options.copiesMin)) {
    // Too few copies elsewhere: only these workers can make their blocks power-proof, so they are waited for.
    const leftMs = startMs + LIMITS.workerAbsenceMs - performance.now();
    const absent = failed.filter(({ error }) => failureOf(error) === 'absent');
    const lost = failed.filter(({ error }) => failureOf(error) !== 'absent');
    failed = [...lost, ...(await attempt(absent.map(({ barrier }) => barrier), () => Math.max(0, leftMs)))];
  }
  if (failed.length === 0) return;
  // All of them had copiesMin copies when they were put: the loss of disks since then is what the others are for.
  if (!isTolerable(failed, 1)) throw unsynced(failed);
  await options.beforeDegraded({ kind: 'sync', missing: failed.map(({ barrier }) => barrier.link.worker) });
  for (const { barrier, mark } of failed) barrier.excuse(mark);
}

/** Those that failed and matter: nothing that is put now goes to a worker that was excused and is still away. */
async function attempt(barriers: readonly SyncBarrier[], absenceMs: (barrier: SyncBarrier) => number): Promise<Failed[]> {
  const failed: Failed[] = [];
  await Promise.all(barriers.map((barrier) => {
    const { mark } = barrier;
    return barrier.sync({ absenceMs: absenceMs(barrier) }).catch((error: unknown) => {
      if (!barrier.excused) failed.push({ barrier, mark, error });
    });
  }));
  return failed;
}

/** Of the copies that a block has elsewhere, at worst all other failed workers hold one, and none of those is synced. */
function isTolerable(failed: readonly Failed[], copiesMin: number): boolean {
  return failed.every(({ barrier }) => barrier.copiesElsewhere - (failed.length - 1) >= copiesMin);
}

function unsynced(failed: readonly Failed[]): FsError {
  const workers = failed.map(({ barrier }) => barrier.link.worker).join(', ');
  return new FsError('EIO', `sync: the blocks of worker ${workers} are not known to be on disk`, { cause: failed[0]?.error });
}
