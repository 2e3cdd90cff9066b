// What the driver makes of damage to its own database, and to the copies of the metadata that it could rebuild it from.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { DriverEpoch, InodeNumber, Sequence } from '../../src/base/ids.ts';
import { DatabaseTrust } from '../../src/driver/database-trust.ts';
import { KeptJournal } from '../../src/driver/kept-journal.ts';
import { rebuildMetadata } from '../../src/driver/rebuild.ts';
import type { Candidate } from '../../src/driver/rebuild.ts';
import { encodeRecord } from '../../src/log/record.ts';
import { eraseDatabase, setDatabaseAside } from '../../src/metadata/lmdb/database-files.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import { poolOver, silent } from '../support/memory-pool.ts';
import { MemoryWorker } from '../support/memory-worker.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';

const EPOCH = 3 as DriverEpoch;
let root: string;
let directory: string;
let pool: WorkerPool | undefined;
const engines: LmdbEngine[] = [];

beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'sdfs-damaged-'));
  directory = join(root, 'driver');
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.abandon();
  pool?.close();
  pool = undefined;
  fs.rmSync(root, { recursive: true });
});

async function openEngine(): Promise<LmdbEngine> {
  const engine = await LmdbEngine.open({ directory, epoch: EPOCH, closedCleanly: true }, () => {});
  engines.push(engine);
  return engine;
}

const begin = (): Promise<LmdbEngine> => {
  eraseDatabase({ directory });
  return openEngine();
};

function record(sequence: number): Buffer {
  const operations = [{ kind: 'put' as const, key: Buffer.from(`k${sequence}`), value: Buffer.from(`v${sequence}`) }];
  return encodeRecord({ sequence: sequence as Sequence, epoch: EPOCH, requestHi: 0, requestLo: 0, result: 0 as InodeNumber | 0 }, operations);
}

/** Workers that hold a checkpoint of record 1 and the log up to `last`. */
async function workersWith(...lasts: number[]): Promise<MemoryWorker[]> {
  const workers = lasts.map((last, index) => {
    const worker = new MemoryWorker(index);
    worker.checkpoint = [[Buffer.from('k1'), Buffer.from('v1')]];
    for (let sequence = 2; sequence <= last; sequence++) worker.log.set(sequence, { epoch: EPOCH, bytes: record(sequence) });
    worker.logState = { checkpointSequence: 1 as Sequence, lastSequence: last as Sequence, lastEpoch: EPOCH };
    return worker;
  });
  pool = poolOver(workers);
  await pool.allReady(1_000);
  return workers;
}

const candidates = (): Candidate[] => pool!.links.map((link) => ({ link, state: link.hello!.log }));
const rowsOf = (engine: LmdbEngine): string[] => [...engine.rows()].map(([key, value]) => `${key}=${value}`);

it('a database that was closed is not believed when a byte of it has changed', async () => {
  const engine = await openEngine();
  engine.transact(null, (tx) => tx.put(Buffer.from('name'), Buffer.from('value')));
  await engine.close();
  engines.length = 0;
  const trust = new DatabaseTrust(directory, 'boot');
  await trust.markClean();
  expect(await trust.state()).toBe('clean');
  const file = join(directory, 'rows', 'data.mdb');
  const bytes = fs.readFileSync(file);
  bytes[bytes.indexOf('value')]! ^= 1;
  fs.writeFileSync(file, bytes);
  expect(await trust.state()).toBe('spoilt');
});

it('rows that are damaged are one state, and a lost boot another', async () => {
  const trust = new DatabaseTrust(directory, 'boot');
  trust.claim();
  expect(await trust.state()).toBe('inUse');
  trust.markDamaged();
  expect(await trust.state()).toBe('damaged');
  expect(await new DatabaseTrust(directory, 'next boot').state()).toBe('spoilt');
});

it('rows are not believed when the file system was mounted anew while they were in use', async () => {
  new DatabaseTrust(directory, 'boot', '11').claim();
  expect(await new DatabaseTrust(directory, 'boot', '11').state()).toBe('inUse');
  expect(await new DatabaseTrust(directory, 'boot', '12').state()).toBe('damaged');
  expect(await new DatabaseTrust(directory, 'next boot', '11').state()).toBe('spoilt');
});

it('a checkpoint that does not add up is refused, and another disk has the metadata', async () => {
  const [rotten] = await workersWith(4, 4);
  rotten!.lies = [[Buffer.from('k1'), Buffer.from('v?')]];
  const rebuilt = await rebuildMetadata(candidates(), begin, silent);
  expect(rowsOf(rebuilt.engine)).toEqual(['k1=v1', 'k2=v2', 'k3=v3', 'k4=v4']);
  expect(rebuilt.from.link.worker).toBe(1);
  expect(rebuilt.damaged.map(({ worker }) => worker)).toEqual([0]);
});

it('what only the log of a disk with a rotten checkpoint has is taken from that log', async () => {
  const [rotten] = await workersWith(6, 4);
  rotten!.lies = [[Buffer.from('k1'), Buffer.from('v?')]];
  const rebuilt = await rebuildMetadata(candidates(), begin, silent);
  expect(rowsOf(rebuilt.engine)).toEqual(['k1=v1', 'k2=v2', 'k3=v3', 'k4=v4', 'k5=v5', 'k6=v6']);
  expect(rebuilt.engine.lastSequence).toBe(6);
});

it('without one whole checkpoint the mount is refused, and the disks are named', async () => {
  for (const worker of await workersWith(4, 4)) worker.lies = [];
  await expect(rebuildMetadata(candidates(), begin, silent)).rejects.toThrow(/no disk has a whole copy.*disk 0.*disk 1/);
});

it('a checkpoint whose rows go in circles ends in an error', async () => {
  const [circling] = await workersWith(4);
  circling!.lies = [[Buffer.from('k1'), Buffer.from('v1')], [Buffer.from('k0'), Buffer.from('v0')]];
  await expect(rebuildMetadata(candidates(), begin, silent)).rejects.toThrow(/in the order of their keys/);
});

/** A database of five records, set aside with its journal, beside disks that have three of them. */
async function setAsideAheadOfDisks(): Promise<void> {
  await workersWith(3);
  const before = await openEngine();
  for (let sequence = 1; sequence <= 5; sequence++) before.applyRecord(record(sequence), sequence as Sequence, EPOCH);
  await before.abandon();
  engines.length = 0;
  setDatabaseAside({ directory });
}

it('what the disks lack is taken from the journal of a database with damaged rows', async () => {
  await setAsideAheadOfDisks();
  const journal = new KeptJournal({ directory, journalDirectory: join(directory, 'journal') });
  const rebuilt = await rebuildMetadata(candidates(), begin, silent);
  await journal.replay(rebuilt.engine, rebuilt.lastEpoch, silent);
  expect(rowsOf(rebuilt.engine)).toEqual(['k1=v1', 'k2=v2', 'k3=v3', 'k4=v4', 'k5=v5']);
});

it('a journal of another log adds nothing', async () => {
  await setAsideAheadOfDisks();
  const rebuilt = await rebuildMetadata(candidates(), begin, silent);
  await new KeptJournal({ directory, journalDirectory: join(directory, 'journal') }).replay(rebuilt.engine, (EPOCH - 1) as DriverEpoch, silent);
  expect(rebuilt.engine.lastSequence).toBe(3);
});
