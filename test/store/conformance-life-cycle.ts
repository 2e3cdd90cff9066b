// Every method in every state of its store, and what is there when it is opened again.
import { expect } from 'vitest';
import type { Store } from '../../src/store/store.ts';
import { bytesOf } from '../support/block-data.ts';
import { keysOf, readAll } from './under-test.ts';
import type { Feature, Group } from './under-test.ts';

const CALLS: Record<string, (store: Store) => Promise<unknown>> = {
  get: (store) => store.get('k'),
  getEntry: (store) => store.getEntry('k'),
  getMany: (store) => store.getMany(['k']),
  getStream: (store) => store.getStream('k'),
  has: (store) => store.has('k'),
  set: (store) => store.set('k', 'v'),
  'set, large': (store) => store.set('k', Buffer.alloc(100_000)),
  'set, stream': (store) => store.set('k', (async function* one() { yield Buffer.from('v'); })()),
  delete: (store) => store.delete('k'),
  expire: (store) => store.expire('k', 1000),
  batch: (store) => store.batch([{ type: 'set', key: 'k', value: 'v' }]),
  range: (store) => keysOf(store.range()),
  lock: (store) => store.lock('k', { ttlMs: 1000 }),
  lease: (store) => store.lease('k', { ttlMs: 1000 }),
  stats: (store) => store.stats(),
  sync: (store) => store.sync(),
};
const CLOSED = expect.objectContaining({ name: 'StoreError', code: 'CLOSED' });
const NEEDS: readonly Feature[] = ['ranges', 'locks', 'streams'];

export function lifeCycle(group: Group): void {
  group.testOnOwn('refuses every call when it is closed, and while it closes; closing again is no harm', [], async ({ store }) => {
    await store.set('k', 'v');
    const closing = store.close();
    for (const [name, call] of Object.entries(CALLS)) await expect(call(store), `${name} while it closes`).rejects.toEqual(CLOSED);
    await closing;
    for (const [name, call] of Object.entries(CALLS)) await expect(call(store), name).rejects.toEqual(CLOSED);
    await Promise.all([store.close(), store.close(), store[Symbol.asyncDispose]()]);
  });

  group.testOnOwn('carries out what was asked before it was closed, or says that it is closed, and leaves nobody waiting', NEEDS, async ({ store }) => {
    await store.set('k', bytesOf(1, 3_000_000));
    const held = await store.lock('held', { ttlMs: 60_000 });
    const calls = [...Object.values(CALLS).map((call) => call(store)), store.lock('held', { ttlMs: 1000 }), ...Array.from({ length: 100 }, (_, index) => store.set(`many ${index}`, bytesOf(index, index * 500)))];
    const closing = store.close();
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toEqual(CLOSED);
    await closing;
    await expect(held.renew()).rejects.toEqual(CLOSED);
    await expect(held.release()).rejects.toEqual(CLOSED);
  });

  group.testOnOwn('ends streams and ranges that are being read when it is closed', NEEDS, async ({ store }) => {
    await Promise.all(Array.from({ length: 600 }, (_, index) => store.set(`many ${index}`, 'v')));
    await store.set('large', bytesOf(1, 20_000_000));
    const range = store.range({ prefix: 'many' });
    await range.next();
    const stream = (await store.getStream('large'))![Symbol.asyncIterator]();
    await stream.next();
    await store.close();
    await expect(keysOf(range)).rejects.toEqual(CLOSED);
    await expect(readAll({ [Symbol.asyncIterator]: () => stream }).then((rest) => rest?.length)).rejects.toEqual(CLOSED);
  });

  group.testOnOwn('closes at the end of a block that uses it', [], async ({ store }) => {
    {
      await using used = store;
      await used.set('k', 'v');
    }
    await expect(store.get('k')).rejects.toEqual(CLOSED);
  });

  group.testOnOwn('has all when it is opened again: values, versions, times, and what was deleted stays deleted', ['reopen'], async (under) => {
    let { store } = under;
    const sizes = [0, 1, 256, 257, 16_384, 16_385, 1_048_577, 3_000_000];
    const kept: number[] = [];
    for (const bytes of sizes) kept.push(await store.set(`kept ${bytes}`, bytesOf(bytes, bytes)));
    for (const bytes of sizes) await store.set(`gone ${bytes}`, bytesOf(bytes, bytes));
    for (const bytes of sizes) await store.delete(`gone ${bytes}`);
    await store.set('timed', 'v', { ttlMs: 3_600_000 });
    const { expires } = (await store.getEntry('timed'))!;
    const last = await store.set('short', 'v', { ttlMs: 1 });
    const lock = await store.lock('lock', { ttlMs: 3_600_000 });
    for (let round = 0; round < 3; round++) {
      store = await under.reopen!();
      for (const [index, bytes] of sizes.entries()) {
        const entry = await store.getEntry(`kept ${bytes}`);
        expect([entry?.version, entry?.value.equals(bytesOf(bytes, bytes))]).toEqual([kept[index], true]);
        expect(await store.has(`gone ${bytes}`)).toBe(false);
      }
      expect([(await store.getEntry('timed'))?.expires, await store.has('short')]).toEqual([expires, false]);
      expect(await store.lease('lock', { ttlMs: 1000 })).toBeUndefined();
    }
    expect(await store.set('new', 'v')).toBeGreaterThan(last);
    expect((await store.lease('another', { ttlMs: 1000 }))!.token).toBeGreaterThan(lock.token);
    expect((await keysOf(store.range({ prefix: 'gone' }))).length).toBe(0);
  });

  group.testOnOwn('has all that was acknowledged when its processes are killed, each batch whole or not at all', ['crash'], async (under) => {
    let { store } = under;
    for (let round = 1; round <= 3; round++) {
      const acknowledged = new Map<string, Buffer>();
      let batches = 0;
      const writing = Promise.allSettled([
        ...Array.from({ length: 200 }, async (_, index) => {
          const value = bytesOf(round * 1000 + index, (index * 997) % 60_000);
          await store.set(`${round} single ${index}`, value);
          acknowledged.set(`${round} single ${index}`, value);
        }),
        (async () => {
          for (;;) {
            const next = String(batches + 1);
            await store.batch([{ type: 'set', key: `${round} a`, value: next }, { type: 'set', key: `${round} b`, value: bytesOf(batches + 1, 30_000) }]);
            batches++;
          }
        })(),
      ]);
      await expect.poll(() => batches > 5 && acknowledged.size > 50, { timeout: 20_000 }).toBe(true);
      store = await under.crash!();
      await writing;
      for (const [key, value] of acknowledged) expect((await store.get(key))?.equals(value), key).toBe(true);
      const a = Number(await store.get(`${round} a`));
      expect(a).toBeGreaterThanOrEqual(batches);
      expect((await store.get(`${round} b`))?.equals(bytesOf(a, 30_000))).toBe(true);
    }
  }, 120_000);

  group.test('shows every completed write of one user to all others at once', ['second'], async (store, key) => {
    const other = await group.under.second!();
    for (let round = 0; round < 50; round++) {
      const [writer, reader] = round % 2 === 0 ? [store, other] : [other, store];
      const version = await writer.set(key(), bytesOf(round, round * 700));
      const entry = await reader.getEntry(key());
      expect([entry?.version, entry?.value.equals(bytesOf(round, round * 700))]).toEqual([version, true]);
      expect(await reader.delete(key())).toBe(true);
      expect(await writer.has(key())).toBe(false);
    }
  });
}
