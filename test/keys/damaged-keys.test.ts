// A key whose row cannot be read: it alone fails, by name, and whoever goes through many comes past it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EmbeddedBackend } from '../../src/backend/embedded-backend.ts';
import { KeyServer } from '../../src/backend/key-server.ts';
import { privateCommands } from '../../src/backend/private-commands.ts';
import { RemoteBackend } from '../../src/backend/remote-backend.ts';
import { DamagedKeyError } from '../../src/keys/errors.ts';
import { ExpirySweeper } from '../../src/keys/expiry-sweeper.ts';
import { Leases } from '../../src/keys/leases.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { KEY_AREAS, expiryRowKey, keyRowKey } from '../../src/metadata/key-rows.ts';
import { PRESENT } from '../../src/metadata/schema.ts';
import { REDIS_COMMANDS } from '../../src/resp/command-table.ts';
import { Store } from '../../src/store/store.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { RespClient } from '../support/resp-client.ts';
import { openHarness } from '../support/vfs-harness.ts';

const key = (text: string) => Buffer.from(text);
const NAMES = ['a', 'b', 'bad', 'c', 'd', 'worse', 'x'];
const DAMAGED = ['bad', 'worse'];
const GOOD = NAMES.filter((name) => !DAMAGED.includes(name));

/** A store over real rows, in which two keys cannot be read: in this process, and over a socket. */
async function opened() {
  const harness = await openHarness();
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-damaged-'));
  const keys = new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  for (const name of NAMES) keys.transact((tx) => tx.set(key(name), key(`value of ${name}`)));
  harness.engine.transact(null, (tx) => { for (const name of DAMAGED) tx.put(keyRowKey(KEY_AREAS.keys, key(name)), key('no row')); });
  const backend = new EmbeddedBackend({ keys, leases: new Leases(new ModelKeySpace()), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const path = join(directory, 'keys.sock');
  const server = await KeyServer.listen({ path }, { keys, commands: [...REDIS_COMMANDS, ...privateCommands(backend)], logger: pino({ level: 'silent' }) });
  const remote = await RemoteBackend.connect(path);
  const redis = await RespClient.connect({ path });
  onTestFinished(async () => {
    await redis.end();
    await remote.close();
    await server.close();
    await harness.end();
    rmSync(directory, { recursive: true });
  });
  return { harness, keys, redis, stores: { embedded: new Store(backend, { sync: false }), remote: new Store(remote, { sync: false }) } };
}

describe.each(['embedded', 'remote'] as const)('a key that cannot be read (%s)', (which) => {
  const isDamaged = { code: 'DAMAGED', key: key('bad'), message: expect.stringMatching(/key "bad" cannot be read \(.+\): run "sdfs fsck --repair"/) };

  test('fails alone, with a typed error that names it and what to do', async () => {
    const store = (await opened()).stores[which];
    for (const call of [() => store.get('bad'), () => store.getEntry('bad'), () => store.set('bad', 'v'), () => store.delete('bad'), () => store.getStream('bad'), () => store.has('bad')]) {
      await expect(call()).rejects.toBeInstanceOf(DamagedKeyError);
      await expect(call()).rejects.toMatchObject(isDamaged);
    }
    await expect(store.batch([{ type: 'set', key: 'new', value: '' }, { type: 'set', key: 'bad', value: '' }])).rejects.toMatchObject(isDamaged);
    expect(await store.has('new')).toBe(false);
    expect((await store.getMany(GOOD)).map(String)).toEqual(GOOD.map((name) => `value of ${name}`));
    await store.set('c', 'changed');
    expect(String(await store.get('c'))).toBe('changed');
  });

  test.each([false, true])('ends a range behind the keys before it, and one that wants to be told goes on (reverse: %s)', async (reverse) => {
    const store = (await opened()).stores[which];
    const inOrder = (names: readonly string[]): string[] => (reverse ? names.toReversed() : [...names]);
    for (const values of [true, false]) {
      const seen: string[] = [];
      const range = async (options: Parameters<Store['range']>[0]): Promise<void> => { for await (const row of store.range({ ...options, reverse, values })) seen.push(row.key.toString()); };
      const [first, second] = inOrder(DAMAGED);
      await expect(range({})).rejects.toMatchObject({ code: 'DAMAGED', key: key(first!) });
      // Behind it by hand.
      await expect(range(reverse ? { lt: first! } : { gt: first! })).rejects.toMatchObject({ code: 'DAMAGED', key: key(second!) });
      await range(reverse ? { lt: second! } : { gt: second! });
      expect(seen).toEqual(inOrder(GOOD));
      seen.length = 0;
      const told: string[] = [];
      await range({ onDamaged: (error) => told.push(error.key.toString()) });
      expect([seen, told]).toEqual([inOrder(GOOD), inOrder(DAMAGED)]);
    }
  });
});

test('the Redis protocol lists it, and says what it is to who asks for its value', async () => {
  const { redis } = await opened();
  expect(await redis.show('SCAN', 0, 'COUNT', 100)).toEqual([expect.any(String), expect.arrayContaining(['a', 'b', 'bad'])]);
  const found: unknown[] = [];
  for (let cursor = '0'; ;) {
    const [next, names] = (await redis.show('SCAN', cursor)) as [string, string[]];
    found.push(...names);
    if (next === '0') break;
    cursor = next;
  }
  expect(found).toEqual(NAMES);
  expect(await redis.show('KEYS', '*')).toEqual(NAMES);
  for (const words of [['GET', 'bad'], ['SET', 'bad', '1'], ['INCR', 'bad'], ['DEL', 'a', 'bad'], ['TTL', 'bad']]) expect(await redis.show(...words)).toMatch(/^\(error\) ERR the row of key "bad" cannot be read/);
  expect(await redis.show('GET', 'a')).toBe('value of a');
});

test('keys whose time is up are swept though one before them cannot be read', async () => {
  const { harness, keys } = await opened();
  const before = keys.count;
  const past = Date.now() - 1000;
  harness.engine.transact(null, (tx) => tx.put(expiryRowKey(KEY_AREAS.keys, past - 1, key('bad')), PRESENT));
  keys.transact((tx) => { for (const name of ['e1', 'e2', 'e3']) tx.set(key(name), key('v'), { expiresMs: past }); });
  expect(await new ExpirySweeper(keys, { logger: pino({ level: 'silent' }) }).sweep()).toBe(3);
  expect(keys.count).toBe(before);
});
