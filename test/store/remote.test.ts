// The conformance suite on a store that is reached by its socket, and what a connection that is lost does.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { KeyServer } from '../../src/backend/key-server.ts';
import { privateCommands } from '../../src/backend/private-commands.ts';
import { REDIS_COMMANDS } from '../../src/resp/command-table.ts';
import { connectStore } from '../../src/store/connect-store.ts';
import { RespClient } from '../support/resp-client.ts';
import { modelStore } from '../support/model-store.ts';
import type { ModelStore } from '../support/model-store.ts';
import { describeStore } from './conformance.ts';

interface ServedStore extends ModelStore {
  readonly path: string;
  serve(): Promise<KeyServer>;
  end(): Promise<void>;
}

async function servedStore(): Promise<ServedStore & { server: KeyServer }> {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-remote-'));
  const path = join(directory, 'keys.sock');
  const made = modelStore();
  const served = {
    ...made, path, server: undefined as unknown as KeyServer,
    serve: async () => (served.server = await KeyServer.listen({ path }, { keys: made.keys, commands: [...REDIS_COMMANDS, ...privateCommands(made.backend)], logger: pino({ level: 'silent' }) })),
    end: async () => {
      await served.server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await served.serve();
  return served;
}

async function forTest(): Promise<ServedStore & { server: KeyServer }> {
  const served = await servedStore();
  onTestFinished(() => served.end());
  return served;
}

describeStore('that another process has open', async () => {
  const { path, end } = await servedStore();
  const store = await connectStore({ socket: path });
  return { store, second: () => connectStore({ socket: path }), close: async () => { await store.close(); await end(); } };
}, { statistics: 'it has no shards', reopen: 'nothing is left of what was in memory', crash: 'it has no processes of its own' });

test('calls after a lost connection are carried out on a new one', async () => {
  const served = await forTest();
  await using store = await connectStore({ socket: served.path });
  await store.set('a', '1');
  await served.server.close();
  await expect(store.set('a', '2')).rejects.toMatchObject({ code: 'CLOSED' });
  await expect(store.get('a')).rejects.toMatchObject({ code: 'CLOSED' });
  await served.serve();
  expect(String(await store.get('a'))).toBe('1');
  await store.set('a', '3');
  expect(String(await store.get('a'))).toBe('3');
});

test('a write whose answer is lost is not known to be done, and is not done twice', async () => {
  const served = await forTest();
  // Hands on what the client says, and ends when the first answer behind the greeting comes.
  const middle = createServer((client) => {
    const server = connect(served.path);
    let answers = 0;
    client.on('error', () => {}).pipe(server.on('error', () => {}));
    server.on('data', (chunk: Buffer) => (answers++ === 0 ? client.write(chunk) : (client.destroy(), server.destroy())));
  });
  const path = `${served.path}.middle`;
  await new Promise<void>((resolve) => { middle.listen(path, resolve); });
  onTestFinished(() => void middle.close());
  await using store = await connectStore({ socket: path });
  const before = served.keys.records;
  await expect(store.set('a', '1')).rejects.toMatchObject({ code: 'CLOSED', message: expect.stringMatching(/not known/) });
  expect(String(await served.store.get('a'))).toBe('1');
  expect((await served.store.getEntry('a'))!.version).toBe(1);
  expect(served.keys.records).toBeGreaterThan(before);
});

test('what a client had sent ahead is discarded when its connection ends, and locks that it waited for go to others', async () => {
  const served = await forTest();
  const one = await RespClient.connect({ path: served.path });
  await one.call('SDFS.HELLO', 1);
  expect(await one.call('SDFS.STAGE', 1, 7, Buffer.alloc(100_000))).toEqual([1, 'OK']);
  expect(await one.call('SDFS.STAGED', 2, 7)).toEqual([2, 100_000]);
  expect(await one.call('SDFS.STAGE', 3, 8, Buffer.alloc(100_000))).toEqual([3, 'OK']);
  expect(served.keys.prepared.size).toBe(1);
  const held = await served.store.lock('name', { ttlMs: 60_000 });
  one.send('SDFS.ACQUIRE 4 name 60000 60000\r\n');
  expect(await one.call('SDFS.HAS', 5, 'nothing')).toEqual([5, 0]);
  await one.end();
  await expect.poll(() => served.keys.prepared.size).toBe(0);
  await delay(20);
  await held.release();
  const next = await served.store.lock('name', { ttlMs: 60_000, waitMs: 5000 });
  await next.release();
});

test('a client of a newer protocol is refused with the reason', async () => {
  const served = await forTest();
  const one = await RespClient.connect({ path: served.path });
  expect(await one.show('SDFS.HELLO', 2)).toMatch(/^\(error\) SDFS FOREIGN this store speaks version 1/);
  await one.end();
});

test('a store that nobody has open cannot be reached, and what is no store neither', async () => {
  await expect(connectStore({ socket: '/nonexistent/keys.sock' })).rejects.toMatchObject({ code: 'CLOSED' });
  await expect(connectStore({ path: '/nonexistent' })).rejects.toMatchObject({ code: 'FOREIGN' });
  await expect(connectStore({ mountpoint: '/nonexistent' })).rejects.toMatchObject({ code: 'FOREIGN' });
  const deaf = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-remote-'));
  await new Promise<void>((resolve) => { deaf.listen(join(directory, 'deaf.sock'), resolve); });
  await expect(connectStore({ socket: join(directory, 'deaf.sock') })).rejects.toMatchObject({ code: 'CLOSED' });
  deaf.close();
  rmSync(directory, { recursive: true, force: true });
});
