// What is under way while a store is opened anew under its users, as for a change of its shards.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { EmbeddedBackend } from '../../src/backend/embedded-backend.ts';
import { KeyServer } from '../../src/backend/key-server.ts';
import { privateCommands } from '../../src/backend/private-commands.ts';
import { RemoteBackend } from '../../src/backend/remote-backend.ts';
import { Staging } from '../../src/backend/staging.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import type { KeySpace } from '../../src/keys/key-space.ts';
import { Leases } from '../../src/keys/leases.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { CurrentKeySpace } from '../../src/store/current-key-space.ts';
import { Lock } from '../../src/store/lock.ts';
import { Store } from '../../src/store/store.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { modelStore } from '../support/model-store.ts';
import { openHarness } from '../support/vfs-harness.ts';

const key = Buffer.from('key');
const large = Buffer.alloc(LIMITS.inlineBytesMax + 1, 'large');

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A backend over a socket, closed when the test ends. */
async function remoteTo(backend: EmbeddedBackend, keys: KeySpace): Promise<RemoteBackend> {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-reopened-'));
  const path = join(directory, 'keys.sock');
  const server = await KeyServer.listen({ path }, { keys, commands: privateCommands(backend), logger: pino({ level: 'silent' }) });
  const remote = await RemoteBackend.connect(path);
  onTestFinished(async () => {
    await remote.close();
    await server.close();
    rmSync(directory, { recursive: true });
  });
  return remote;
}

/** A space that can be taken away and given back. */
function reopenable() {
  const model = new ModelKeySpace();
  let pause: { readonly done: Promise<void>; readonly end: () => void } | undefined;
  const space = new CurrentKeySpace(() => {
    if (pause !== undefined) throw new StoreError('UNAVAILABLE', 'the store is being opened anew');
    return model;
  }, () => pause?.done);
  return {
    space,
    begin: () => {
      let resolve!: () => void;
      const promise = new Promise<void>((settle) => { resolve = settle; });
      pause = { done: promise, end: resolve };
    },
    end: () => {
      const { end } = pause!;
      pause = undefined;
      end();
    },
  };
}

test('a value that was prepared before is refused, and nothing of its change is done', async () => {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const versions = new Versions(harness.engine, { leap: false });
  const [before, after] = [new LocalKeySpace(harness.context, { versions }), new LocalKeySpace(harness.context, { versions })];
  const value = await before.prepare(large);
  expect(() => after.transact((tx) => { tx.set(Buffer.from('other'), key); tx.set(key, value); })).toThrowError(expect.objectContaining({ code: 'UNAVAILABLE' }));
  expect(after.count).toBe(0);
  after.discard(value);
  expect(value.used).toBe(true);
});

test.each([
  { where: 'in the process that has the store', isRemote: false, fails: false },
  { where: 'in another process', isRemote: true, fails: false },
  { where: 'in another process, whose bytes got lost on the way', isRemote: true, fails: true },
])('a large value in memory, that was on its way then, is set all the same ($where)', async ({ isRemote, fails }) => {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const versions = new Versions(harness.engine, { leap: false });
  const [before, after] = [new LocalKeySpace(harness.context, { versions }), new LocalKeySpace(harness.context, { versions })];
  let current = before;
  const prepare = before.prepare.bind(before);
  vi.spyOn(before, 'prepare').mockImplementation(async (value) => {
    const prepared = await prepare(value);
    current = after;
    if (fails) {
      before.discard(prepared);
      throw new StoreError('UNAVAILABLE', 'the shards are gone');
    }
    return prepared;
  });
  const paused = () => (fails && current === after && isFirst ? Promise.resolve().then(() => { isFirst = false; }) : undefined);
  let isFirst = true;
  const backend = new EmbeddedBackend({ keys: new CurrentKeySpace(() => current, paused), leases: new Leases(new ModelKeySpace()), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const store = new Store(isRemote ? await remoteTo(backend, after) : backend, { sync: false });
  await store.set('one', large);
  current = before;
  isFirst = true;
  await store.batch([{ type: 'set', key: 'two', value: large }, { type: 'set', key: 'three', value: 'small' }]);
  expect([current, (await store.get('one'))?.equals(large), (await store.get('two'))?.equals(large), String(await store.get('three'))]).toEqual([after, true, true, 'small']);
});

test('a client that leaves just then takes its staged values with it, and breaks nothing', async () => {
  const { space, begin } = reopenable();
  const unhandled = vi.fn<() => void>();
  process.on('unhandledRejection', unhandled);
  onTestFinished(() => void process.off('unhandledRejection', unhandled));
  const backend = new EmbeddedBackend({ keys: space, leases: new Leases(new ModelKeySpace()), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const staging = new Staging(backend);
  await staging.add(1, large);
  await staging.finish(1);
  begin();
  staging.close();
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

test('who waits for a lock gets it afterwards, when its time was up meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  const { space, begin, end } = reopenable();
  const leases = new Leases(space);
  const first = await leases.acquire(key, { ttlMs: 1000, waitMs: 0 });
  const second = leases.acquire(key, { ttlMs: 1000, waitMs: 60_000 });
  const outcome = second.catch((error: Error) => error);
  await vi.advanceTimersByTimeAsync(10);
  begin();
  await vi.advanceTimersByTimeAsync(2000);
  end();
  await vi.advanceTimersByTimeAsync(10);
  expect(await outcome).toMatchObject({ token: expect.any(Number) });
  expect((await second)!.token).toBeGreaterThan(first!.token);
});

test('a lease whose time comes while it is renewed is lost', async () => {
  const leases = new Leases(new ModelKeySpace());
  const start = Date.now();
  const now = vi.spyOn(Date, 'now').mockReturnValue(start);
  const { token } = (await leases.acquire(key, { ttlMs: 1000, waitMs: 0 }))!;
  // The first look is in time, all others are not.
  now.mockReturnValueOnce(start + 999).mockReturnValue(start + 1001);
  expect(await leases.renew(key, token, 1000)).toBeUndefined();
});

test('work under a lock is told that it is lost also when nobody answers', async () => {
  vi.useFakeTimers();
  const { backend } = modelStore();
  vi.spyOn(backend, 'renew').mockReturnValue(new Promise(() => {}));
  const lock = new Lock(backend, key, { token: 1, expiresMs: Date.now() + 3000, ttlMs: 3000 });
  let isTold = false;
  const done = lock.run((signal) => new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => { isTold = true; });
    setTimeout(resolve, 10_000);
  }));
  await vi.advanceTimersByTimeAsync(10_000);
  await done;
  expect(isTold).toBe(true);
});

test('a sync ends though more changes wait at all times than fit in a turn', async () => {
  const { backend } = modelStore();
  let isOver = false;
  let rounds = 0;
  const change = async (name: number): Promise<void> => {
    while (!isOver && rounds < 20 * LIMITS.commitsPerTurnMax) {
      await backend.commit([{ kind: 'set', key: Buffer.from(String(name)), value: key, expiresMs: 0 }], { sync: false });
      rounds++;
    }
  };
  const all = Array.from({ length: 2 * LIMITS.commitsPerTurnMax }, (_, name) => change(name));
  await backend.sync();
  isOver = true;
  const during = rounds;
  await Promise.all(all);
  expect(during).toBeLessThan(10 * LIMITS.commitsPerTurnMax);
});
