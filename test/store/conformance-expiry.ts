// Keys that go by themselves.
import { expect } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { bytesOf } from '../support/block-data.ts';
import { keysOf, unchecked } from './under-test.ts';
import type { Group } from './under-test.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const LONG_MS = 1000 * 60 * 60;

const BAD_TTLS: readonly (readonly [string, number])[] = [
  ['zero', 0], ['below zero', -1], ['no number', NaN], ['without end', Infinity], ['beyond all dates', 1e300], ['text', unchecked('1000')],
];

export function expiry(group: Group): void {
  group.test('lets a key go when its time is up, and not before', [], async (store, key) => {
    const began = Date.now();
    await store.set(key(), 'v', { ttlMs: 300 });
    await store.set(key('large'), bytesOf(1, 100_000), { ttlMs: 300 });
    for (let gone = false; !gone; await sleep(10)) {
      gone = !(await store.has(key()));
      if (gone) expect(Date.now() - began).toBeGreaterThanOrEqual(299);
      expect(Date.now() - began).toBeLessThan(20_000);
    }
    await expect.poll(() => store.has(key('large'))).toBe(false);
    expect([await store.get(key()), await store.getEntry(key()), await store.getMany([key(), key('large')]), await store.delete(key()), await store.expire(key(), LONG_MS)]).toEqual([undefined, undefined, [undefined, undefined], false, false]);
  });

  group.test('shows an expired key to nobody', ['ranges', 'versions', 'streams'], async (store, key) => {
    const version = await store.set(key('a'), 'v', { ttlMs: 30 });
    await store.set(key('b'), 'v');
    await expect.poll(() => store.has(key('a'))).toBe(false);
    expect(await keysOf(store.range({ prefix: key() }))).toEqual([key('b')]);
    expect(await store.getStream(key('a'))).toBeUndefined();
    await expect(store.set(key('a'), 'w', { ifVersion: version })).rejects.toMatchObject({ code: 'CONFLICT', version: undefined });
    expect(await store.set(key('a'), 'w', { ifAbsent: true })).toBeGreaterThan(version);
  });

  group.test('tells when a key goes', ['expiry times'], async (store, key) => {
    const before = Date.now();
    await store.set(key(), 'v', { ttlMs: LONG_MS });
    const { expires } = (await store.getEntry(key()))!;
    expect(expires!.getTime()).toBeGreaterThanOrEqual(before + LONG_MS);
    expect(expires!.getTime()).toBeLessThanOrEqual(Date.now() + LONG_MS + 1);
    await store.set(key('always'), 'v');
    expect((await store.getEntry(key('always')))?.expires).toBeUndefined();
  });

  group.test('keeps a key that is set anew without a time', [], async (store, key) => {
    await store.set(key(), 'v', { ttlMs: 50 });
    await store.set(key(), 'w');
    await sleep(120);
    expect((await store.get(key()))?.toString()).toBe('w');
  });

  group.test('changes the time of a key, and takes it away, and leaves all else', [], async (store, key) => {
    await store.set(key('short'), bytesOf(1, 50_000));
    await store.set(key('kept'), 'v', { ttlMs: 400 });
    const before = await store.getEntry(key('kept'));
    expect([await store.expire(key('short'), 20), await store.expire(key('kept'), null), await store.expire(key('no'), 20), await store.expire(key('no'), null)]).toEqual([true, true, false, false]);
    await expect.poll(() => store.has(key('short'))).toBe(false);
    await sleep(450);
    const after = await store.getEntry(key('kept'));
    expect([after?.value, after?.version, after?.expires]).toEqual([Buffer.from('v'), before?.version, undefined]);
  });

  group.test('takes a time for each set of a batch', ['batches', 'expiry times'], async (store, key) => {
    await store.batch([{ type: 'set', key: key('a'), value: 'v', ttlMs: 30 }, { type: 'set', key: key('b'), value: 'v', ttlMs: LONG_MS }, { type: 'set', key: key('c'), value: 'v' }]);
    await expect.poll(() => store.has(key('a'))).toBe(false);
    expect([(await store.getEntry(key('b')))?.expires, (await store.getEntry(key('c')))?.expires]).toEqual([expect.any(Date), undefined]);
  });

  group.test('lets go of many keys at once', [], async (store, key) => {
    const keys = Array.from({ length: 1500 }, (_, index) => key(String(index)));
    await Promise.all(keys.map((name) => store.set(name, 'v', { ttlMs: 50 })));
    await expect.poll(async () => (await store.getMany(keys)).every((value) => value === undefined)).toBe(true);
  });

  group.test('takes times from less than a ms to ten thousand years', ['expiry times'], async (store, key) => {
    await store.set(key('short'), 'v', { ttlMs: 0.25 });
    await expect.poll(() => store.has(key('short'))).toBe(false);
    await store.set(key('long'), 'v', { ttlMs: LIMITS.ttlMsMax });
    expect((await store.getEntry(key('long')))!.expires!.getUTCFullYear()).toBeGreaterThan(12_000);
  });

  for (const [name, ttlMs] of BAD_TTLS) {
    group.test(`refuses a time that is ${name}`, [], async (store, key) => {
      const refusal = expect.objectContaining({ name: 'StoreError', code: 'INVALID' });
      await store.set(key(), 'old');
      for (const call of [() => store.set(key(), 'v', { ttlMs }), () => store.expire(key(), ttlMs), () => store.batch([{ type: 'set', key: key(), value: 'v', ttlMs }]), () => store.lock(key(), { ttlMs }), () => store.lease(key(), { ttlMs })]) {
        await expect(call(), call.toString()).rejects.toEqual(refusal);
      }
      expect((await store.getEntry(key()))).toMatchObject({ value: Buffer.from('old'), expires: undefined });
    });
  }
}
