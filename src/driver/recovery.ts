// The driver's metadata at start: its own database where that is to be trusted, else rebuilt from the best worker.
import { join } from 'node:path';
import { EXIT, FormatError, UserError } from '../base/errors.ts';
import type { DriverEpoch, Sequence, Uuid } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { LIMITS } from '../base/limits.ts';
import { describeRefusal } from '../base/membership.ts';
import type { MountRefusal } from '../base/membership.ts';
import type { DriverStart } from '../ipc/process-messages.ts';
import { mostAdvanced } from '../kv/log-reader.ts';
import type { LogSource } from '../kv/log-replicas.ts';
import type { Members } from '../kv/membership.ts';
import type { WorkerLink } from '../kv/worker-link.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import { databaseExists, eraseDatabase, setDatabaseAside } from '../metadata/lmdb/database-files.ts';
import { DatabaseDamagedError, JournalLostError } from '../metadata/lmdb/database-errors.ts';
import { LmdbEngine } from '../metadata/lmdb/engine.ts';
import type { Row } from '../metadata/engine.ts';
import type { ReplayedData } from '../metadata/lmdb/options.ts';
import { databaseReserve } from './database-reserve.ts';
import { DatabaseTrust } from './database-trust.ts';
import { placeJournal } from './journal-place.ts';
import { journalBatch } from './journal-shipping.ts';
import { KeptJournal } from './kept-journal.ts';
import { rebuildMetadata } from './rebuild.ts';
import type { Candidate } from './rebuild.ts';
import type { StatePlace } from './state-place.ts';

export interface OpenedMetadata {
  readonly engine: LmdbEngine;
  readonly trust: DatabaseTrust;
  /** Small data found in the log, perhaps not on the workers yet. */
  readonly pendingData: readonly ReplayedData[];
  /** Leases of block numbers may have been lost: the block epoch must grow. */
  readonly newBlockEpoch: boolean;
  /** Whose metadata is the newest; undefined while no disk has any. */
  readonly best: Uuid | undefined;
  /** The last record, when the driver's own rows are newer than what any disk here has, without the records between. */
  readonly ahead?: Sequence | undefined;
  /** Disks whose copies of the metadata are not what they put there: they are to get new ones. */
  readonly damaged: readonly WorkerLink[];
  /** All rows were read and are what was put. Else nobody has looked since a process that had them died. */
  readonly verified: boolean;
}

/**
 * Opens the driver's database, or rebuilds it. After an unclean boot it may be anything (it is never flushed), one whose
 * journal is gone lacks changes, and one behind the workers' logs is somebody's old copy: they are set aside and rebuilt
 * from the most advanced worker. Other failures to open it (a full disk) are thrown, since they may pass.
 */
export async function openMetadata(parts: { start: DriverStart; place: StatePlace; pool: WorkerPool; members: Members; logger: Logger; onFailure: (error: Error) => void }): Promise<OpenedMetadata> {
  const { start, pool, members, logger, onFailure } = parts;
  const { directory, moved } = parts.place;
  const journalDirectory = placeJournal({ volume: start.description.volume, stateDirectory: directory, logger });
  const trust = new DatabaseTrust(directory);
  let opened = false;
  const failed = (error: Error): void => {
    // Until then it is thrown to the one who opens it.
    if (!opened) return;
    if (error instanceof DatabaseDamagedError) trust.markDamaged();
    onFailure(error);
  };
  const options = { directory, journalDirectory, epoch: start.epoch, mountEpoch: start.mountEpoch, onFailure: failed, reserveSpace: databaseReserve(join(directory, 'rows', 'data.mdb')) };
  const candidates = pool.links.flatMap((link): Candidate[] => (link.hello !== undefined && link.hello.log.lastSequence > 0 && members.isCurrent(link) ? [{ link, state: link.hello.log }] : []));
  const best = mostAdvanced(pool, (link) => candidates.some((candidate) => candidate.link === link));
  // A driver that was ended by a fault of its own while it used the database may have met damage that LMDB cannot see.
  const found = await trust.state();
  const trusted = found === 'inUse' && start.crashed === true ? 'damaged' : found;
  if (trusted === 'damaged') logger.error({ crashed: start.crashed }, "the rows of the driver's database are not to be believed; they are made anew from the disks and the journal");
  if ((trusted === 'clean' || trusted === 'inUse') && databaseExists(directory)) {
    trust.claim();
    const pendingData: ReplayedData[] = [];
    const own = await openTrusted(() => LmdbEngine.open({ ...options, closedCleanly: trusted === 'clean' }, (data) => pendingData.push(data)), { verify: trusted === 'inUse' && start.session === undefined, logger });
    if (own !== undefined) {
      const { engine } = own;
      opened = best === undefined || engine.lastSequence >= best.state.lastSequence;
      if (opened) return { verified: trusted === 'clean' || own.verified, engine, trust, pendingData, newBlockEpoch: false, best: best?.link.disk, ahead: aheadOf(engine, best?.state.lastSequence ?? (0 as Sequence)), damaged: [] };
      logger.warn({ own: engine.lastSequence, workers: best?.state.lastSequence }, "the driver's database is older than the workers' logs");
      await engine.abandon();
    }
  }
  // A successor that has lost the database looks at the disks as a new mount does.
  const refusal = members.refusal(start.description.copies);
  if (refusal !== undefined && start.membership !== undefined) throw new Error(`the driver's database is lost, and the disks are not enough to rebuild it: ${describeRefusal(refusal, (disk) => `disk ${disk}`)}`);
  if (best === undefined) checkNew(pool, refusal);
  // What was acknowledged and is not on the disks yet is in the journal, unless power was lost.
  const journal = new KeptJournal(options);
  const keepJournal = moved || trusted === 'inUse' || trusted === 'damaged' || trusted === 'rebuilding';
  if (!keepJournal) trust.withdraw();
  // A rebuild that was interrupted has left nothing of use but the journal that it began with.
  if (trusted !== 'rebuilding' || !journal.exists()) setDatabaseAside(options);
  if (moved && !journal.exists()) logger.error({ journalDirectory }, 'the journal is lost with the database: what was acknowledged and not synced is lost');
  const begin = (): Promise<LmdbEngine> => {
    eraseDatabase(options);
    if (keepJournal) trust.markRebuilding();
    return LmdbEngine.open({ ...options, closedCleanly: true }, () => {});
  };
  const rebuilt = best === undefined ? undefined : await rebuildMetadata(candidates, begin, logger);
  const engine = rebuilt?.engine ?? (await begin());
  const pendingData = rebuilt?.pendingData ?? [];
  if (keepJournal) pendingData.push(...(await journal.replay(engine, rebuilt?.lastEpoch ?? (0 as DriverEpoch), logger)));
  trust.claim();
  journal.remove();
  opened = true;
  return { verified: true, engine, trust, pendingData, newBlockEpoch: engine.lastSequence > 0, best: rebuilt?.from.link.disk, damaged: rebuilt?.damaged ?? [] };
}

