// The channel between driver and worker: order, errors, bounds, epochs, and what a broken peer does to it.
import { fork } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ChannelClosedError, TimeoutError } from '../../src/base/errors.ts';
import type { BlockId, DriverEpoch, Sequence, Uuid, WorkerId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Membership } from '../../src/base/membership.ts';
import type { MessageName, ReplyOf, RequestOf } from '../../src/ipc/messages.ts';
import { WorkerError } from '../../src/ipc/messages.ts';
import { WorkerConnection } from '../../src/ipc/worker-connection.ts';
import type { WorkerHandlers } from '../../src/ipc/worker-server.ts';
import { WorkerServer } from '../../src/ipc/worker-server.ts';

const VOLUME = '00112233445566778899aabbccddeeff' as Uuid;
const MEMBERSHIP: Membership = { epoch: 2 ** 33, driver: 4 as DriverEpoch, members: [VOLUME], log: null, former: [] };
const STATISTICS = { totalBytes: 2 ** 45, availableBytes: 3, blockBytes: 4, blockCount: 5, device: 2 ** 33, logBytes: 6 };

let directory: string;
let path: string;
let servers: WorkerServer[] = [];
let connections: WorkerConnection[] = [];
const logged: string[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-ipc-'));
  path = join(directory, 'w');
  logged.length = 0;
});
afterEach(() => {
  for (const connection of connections) connection.close();
  for (const server of servers) server.close();
  connections = [];
  servers = [];
  fs.rmSync(directory, { recursive: true });
});

type Handlers = { -readonly [M in MessageName]?: (request: RequestOf<M>) => ReplyOf<M> | Promise<ReplyOf<M>> };

function serve(handlers: Handlers, options: { epoch?: number; onIdle?: () => void } = {}): WorkerServer {
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const missing = (): never => {
    throw new WorkerError('badRequest', 'not in this test');
  };
  const all = new Proxy(handlers, { get: (target, name) => Reflect.get(target, name) ?? (name === 'hello' ? hello : missing) }) as WorkerHandlers;
  const server = new WorkerServer({ path, handlers: all, log, epoch: (options.epoch ?? 0) as DriverEpoch, ...(options.onIdle === undefined ? {} : { onIdle: options.onIdle }) });
  servers.push(server);
  return server;
}

function hello(): ReplyOf<'hello'> {
  return { worker: 3 as WorkerId, disk: VOLUME, log: { checkpointSequence: 1 as Sequence, lastSequence: 2 ** 40 as Sequence, lastEpoch: 4 as DriverEpoch }, membership: MEMBERSHIP, statistics: STATISTICS };
}

async function connect(epoch = 1): Promise<WorkerConnection> {
  const connection = await WorkerConnection.connect(path, { timeoutMs: 1000 });
  connections.push(connection);
  await connection.request('hello', { volume: VOLUME, epoch: epoch as DriverEpoch });
  return connection;
}

function blockOf(lo: number, hi = 7): BlockId {
  return { hi, lo };
}

test('the socket file can be used by its owner alone', () => {
  serve({});
  expect(fs.statSync(path).mode & 0o777).toBe(0o600);
});

