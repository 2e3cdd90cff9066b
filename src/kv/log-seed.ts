// Gives a worker a whole new checkpoint of the metadata, so that it can hold the log from there on.
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import type { Row } from '../ipc/messages.ts';
import type { WorkerLink } from './worker-link.ts';

/**
 * The driver's rows as they were at one moment. Records that changed them up to that moment may follow once more
 * in the log: redo records are idempotent, and the small file data in them is nowhere else.
 */
export interface MetadataSnapshot {
  /** All rows in key order, in portions of at most LIMITS.frameBodyBytesMax bytes. The first is taken at once, so a generator may begin its read then. */
  readonly rows: AsyncIterable<readonly Row[]> | Iterable<readonly Row[]>;
  /** The moment: records up to here are in the rows, none behind it. */
  readonly rowsThrough: Sequence;
  /** Records from here on are to be in the log behind the checkpoint; at most rowsThrough + 1. */
  readonly logFrom: Sequence;
}

/**
 * Replaces checkpoint and log of a worker. `beforeCommit` is awaited before the new checkpoint takes effect. The whole
 * is done on one channel: it rejects when that breaks, and the worker keeps what it had.
 */
export async function seedCheckpoint(link: WorkerLink, snapshot: MetadataSnapshot, options: { beforeCommit(): Promise<{ epoch: DriverEpoch }> }): Promise<void> {
  const once = { absenceMs: 0 };
  const portions = Symbol.asyncIterator in snapshot.rows ? snapshot.rows[Symbol.asyncIterator]() : snapshot.rows[Symbol.iterator]();
  try {
    let portion = portions.next();
    await link.request('beginCheckpoint', {}, once);
    for (;;) {
      const { done, value: rows } = await portion;
      if (done) break;
      if (rows.length > 0) await link.request('loadCheckpoint', { rows }, once);
      portion = portions.next();
    }
  } finally {
    await portions.return?.();
  }
  const { epoch } = await options.beforeCommit();
  await link.request('commitCheckpoint', { sequence: (snapshot.logFrom - 1) as Sequence, epoch }, once);
}
