// Locks and leases: one holder at a time, tokens that grow, and times that are up.
import { expect } from 'vitest';
import type { Lock } from '../../src/store/lock.ts';
import { keysOf } from './under-test.ts';
import type { Group } from './under-test.ts';

const LONG = { ttlMs: 60_000 };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function locks(group: Group): void {
  group.test('gives a lock to one holder at a time, and a larger token to the next', ['locks'], async (store, key) => {
    const first = await store.lock(key(), LONG);
    expect([first.isHeld, first.expires.getTime() > Date.now()]).toEqual([true, true]);
    expect(await store.lease(key(), LONG)).toBeUndefined();
    await expect(store.lock(key(), { ...LONG, waitMs: 0 })).rejects.toMatchObject({ name: 'StoreError', code: 'TIMEOUT' });
    await expect(store.lock(key(), { ...LONG, waitMs: 30 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect([await first.release(), first.isHeld]).toEqual([true, false]);
    const second = (await store.lease(key(), LONG))!;
    expect(second.token).toBeGreaterThan(first.token);
    expect([await first.release(), await second.release()]).toEqual([false, true]);
  });

  group.test('gives tokens that grow, whatever the name', ['locks'], async (store, key) => {
    const tokens: number[] = [];
    for (const name of ['a', 'b', 'a', 'c', 'a']) {
      const lock = await store.lock(key(name), LONG);
      tokens.push(lock.token);
      await lock.release();
    }
    expect(tokens).toEqual([...new Set(tokens)].toSorted((one, other) => one - other));
  });

  group.test('gives a lock to those who wait, in the order in which they came', ['locks'], async (store, key) => {
    const order: number[] = [];
    const holder = await store.lock(key(), LONG);
    const waiting = Array.from({ length: 5 }, async (_, index) => {
      const lock = await store.lock(key(), LONG);
      order.push(index);
      await lock.release();
    });
    await sleep(30);
    expect(order).toEqual([]);
    await holder.release();
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });

  group.test('gives a lock to the next when its time is up, and tells the late holder', ['locks'], async (store, key) => {
    const late = await store.lock(key(), { ttlMs: 60 });
    const next = await store.lock(key(), LONG);
    expect(next.token).toBeGreaterThan(late.token);
    expect([late.isHeld, Date.now() >= late.expires.getTime()]).toEqual([false, true]);
    await expect(late.renew()).rejects.toMatchObject({ name: 'StoreError', code: 'BUSY' });
    expect([await late.release(), next.isHeld, await store.lease(key(), LONG)]).toEqual([false, true, undefined]);
    await next.release();
  });

  group.test('keeps a lock that is renewed, with the same token', ['locks'], async (store, key) => {
    const lock = await store.lock(key(), { ttlMs: 400 });
    const { token } = lock;
    for (let count = 0; count < 4; count++) {
      await sleep(150);
      await lock.renew();
    }
    expect([lock.isHeld, lock.token, await store.lease(key(), LONG)]).toEqual([true, token, undefined]);
    await lock.renew(120_000);
    expect(lock.expires.getTime()).toBeGreaterThan(Date.now() + 60_000);
    await lock.release();
    await expect(lock.renew()).rejects.toMatchObject({ code: 'BUSY' });
  });

  group.test('holds a lock while work runs, however long, and gives it back whatever comes of it', ['locks'], async (store, key) => {
    const lock = await store.lock(key(), { ttlMs: 200 });
    const answer = await lock.run(async (signal) => {
      await sleep(700);
      return [signal.aborted, await store.lease(key(), LONG)];
    });
    expect(answer).toEqual([false, undefined]);
    const next = (await store.lease(key(), LONG))!;
    await expect(next.run(async () => { throw new RangeError('work failed'); })).rejects.toThrow('work failed');
    expect(await (await store.lease(key(), LONG))?.release()).toBe(true);
  });

  group.test('gives a lock back at the end of a block that uses it', ['locks'], async (store, key) => {
    let held: Lock | undefined;
    {
      await using lock = await store.lock(key(), LONG);
      held = lock;
      expect(await store.lease(key(), LONG)).toBeUndefined();
    }
    expect(held.isHeld).toBe(false);
    expect(await (await store.lease(key(), LONG))?.release()).toBe(true);
  });

  group.test('excludes: of many who want a lock, one is in it at a time', ['locks'], async (store, key) => {
    let inside = 0;
    let entered = 0;
    await Promise.all(Array.from({ length: 40 }, async () => {
      const lock = await store.lock(key(), LONG);
      expect(++inside).toBe(1);
      await sleep(1);
      entered++;
      inside--;
      await lock.release();
    }));
    expect(entered).toBe(40);
  });

  group.test('keeps locks of different names apart, and apart from keys', ['locks', 'ranges'], async (store, key) => {
    await store.set(key('a'), 'v');
    const held = [await store.lock(key('a'), LONG), await store.lock(key('b'), LONG), await store.lock(Buffer.from([0xff, 0, 1]), LONG), await store.lock('', LONG)];
    expect([(await store.get(key('a')))?.toString(), await store.has(key('b')), await keysOf(store.range({ prefix: key() }))]).toEqual(['v', false, [key('a')]]);
    await store.delete(key('a'));
    expect(await store.lease(key('a'), LONG)).toBeUndefined();
    for (const lock of held) expect(await lock.release()).toBe(true);
  });

  group.test('refuses a wait that cannot be', ['locks'], async (store, key) => {
    for (const waitMs of [-1, NaN, '5' as never]) await expect(store.lock(key(), { ...LONG, waitMs }), String(waitMs)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
    expect(await (await store.lease(key(), LONG))?.release()).toBe(true);
  });

  group.test('gives a lock of one user of the store to no other', ['locks', 'second'], async (store, key) => {
    const other = await group.under.second!();
    const lock = await store.lock(key(), LONG);
    expect(await other.lease(key(), LONG)).toBeUndefined();
    const waiting = other.lock(key(), LONG);
    await lock.release();
    const theirs = await waiting;
    expect(theirs.token).toBeGreaterThan(lock.token);
    await theirs.release();
  });
}