test('every message and reply arrives as it was sent', async () => {
  const seen: unknown[] = [];
  const see = <T>(request: T): T => (seen.push(structuredClone(request)), request);
  const row = [Buffer.from('key'), Buffer.alloc(3000, 1)] as const;
  serve({
    putBlocks: (request) => (see({ blocks: request.blocks.map(({ id, checksums, data }) => ({ id, checksums, data: Buffer.concat(data).toString('latin1') })) }), {}),
    getBlock: (request) => (see(request), { blockBytes: 20_000, checksums: Uint32Array.of(1, 0xffff_ffff), data: Buffer.alloc(20_000, 9) }),
    deleteBlocks: (request) => (see(request), {}),
    hasBlocks: (request) => (see(request), { present: Buffer.from([1, 0]) }),
    listBlocks: (request) => (see(request), { blocks: [{ id: blockOf(1), bytes: 5 }] }),
    syncBlocks: () => ({}),
    appendLog: (request) => (see({ ...request, records: Buffer.concat(request.records).toString() }), { last: request.last }),
    trimLog: (request) => (see(request), {}),
    readLog: (request) => (see(request), { records: Buffer.from('records') }),
    readCheckpoint: (request) => (see({ after: request.after?.toString(), bytesMax: request.bytesMax }), { rows: [[...row], [Buffer.from('k2'), Buffer.alloc(0)]], digest: { sum: 0xffff_ffff, count: 2 ** 40 } }),
    beginCheckpoint: () => ({}),
    loadCheckpoint: (request) => (see({ rows: request.rows.map(([key, value]) => `${key}=${value}`) }), {}),
    commitCheckpoint: (request) => (see(request), {}),
    statistics: () => STATISTICS,
  });
  const connection = await WorkerConnection.connect(path, { timeoutMs: 1000 });
  connections.push(connection);
  expect(await connection.request('hello', { volume: VOLUME, epoch: 9 as DriverEpoch })).toEqual(hello());

  const data = [Buffer.alloc(16_384, 'a'), Buffer.alloc(5, 'b')];
  await connection.request('putBlocks', { blocks: [{ id: blockOf(1), checksums: Uint32Array.of(1, 2), data }, { id: blockOf(2), checksums: Uint32Array.of(3), data: [Buffer.from('x')] }] });
  expect(seen.pop()).toEqual({ blocks: [
    { id: blockOf(1), checksums: Uint32Array.of(1, 2), data: 'a'.repeat(16_384) + 'bbbbb' },
    { id: blockOf(2), checksums: Uint32Array.of(3), data: 'x' },
  ] });
  const pieces = await connection.request('getBlock', { id: blockOf(0xffff_ffff, 0xffff_fffe), firstPiece: 1, pieceCount: 2 });
  expect(seen.pop()).toEqual({ id: blockOf(0xffff_ffff, 0xffff_fffe), firstPiece: 1, pieceCount: 2 });
  expect(pieces).toEqual({ blockBytes: 20_000, checksums: Uint32Array.of(1, 0xffff_ffff), data: Buffer.alloc(20_000, 9) });
  await connection.request('deleteBlocks', { ids: [blockOf(1), blockOf(2)] });
  expect(seen.pop()).toEqual({ ids: [blockOf(1), blockOf(2)] });
  expect((await connection.request('hasBlocks', { ids: [blockOf(3)] })).present).toEqual(Buffer.from([1, 0]));
  expect((await connection.request('listBlocks', { after: null, limit: 4 })).blocks).toEqual([{ id: blockOf(1), bytes: 5 }]);
  expect(seen.pop()).toEqual({ after: null, limit: 4 });
  await connection.request('listBlocks', { after: blockOf(0), limit: 4 });
  expect(seen.pop()).toEqual({ after: blockOf(0), limit: 4 });
  expect(await connection.request('syncBlocks', {})).toEqual({});
  expect(await connection.request('appendLog', { first: 2 ** 40 as Sequence, last: 2 ** 40 + 1 as Sequence, epoch: 9 as DriverEpoch, records: [Buffer.from('one'), Buffer.from('two')] })).toEqual({ last: 2 ** 40 + 1 });
  expect(seen.pop()).toEqual({ first: 2 ** 40, last: 2 ** 40 + 1, epoch: 9, records: 'onetwo' });
  await connection.request('trimLog', { through: 17 as Sequence });
  expect(seen.pop()).toEqual({ through: 17 });
  expect((await connection.request('readLog', { from: 1 as Sequence, bytesMax: 100 })).records.toString()).toBe('records');
  expect((await connection.request('readCheckpoint', { after: Buffer.from('aft'), bytesMax: 7 })).rows).toEqual([[...row], [Buffer.from('k2'), Buffer.alloc(0)]]);
  expect(seen.pop()).toEqual({ after: 'aft', bytesMax: 7 });
  await connection.request('beginCheckpoint', {});
  await connection.request('loadCheckpoint', { rows: [[Buffer.from('k'), Buffer.from('v')]] });
  expect(seen.pop()).toEqual({ rows: ['k=v'] });
  await connection.request('commitCheckpoint', { sequence: 3 as Sequence, epoch: 4 as DriverEpoch });
  expect(seen.pop()).toEqual({ sequence: 3, epoch: 4 });
  expect(await connection.request('statistics', {})).toEqual(STATISTICS);
});

test('replies may come out of order, and find their requests', async () => {
  serve({
    readLog: async ({ bytesMax }) => {
      await new Promise((resolve) => setTimeout(resolve, bytesMax));
      return { records: Buffer.from(String(bytesMax)) };
    },
  });
  const connection = await connect();
  const order: string[] = [];
  await Promise.all([30, 1, 15].map(async (bytesMax) => {
    const { records } = await connection.request('readLog', { from: 1 as Sequence, bytesMax });
    expect(records.toString()).toBe(String(bytesMax));
    order.push(String(bytesMax));
  }));
  expect(order).toEqual(['1', '15', '30']);
});

