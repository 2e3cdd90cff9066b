// The worker as a process of its own: forked, used over its socket, stopped, orphaned and killed.
import { execFileSync, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { DriverEpoch, Sequence, Uuid, WorkerId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { lockDisk } from '../../src/disk/identity.ts';
import type { KeeperToWorker, WorkerToKeeper } from '../../src/ipc/process-messages.ts';
import { WorkerConnection } from '../../src/ipc/worker-connection.ts';
import { encodeRecord } from '../../src/log/record.ts';
import { blockId, DISK_UUID, DISK_VOLUME, makeBlock, makeDisk } from '../support/temporary-disk.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const OUT = join(ROOT, 'node_modules/.cache/worker-test-dist');
let parent: string;
let directory: string;
let socket: string;
let children: ChildProcess[] = [];
let connections: WorkerConnection[] = [];

beforeAll(() => {
  try {
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', OUT], { stdio: 'pipe' });
  } catch (error) {
    // Errors elsewhere in the sources are the type check's to tell; files are written all the same.
    if (!fs.existsSync(join(OUT, 'worker/main.js'))) throw error;
  }
});
beforeEach(() => {
  ({ parent, directory } = makeDisk());
  socket = join(parent, 'w');
});
afterEach(async () => {
  for (const connection of connections) connection.close();
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
  children = [];
  connections = [];
  fs.rmSync(parent, { recursive: true });
});

/** Forks a worker and tells it to start; resolves with its first message, or undefined when it ends without one. */
async function start(options: { volume?: Uuid } = {}): Promise<{ child: ChildProcess; said: WorkerToKeeper | undefined; exit: Promise<number | null> }> {
  const child = fork(join(OUT, 'worker/main.js'), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  children.push(child);
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const said = new Promise<WorkerToKeeper | undefined>((resolve) => {
    child.once('message', (message) => resolve(message as WorkerToKeeper));
    child.once('exit', () => resolve(undefined));
  });
  send(child, { type: 'start', volume: options.volume ?? DISK_VOLUME, worker: 0 as WorkerId, disk: DISK_UUID, directory, socket, log: { level: 'debug', file: join(parent, 'log') } });
  return { child, said: await said, exit };
}

function send(child: ChildProcess, message: KeeperToWorker): void {
  child.send(message);
}

async function connect(epoch = 1): Promise<WorkerConnection> {
  const connection = await WorkerConnection.connect(socket, { timeoutMs: 5000 });
  connections.push(connection);
  await connection.request('hello', { volume: DISK_VOLUME, epoch: epoch as DriverEpoch });
  return connection;
}

async function readBlock(connection: WorkerConnection, lo: number, bytes: number): Promise<Buffer> {
  return (await connection.request('getBlock', { id: blockId(lo), firstPiece: 0, pieceCount: Math.ceil(bytes / LIMITS.checksumBytes) })).data;
}

function record(sequence: number, epoch: number): Buffer {
  return encodeRecord({ sequence: sequence as Sequence, epoch: epoch as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 }, [{ kind: 'put', key: Buffer.from('k'), value: Buffer.from(String(sequence)) }]);
}

test('a worker serves blocks and log, and after a stop the next one finds them', async () => {
  const first = await start();
  expect(first.said).toEqual({ type: 'ready' });
  expect(fs.statSync(socket).mode & 0o777).toBe(0o600);
  let driver = await connect(4);
  const puts = [makeBlock(1, 100), makeBlock(2, 20_000), makeBlock(3, LIMITS.blockBytesMax)];
  await driver.request('putBlocks', { blocks: puts });
  await driver.request('syncBlocks', {});
  expect(await driver.request('appendLog', { first: 1 as Sequence, last: 2 as Sequence, epoch: 4 as DriverEpoch, records: [record(1, 4), record(2, 4)] })).toEqual({ last: 2 });
  expect([...(await driver.request('hasBlocks', { ids: [1, 9].map(blockId) })).present]).toEqual([1, 0]);
  await driver.request('deleteBlocks', { ids: [blockId(1)] });
  send(first.child, { type: 'stop' });
  expect(await first.exit).toBe(EXIT.ok);
  expect(fs.existsSync(socket)).toBe(false);

  const second = await start();
  await expect(connect(3)).rejects.toMatchObject({ code: 'staleEpoch' });
  driver = await connect(5);
  const hello = await driver.request('hello', { volume: DISK_VOLUME, epoch: 5 as DriverEpoch });
  expect(hello).toMatchObject({ worker: 0, disk: DISK_UUID, log: { checkpointSequence: 0, lastSequence: 2, lastEpoch: 4 }, statistics: { blockCount: 2 } });
  for (const put of puts.slice(1)) expect((await readBlock(driver, put.id.lo, Buffer.concat(put.data).length)).equals(Buffer.concat(put.data))).toBe(true);
  await expect(readBlock(driver, 1, 100)).rejects.toMatchObject({ code: 'notFound' });
  send(second.child, { type: 'stop' });
  expect(await second.exit).toBe(EXIT.ok);
});

test('what was acknowledged survives kill -9 at any moment', async () => {
  const acknowledged: number[] = [];
  let next = 1;
  for (let round = 1; round <= 3; round++) {
    const { child, exit } = await start();
    const driver = await connect(round);
    const target = acknowledged.length + 5 + 4 * round;
    const work = (async () => {
      for (;;) {
        const lo = next++;
        const bytes = [300, 17_000, 200_000][lo % 3]!;
        await driver.request('putBlocks', { blocks: [makeBlock(lo, bytes)] });
        acknowledged.push(lo);
        // In the middle of one that follows, whichever that is when the signal comes.
        if (acknowledged.length === target) setTimeout(() => child.kill('SIGKILL'), round);
      }
    })().catch(() => undefined);
    await exit;
    await work;
  }
  await start();
  const driver = await connect(9);
  expect(acknowledged.length).toBeGreaterThan(20);
  for (const lo of acknowledged) {
    const wanted = Buffer.concat(makeBlock(lo, [300, 17_000, 200_000][lo % 3]!).data);
    expect((await readBlock(driver, lo, wanted.length)).equals(wanted), `block ${lo}`).toBe(true);
  }
});

test('signals of the terminal do not end a worker', async () => {
  const { child } = await start();
  const driver = await connect();
  child.kill('SIGINT');
  child.kill('SIGTERM');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect((await driver.request('statistics', {})).blockCount).toBe(0);
});

test('a worker whose keeper died stays for its driver, and ends cleanly when that is done', async () => {
  const { child, exit } = await start();
  const driver = await connect();
  child.disconnect();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await driver.request('putBlocks', { blocks: [makeBlock(1, 1000)] });
  driver.close();
  expect(await exit).toBe(EXIT.ok);
  expect(JSON.parse(fs.readFileSync(join(directory, 'state.json'), 'utf8'))).toMatchObject({ clean: true });
});

test('a disk that another process has, or of another volume, is unusable, and the keeper is told why', async () => {
  const lock = lockDisk(directory);
  const busy = await start();
  expect(busy.said).toMatchObject({ type: 'unusable', exitCode: EXIT.busy, reason: expect.stringContaining('in use by another process') });
  expect(await busy.exit).toBe(EXIT.busy);
  lock.release();
  const foreign = await start({ volume: '9'.repeat(32) as Uuid });
  expect(foreign.said).toMatchObject({ type: 'unusable', exitCode: EXIT.foreign });
});

test('a driver of another volume is refused, and does not disturb the right one', async () => {
  await start();
  const driver = await connect(1);
  const foreign = await WorkerConnection.connect(socket, { timeoutMs: 1000 });
  connections.push(foreign);
  await expect(foreign.request('hello', { volume: '9'.repeat(32) as Uuid, epoch: 99 as DriverEpoch })).rejects.toMatchObject({ code: 'foreignVolume' });
  await driver.request('statistics', {});
});

test('a seeded checkpoint is read back as it was loaded', async () => {
  await start();
  const driver = await connect(1);
  const rows = Array.from({ length: 5000 }, (_, index) => [Buffer.from(`key${String(index).padStart(5, '0')}`), Buffer.alloc(1 + (index % 300), index)] as const);
  await driver.request('beginCheckpoint', {});
  for (let at = 0; at < rows.length; at += 1000) await driver.request('loadCheckpoint', { rows: rows.slice(at, at + 1000) });
  await driver.request('commitCheckpoint', { sequence: 77 as Sequence, epoch: 1 as DriverEpoch });
  await driver.request('appendLog', { first: 78 as Sequence, last: 78 as Sequence, epoch: 1 as DriverEpoch, records: [record(78, 1)] });
  const found: (readonly [Buffer, Buffer])[] = [];
  for (let after: Buffer | null = null; ;) {
    const page: { rows: (readonly [Buffer, Buffer])[] } = await driver.request('readCheckpoint', { after, bytesMax: 100_000 });
    if (page.rows.length === 0) break;
    found.push(...page.rows);
    after = page.rows.at(-1)![0];
  }
  expect(found.length).toBe(rows.length);
  expect(found.every(([key, value], index) => key.equals(rows[index]![0]) && value.equals(rows[index]![1]))).toBe(true);
  expect((await driver.request('readLog', { from: 78 as Sequence, bytesMax: 1000 })).records.equals(record(78, 1))).toBe(true);
});
