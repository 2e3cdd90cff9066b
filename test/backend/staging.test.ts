// Values that another process sends in pieces, and does not finish: they keep nothing from being collected for ever.
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
import { Leases } from '../../src/keys/leases.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { openHarness } from '../support/vfs-harness.ts';

const MiB = 2 ** 20;

afterEach(() => {
  vi.useRealTimers();
});

/** A store over real rows, served on a socket, and a client of it. Time passes when the test says so. */
async function connected() {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const harness = await openHarness();
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-staging-'));
  const keys = new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  const backend = new EmbeddedBackend({ keys, leases: new Leases(new ModelKeySpace()), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const path = join(directory, 'keys.sock');
  const server = await KeyServer.listen({ path }, { keys, commands: privateCommands(backend), logger: pino({ level: 'silent' }) });
  const client = await RemoteBackend.connect(path);
  onTestFinished(async () => {
    vi.useRealTimers();
    await client.close();
    await server.close();
    await harness.end();
    rmSync(directory, { recursive: true });
  });
  return { harness, keys, client };
}

/** Whether all blocks that no row names can be collected that were put until now. */
async function isSettled(settled: Promise<unknown>): Promise<boolean> {
  let is = false;
  settled.then(() => { is = true; }, () => {});
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  return is;
}

test('a value whose stream stalls is dropped when its time is up: garbage is collected again, and its client told', async () => {
  const { harness, keys, client } = await connected();
  let goOn = (): void => {};
  const stalled = new Promise<void>((resolve) => { goOn = resolve; });
  const stream = (async function* stalls() {
    yield Buffer.alloc(2 * MiB, 'x');
    await stalled;
    for (let piece = 0; piece < 8; piece++) yield Buffer.alloc(MiB, 'y');
  })();
  const outcome = client.stage(stream).then(() => 'staged', (error: unknown) => error);
  await vi.waitFor(() => expect(harness.blocks.stored.size).toBeGreaterThan(0));
  const settled = harness.context.allocator.settled();
  expect(await isSettled(settled)).toBe(false);
  await vi.advanceTimersByTimeAsync(LIMITS.stagedValueMs);
  expect(await isSettled(settled)).toBe(true);
  goOn();
  expect(await outcome).toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('nothing of the change is done') });
  await harness.context.durability.reclaim();
  expect([keys.count, harness.blocks.stored.size]).toEqual([0, 0]);
});

test('a value that is sent and not set in time cannot be set any more, nor a rest of it taken for all', async () => {
  const { harness, keys, client } = await connected();
  const value = await client.stage(Buffer.alloc(MiB, 'x'));
  await vi.advanceTimersByTimeAsync(LIMITS.stagedValueMs);
  expect(await isSettled(harness.context.allocator.settled())).toBe(true);
  const set = () => client.commit([{ kind: 'set', key: Buffer.from('a'), value, expiresMs: 0 }], { sync: false });
  await expect(set()).rejects.toMatchObject({ code: 'TIMEOUT' });
  await expect(set()).rejects.toMatchObject({ code: 'TIMEOUT' });
  client.discard(value);
  await expect(set()).rejects.toMatchObject({ code: 'INVALID' });
  await harness.context.durability.reclaim();
  expect([keys.count, harness.blocks.stored.size]).toEqual([0, 0]);
});

test('values that are set in time stay, however long their connection lasts', async () => {
  const { harness, keys, client } = await connected();
  for (let round = 0; round < 3; round++) {
    const value = await client.stage(Buffer.alloc(MiB, 'x'));
    await vi.advanceTimersByTimeAsync(LIMITS.stagedValueMs - 1);
    await client.commit([{ kind: 'set', key: Buffer.from(`k${round}`), value, expiresMs: 0 }], { sync: false });
  }
  await vi.advanceTimersByTimeAsync(2 * LIMITS.stagedValueMs);
  await harness.context.durability.reclaim();
  expect([keys.count, harness.blocks.stored.size]).toEqual([3, 3]);
});

test('one connection may have so many values on their way, and no more', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const staging = new Staging({ stage: () => new Promise(() => {}) } as unknown as EmbeddedBackend);
  const begun = Array.from({ length: LIMITS.stagedValuesMax }, (_, id) => staging.add(id, Buffer.alloc(1)));
  expect(begun.length).toBe(LIMITS.stagedValuesMax);
  await expect(staging.add(LIMITS.stagedValuesMax, Buffer.alloc(1))).rejects.toMatchObject({ code: 'BUSY' });
  for (const piece of begun) piece.catch(() => {});
  staging.close();
});
