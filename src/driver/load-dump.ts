// Puts a dump in the place of the metadata of a volume, before its driver opens what there is.
import { join } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import type { Sequence } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { readDump } from '../dump/dump-reader.ts';
import type { DriverStart, LoadOrder } from '../ipc/process-messages.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import type { Row } from '../metadata/engine.ts';
import { databaseExists, setDatabaseAside } from '../metadata/lmdb/database-files.ts';
import { LmdbEngine } from '../metadata/lmdb/engine.ts';
import type { ReplayedData } from '../metadata/lmdb/options.ts';
import { KEY_VERSION_LEASE } from '../metadata/key-rows.ts';
import { BOOKKEEPING, decodeNumber, encodeNumber, keys } from '../metadata/schema.ts';
import { databaseReserve } from './database-reserve.ts';
import { DatabaseTrust } from './database-trust.ts';
import { placeJournal } from './journal-place.ts';

const BATCH_ROWS = 1024;
const EPOCH_SHIFT = 16;
const EPOCH_MAX = 2 ** 16;
/** More than can be given out: so versions of after a load are above those of before it, and above those of an earlier load. */
const VERSIONS_A_MILLISECOND = 1024;

/**
 * Leaves the driver's database as one that was closed cleanly, with the rows of the dump and a sequence above any that a
 * disk has: then it is what a mount believes, and every disk gets it. Resolves with small data that no disk has.
 * UserError when the volume has newer metadata (without `force`), or the dump is of another volume or damaged.
 */
export async function loadDump(parts: { start: DriverStart; order: LoadOrder; pool: WorkerPool; logger: Logger }): Promise<ReplayedData[]> {
  const { start, order, pool, logger } = parts;
  const directory = start.stateDirectory;
  const journalDirectory = placeJournal({ volume: start.description.volume, stateDirectory: directory, logger });
  const options = { directory, journalDirectory, epoch: start.epoch, mountEpoch: start.mountEpoch, reserveSpace: databaseReserve(join(directory, 'rows', 'data.mdb')) };
  const trust = new DatabaseTrust(directory);
  const newest = Math.max(await ownSequence(trust, options), ...pool.links.map((link) => link.hello?.log.lastSequence ?? 0));
  const missing = pool.links.filter((link) => !link.isReady).map((link) => link.worker);
  if (missing.length > 0) throw new UserError(`disks ${missing.join(', ')} are not there: a dump is loaded with all disks, so that none has other metadata afterwards`, EXIT.incomplete);
  if (newest > order.sequence && !order.force) throw new UserError(`the volume has metadata up to change ${newest}, and the dump is of change ${order.sequence}: what came after it would be lost. Mount the volume, or give --force`, EXIT.foreign);
  const blockEpoch = (await newestBlockEpoch(pool)) + 1;
  trust.withdraw();
  setDatabaseAside(options);
  const engine = await LmdbEngine.open({ ...options, closedCleanly: true }, () => {});
  const sequence = (Math.max(newest, order.sequence) + 1) as Sequence;
  const data: ReplayedData[] = [];
  let batch: Row[] = [];
  let dumpEpoch = 0;
  let dumpVersions = 0;
  for await (const part of readDump(order.file)) {
    if (part.kind === 'header' && part.header.volume !== start.description.volume) throw new UserError(`the dump ${order.file} is of another volume (${part.header.volume})`, EXIT.foreign);
    if (part.kind === 'data') data.push({ id: part.id, data: part.data, sequence });
    if (part.kind !== 'row') continue;
    if (part.row[0].equals(keys.bookkeeping(BOOKKEEPING.blockEpoch))) dumpEpoch = decodeNumber(part.row[1]);
    if (part.row[0].equals(keys.bookkeeping(KEY_VERSION_LEASE))) dumpVersions = decodeNumber(part.row[1]);
    if (batch.push(part.row) < BATCH_ROWS) continue;
    engine.load(batch);
    batch = [];
  }
  // Blocks that were written after the dump have ids that it does not know of, and are kept until somebody says that they may go.
  batch.push(
    [keys.bookkeeping(BOOKKEEPING.blockEpoch), encodeNumber(Math.max(blockEpoch, dumpEpoch + 1))],
    [keys.bookkeeping(BOOKKEEPING.garbageHold), encodeNumber(Date.now())],
    // Versions of keys that came after the dump must not come again, and nothing knows them: more than any store gets to by now.
    [keys.bookkeeping(KEY_VERSION_LEASE), encodeNumber(Math.max(dumpVersions, Date.now() * VERSIONS_A_MILLISECOND))],
  );
  engine.load(batch);
  await engine.setSequence(sequence);
  await engine.close();
  await trust.markClean();
  logger.warn({ file: order.file, of: order.sequence, newest, sequence }, 'a dump took the place of the metadata');
  return data;
}

async function ownSequence(trust: DatabaseTrust, options: Parameters<typeof LmdbEngine.open>[0]): Promise<number> {
  const state = await trust.state();
  if ((state !== 'clean' && state !== 'inUse') || !databaseExists(options.directory)) return 0;
  try {
    const engine = await LmdbEngine.open({ ...options, closedCleanly: state === 'clean' }, () => {});
    const { lastSequence } = engine;
    await engine.abandon();
    return lastSequence;
  } catch {
    // Then there is nothing in it that a mount would believe.
    return 0;
  }
}

/** The highest 16 bits of all block ids on the disks: ids of later epochs were never used. */
async function newestBlockEpoch(pool: WorkerPool): Promise<number> {
  let newest = 0;
  for (const link of pool.links) {
    for (let epoch = newest; epoch < EPOCH_MAX;) {
      const { blocks } = await link.request('listBlocks', { after: { hi: ((epoch << EPOCH_SHIFT) | 0xffff) >>> 0, lo: 0xffff_ffff }, limit: 1 });
      if (blocks[0] === undefined) break;
      epoch = blocks[0].id.hi >>> EPOCH_SHIFT;
      newest = Math.max(newest, epoch);
    }
  }
  return newest;
}