test('a refusal keeps its code, an unforeseen failure becomes internal and is logged', async () => {
  serve({
    getBlock: () => { throw new WorkerError('notFound', 'block 7 is not here'); },
    syncBlocks: async () => { throw new Error('boom'); },
  });
  const connection = await connect();
  await expect(connection.request('getBlock', { id: blockOf(1), firstPiece: 0, pieceCount: 1 })).rejects.toMatchObject({ name: 'WorkerError', code: 'notFound', message: 'block 7 is not here' });
  await expect(connection.request('syncBlocks', {})).rejects.toMatchObject({ code: 'internal' });
  expect(logged.join()).toContain('boom');
});

test('large bodies both ways, far beyond what a socket holds, arrive whole', async () => {
  let sum = 0;
  serve({
    putBlocks: ({ blocks }) => {
      for (const { data } of blocks) sum += data[0]![data[0]!.length - 1]!;
      return {};
    },
    getBlock: ({ firstPiece }) => ({ blockBytes: LIMITS.blockBytesMax, checksums: new Uint32Array(64), data: Buffer.alloc(LIMITS.blockBytesMax, firstPiece) }),
  });
  const connection = await connect();
  const checksums = new Uint32Array(64);
  const requests = Array.from({ length: 100 }, (_, index) =>
    connection.request('putBlocks', { blocks: [{ id: blockOf(index), checksums, data: [Buffer.alloc(LIMITS.blockBytesMax / 2, 1), Buffer.alloc(LIMITS.blockBytesMax / 2, index)] }] }));
  await Promise.all(requests);
  expect(sum).toBe(4950);
  const replies = await Promise.all(Array.from({ length: 100 }, (_, index) => connection.request('getBlock', { id: blockOf(1), firstPiece: index, pieceCount: 64 })));
  for (const [index, { data }] of replies.entries()) expect(data.equals(Buffer.alloc(LIMITS.blockBytesMax, index))).toBe(true);
});

test('many more requests than may be in flight are all answered, in order', async () => {
  const order: number[] = [];
  let open = 0;
  let most = 0;
  serve({
    trimLog: async ({ through }) => {
      order.push(through);
      most = Math.max(most, ++open);
      await new Promise((resolve) => setImmediate(resolve));
      open--;
      return {};
    },
  });
  const connection = await connect();
  await Promise.all(Array.from({ length: 3000 }, (_, index) => connection.request('trimLog', { through: index as Sequence })));
  expect(order).toEqual(Array.from({ length: 3000 }, (_, index) => index));
  expect(most).toBeLessThanOrEqual(LIMITS.workerRequestsMax);
  expect(connection.pendingCount).toBe(0);
});

test('a request that is not answered in time fails, and its late answer disturbs nobody', async () => {
  let release = (): void => undefined;
  serve({ syncBlocks: () => new Promise((resolve) => { release = () => resolve({}); }), statistics: () => STATISTICS });
  const connection = await connect();
  await expect(connection.request('syncBlocks', {}, { timeoutMs: 20 })).rejects.toThrow(TimeoutError);
  release();
  expect(await connection.request('statistics', {})).toEqual(STATISTICS);
});

test('when the worker goes, everything pending fails at once with the cause', async () => {
  const server = serve({ syncBlocks: () => new Promise(() => undefined) });
  const connection = await connect();
  const causes: Error[] = [];
  connection.onClose((cause) => causes.push(cause));
  const pending = Array.from({ length: 300 }, () => connection.request('syncBlocks', {}).catch((error: unknown) => error));
  await new Promise((resolve) => setTimeout(resolve, 20));
  server.close();
  for (const error of await Promise.all(pending)) expect(error).toMatchObject({ name: 'ChannelClosedError', cause: { name: 'ChannelClosedError' } });
  expect(causes).toHaveLength(1);
  expect(connection.isOpen).toBe(false);
  await expect(connection.request('syncBlocks', {})).rejects.toThrow(ChannelClosedError);
  expect(fs.existsSync(path)).toBe(false);
});

test('connect waits for a worker that does not listen yet, and not longer than it is told', async () => {
  await expect(WorkerConnection.connect(path, { timeoutMs: 30 })).rejects.toThrow(TimeoutError);
  const waiting = WorkerConnection.connect(path, { timeoutMs: 2000 });
  setTimeout(() => serve({}), 50);
  connections.push(await waiting);
});

test('an older driver is refused, and cut off when a newer one comes', async () => {
  serve({ statistics: () => STATISTICS }, { epoch: 4 });
  await expect(connect(3)).rejects.toMatchObject({ code: 'staleEpoch' });
  const old = await connect(5);
  const gone = new Promise((resolve) => old.onClose(resolve));
  expect(await old.request('statistics', {})).toEqual(STATISTICS);
  const young = await connect(6);
  await gone;
  expect(await young.request('statistics', {})).toEqual(STATISTICS);
  await expect(connect(5)).rejects.toMatchObject({ code: 'staleEpoch' });
});