/** After a forced mount without the disks that had the rest. */
function aheadOf(engine: LmdbEngine, last: Sequence): Sequence | undefined {
  return engine.lastSequence > last && engine.firstJournalSequence > last + 1 ? engine.lastSequence : undefined;
}

/** Undefined for one that is proven to be of no use. `verify`: nobody waits for it but the mount, so that all rows may be read, if they are not too many. */
async function openTrusted(open: () => Promise<LmdbEngine>, { verify, logger }: { verify: boolean; logger: Logger }): Promise<{ engine: LmdbEngine; verified: boolean } | undefined> {
  let engine: LmdbEngine | undefined;
  try {
    engine = await open();
    const verified = verify && engine.rowCount <= LIMITS.rowsVerifiedMax;
    if (verified) await engine.verify(() => new Promise((resolve) => { setImmediate(resolve); }));
    return { engine, verified };
  } catch (error) {
    await engine?.abandon();
    const damaged = error instanceof JournalLostError || error instanceof FormatError || (error as Error).cause instanceof DatabaseDamagedError || /MDB_(CORRUPTED|INVALID|PAGE_NOTFOUND)/.test(String(error));
    if (!damaged) throw error;
    logger.error({ err: error }, "the driver's database cannot be used; it is rebuilt from the disks");
    return undefined;
  }
}

/** Without any metadata the volume has to be a new one: blocks say that it is not, and so may disks that are away, where they are too many. */
function checkNew(pool: WorkerPool, refusal: MountRefusal | undefined): void {
  const missing = pool.links.filter((link) => !link.isReady).map((link) => link.worker);
  if (refusal !== undefined && missing.length > 0) throw new UserError(`no disk that is there has the metadata, and ${missing.length === 1 ? 'disk' : 'disks'} ${missing.join(', ')} cannot be reached: bring them back and mount again`, EXIT.damaged);
  const used = pool.links.filter((link) => (link.hello?.statistics.blockCount ?? 0) > 0).map((link) => link.worker);
  if (used.length > 0) throw new UserError(`disks ${used.join(', ')} hold blocks, and no disk has metadata that names them: nothing of this volume was ever synced, or its metadata is lost`, EXIT.damaged);
}

const SEED_ROWS = 1024;

/** Where holders of the log get what they miss: the driver's journal, or all its rows. */
export function logSource(engine: LmdbEngine): LogSource {
  return {
    recordsFrom: (from, through) => (from < engine.firstJournalSequence ? undefined : journalBatch(engine, from, through)),
    snapshot: () => {
      engine.commitBatch();
      return { rows: batches(engine), rowsThrough: engine.appliedSequence, logFrom: engine.firstJournalSequence };
    },
  };
}

function* batches(engine: LmdbEngine): Generator<Row[]> {
  let batch: Row[] = [];
  let bytes = 0;
  for (const row of engine.rows()) {
    batch.push(row);
    bytes += row[0].length + row[1].length;
    if (batch.length >= SEED_ROWS || bytes >= LIMITS.frameBodyBytesMax / 8) {
      yield batch;
      batch = [];
      bytes = 0;
    }
  }
  if (batch.length > 0) yield batch;
}