test('the latest channel of a driver is the only one: what still lies in an earlier one is not done', async () => {
  serve({ statistics: () => STATISTICS });
  const former = await connect(5);
  const gone = new Promise((resolve) => former.onClose(resolve));
  const latest = await connect(5);
  await gone;
  expect(await latest.request('statistics', {})).toEqual(STATISTICS);
});

test('a driver that the hello handler refuses does not cut off the one that is there', async () => {
  serve({ statistics: () => STATISTICS, hello: ({ epoch }) => { if (epoch === 9) throw new WorkerError('foreignVolume', 'no'); return hello(); } });
  const right = await connect(5);
  await expect(connect(9)).rejects.toMatchObject({ code: 'foreignVolume' });
  expect(await right.request('statistics', {})).toEqual(STATISTICS);
});

test('nothing is done for a connection that did not say hello', async () => {
  serve({ statistics: () => STATISTICS });
  const connection = await WorkerConnection.connect(path, { timeoutMs: 1000 });
  connections.push(connection);
  await expect(connection.request('statistics', {})).rejects.toMatchObject({ code: 'badRequest' });
});

test('a message larger than a frame is refused before it is sent, and the channel lives on', async () => {
  serve({ statistics: () => STATISTICS });
  const connection = await connect();
  await expect(connection.request('appendLog', { first: 1 as Sequence, last: 1 as Sequence, epoch: 1 as DriverEpoch, records: [Buffer.alloc(LIMITS.frameBodyBytesMax + 1)] })).rejects.toThrow(RangeError);
  await expect(connection.request('deleteBlocks', { ids: Array.from({ length: 100_000 }, () => blockOf(1)) })).rejects.toThrow(RangeError);
  expect(await connection.request('statistics', {})).toEqual(STATISTICS);
});

function header(fields: { magic?: number; version?: number; type?: number; flags?: number; head?: number; body?: number }): Buffer {
  const out = Buffer.alloc(32);
  out.writeUInt32LE(fields.magic ?? 0x50494453, 0);
  out[4] = fields.version ?? 1;
  out[5] = fields.type ?? 1;
  out.writeUInt16LE(fields.flags ?? 0, 6);
  out.writeUInt32LE(fields.head ?? 0, 16);
  out.writeUInt32LE(fields.body ?? 0, 20);
  return out;
}

test.each([
  ['wrong magic', header({ magic: 1 })],
  ['a newer version', header({ version: 2 })],
  ['an unknown type', header({ type: 200 })],
  ['unknown flags', header({ flags: 8 })],
  ['a reply', header({ flags: 1 })],
  ['a head that is too long', header({ head: LIMITS.frameHeadBytesMax + 1 })],
  ['a body that is too long', header({ body: LIMITS.frameBodyBytesMax + 1 })],
  ['fields that end too early', Buffer.concat([header({ head: 5 }), Buffer.alloc(5)])],
  ['fields that end too late', Buffer.concat([header({ head: 50 }), Buffer.alloc(50)])],
  ['more entries than bytes', Buffer.concat([header({ type: 4, head: 4 }), Buffer.from([255, 255, 255, 255])])],
])('a frame with %s closes its connection with a line in the log, and no other', async (_name, bytes) => {
  serve({ statistics: () => STATISTICS });
  const connection = await connect();
  const broken = net.connect(path);
  broken.on('error', () => undefined);
  const closed = new Promise((resolve) => broken.on('close', resolve));
  broken.write(bytes);
  broken.resume();
  await closed;
  expect(logged.join()).toContain('FormatError');
  expect(await connection.request('statistics', {})).toEqual(STATISTICS);
});

test('frames that arrive byte by byte are put together', async () => {
  serve({ statistics: () => STATISTICS });
  const socket = net.connect(path);
  const replies: Buffer[] = [];
  socket.on('data', (data) => replies.push(data));
  for (const byte of Buffer.concat([header({ type: 15 }), header({ type: 15 })])) {
    socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expect.poll(() => replies.length).toBeGreaterThanOrEqual(1);
  await expect.poll(() => Buffer.concat(replies).indexOf('hello comes first', 60)).toBeGreaterThan(0);
  socket.destroy();
});

test('a busy asker may poll for its reply instead of sleeping', async () => {
  const child = fork(new URL('./echo-worker.mjs', import.meta.url).pathname, [path], { stdio: 'ignore' });
  try {
    const raw = await WorkerConnection.connect(path, { timeoutMs: 5000 });
    connections.push(raw);
    let done: unknown;
    void raw.request('syncBlocks', {}).then((value) => (done = value));
    while (!raw.poll());
    await Promise.resolve();
    expect(done).toEqual({});
  } finally {
    child.kill();
  }
});
