// Ranges: order, every bound, prefixes, both directions, limits, pages, and changes meanwhile.
import { expect } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { RangeOptions } from '../../src/store/store.ts';
import { bytesOf } from '../support/block-data.ts';
import { collect, keysOf, unchecked } from './under-test.ts';
import type { Group } from './under-test.ts';

const LONGEST = Buffer.alloc(LIMITS.keyBytesMax, 0x6d);

/** Neighbours in every way that bounds can confuse. */
const KEYS = [
  Buffer.alloc(0), Buffer.of(0), Buffer.of(0, 0), Buffer.of(0, 1), Buffer.from('a'), Buffer.from('a\0'), Buffer.from('aa'), Buffer.from('ab'), Buffer.from('b'), Buffer.from('b\xff', 'latin1'),
  Buffer.from('c'), LONGEST.subarray(0, -1), LONGEST, Buffer.from('ä'), Buffer.of(0xff), Buffer.of(0xff, 0), Buffer.of(0xff, 0xff), Buffer.of(0xff, 0xff, 0xff),
];
const BOUNDS = [...KEYS, Buffer.from('aaa'), Buffer.from('zz'), Buffer.of(0xff, 0xfe)];

/** What a range has to give, by its definition alone. */
function wantedOf({ prefix, gte, gt, lte, lt, reverse, limit }: RangeOptions): string[] {
  const at = (bound: unknown) => Buffer.from(bound as Buffer);
  const sorted = KEYS.toSorted(Buffer.compare).filter((key) =>
    (prefix === undefined || key.subarray(0, prefix.length).equals(at(prefix))) && (gte === undefined || Buffer.compare(key, at(gte)) >= 0) && (gt === undefined || Buffer.compare(key, at(gt)) > 0) &&
    (lte === undefined || Buffer.compare(key, at(lte)) <= 0) && (lt === undefined || Buffer.compare(key, at(lt)) < 0));
  return (reverse === true ? sorted.toReversed() : sorted).slice(0, limit).map((key) => key.toString('hex'));
}

export function ranges(group: Group): void {
  group.testOnEmpty('gives a range of keys in the order of their bytes, with every bound, both ways', [], async (store) => {
    await Promise.all(KEYS.toReversed().map((key) => store.set(key, key)));
    const combinations: RangeOptions[] = [{}, { limit: 0 }, { limit: 1 }, { limit: 1000 }];
    for (const low of BOUNDS) {
      combinations.push({ gte: low }, { gt: low }, { lte: low }, { lt: low }, { prefix: low }, { prefix: low, limit: 2 });
      for (const high of BOUNDS) combinations.push({ gte: low, lt: high }, { gt: low, lte: high }, { gt: low, lt: high, limit: 3 }, { gte: low, lte: high });
    }
    for (const options of [...combinations, ...combinations.map((given) => ({ ...given, reverse: true }))]) {
      const found: string[] = [];
      for await (const { key, value } of store.range(options)) {
        if (!value.equals(key)) throw new Error(`the value of ${value.toString('hex')} at ${key.toString('hex')}`);
        found.push(key.toString('hex'));
      }
      expect(found, JSON.stringify(options)).toEqual(wantedOf(options));
    }
  });

  group.test('gives a range of many pages, whole, in order, with values and versions', ['ranges'], async (store, key) => {
    const names = Array.from({ length: 1300 }, (_, index) => key(String(index).padStart(5, '0')));
    const versions = new Map(await Promise.all(names.toReversed().map(async (name) => [name, await store.set(name, `v${name}`)] as const)));
    for (const reverse of [false, true]) {
      const found = await collect(store.range({ prefix: key(), reverse }));
      expect(found.map((entry) => entry.key.toString())).toEqual(reverse ? names.toReversed() : names);
      for (const { key: name, value, version, expires } of found) expect([value.toString(), version, expires]).toEqual([`v${name}`, versions.get(name.toString()), undefined]);
    }
    for (const limit of [255, 256, 257, 512, 1299, 1300, 1301]) expect(await keysOf(store.range({ prefix: key(), limit }))).toEqual(names.slice(0, limit));
    expect(await keysOf(store.range({ gt: names[299]!, lte: names[900]!, limit: 500 }))).toEqual(names.slice(300, 800));
  });

  group.test('gives keys and versions alone where that is asked', ['ranges'], async (store, key) => {
    const version = await store.set(key('a'), bytesOf(1, 200_000), { ttlMs: 1_000_000 });
    expect(await collect(store.range({ prefix: key(), values: false }))).toEqual([{ key: Buffer.from(key('a')), value: Buffer.alloc(0), version, expires: expect.any(Date) }]);
  });

  group.test('gives large values in a range, in memory that is bounded by pages', ['ranges'], async (store, key) => {
    for (let index = 0; index < 30; index++) await store.set(key(String(index).padStart(2, '0')), bytesOf(index, index % 3 === 0 ? 1_500_000 : 20_000));
    let index = 0;
    for await (const { value } of store.range({ prefix: key() })) {
      expect(value.equals(bytesOf(index, index % 3 === 0 ? 1_500_000 : 20_000))).toBe(true);
      index++;
    }
    expect(index).toBe(30);
    expect((await keysOf(store.range({ prefix: key(), reverse: true }))).length).toBe(30);
  });

  group.test('gives every key that stays, once and in order, while others come and go', ['ranges'], async (store, key) => {
    const stays = Array.from({ length: 700 }, (_, index) => key(`${String(index).padStart(4, '0')} stays`));
    await Promise.all(stays.map((name) => store.set(name, 'v')));
    let going = true;
    const changing = (async () => {
      for (let round = 0; going; round++) {
        const name = key(`${String((round * 7919) % 700).padStart(4, '0')} ${round % 2 === 0 ? 'before' : 'tomorrow'}`);
        await store.set(name, 'x');
        await store.set(stays[(round * 31) % 700]!, String(round));
        await store.delete(name);
      }
    })();
    for (const reverse of [false, true, false, true]) {
      const found = await keysOf(store.range({ prefix: key(), reverse }));
      expect(found).toEqual(reverse ? found.toSorted().toReversed() : found.toSorted());
      expect(new Set(found).size).toBe(found.length);
      expect(found.filter((name) => name.endsWith('stays')).toSorted()).toEqual(stays);
    }
    going = false;
    await changing;
  });

  group.test('may be deleted from while it is walked, and left in the middle', ['ranges'], async (store, key) => {
    await Promise.all(Array.from({ length: 600 }, (_, index) => store.set(key(String(index).padStart(3, '0')), 'v')));
    for await (const entry of store.range({ prefix: key() })) if (entry.key.toString() > key('400')) break;
    let deleted = 0;
    for await (const entry of store.range({ prefix: key() })) if (await store.delete(entry.key)) deleted++;
    expect([deleted, await keysOf(store.range({ prefix: key() }))]).toEqual([600, []]);
  });

  group.test('gives nothing for a range whose end is before its beginning', ['ranges'], async (store, key) => {
    await store.set(key('m'), 'v');
    for (const options of [{ gte: key('z'), lt: key('a') }, { gt: key('m'), lt: key('m') }, { gte: key('m'), lt: key('m') }, { gt: key('m'), lte: key('m') }]) expect(await keysOf(store.range(options))).toEqual([]);
    expect(await keysOf(store.range({ gte: key('m'), lte: key('m') }))).toEqual([key('m')]);
  });

  group.test('refuses bounds and limits that cannot be', ['ranges'], async (store) => {
    const long = Buffer.alloc(LIMITS.keyBytesMax + 1);
    const bad: [RangeOptions, string][] = [
      [{ prefix: 'a', gte: 'b' }, 'INVALID'], [{ prefix: 'a', lt: 'b' }, 'INVALID'], [{ gte: 'a', gt: 'b' }, 'INVALID'], [{ lte: 'a', lt: 'b' }, 'INVALID'], [{ gte: unchecked(7) }, 'INVALID'], [{ prefix: unchecked(null) }, 'INVALID'],
      [{ limit: -1 }, 'INVALID'], [{ limit: NaN }, 'INVALID'], [{ limit: 1.5 }, 'INVALID'], [{ limit: unchecked('3') }, 'INVALID'], [{ gt: long }, 'TOO_LARGE'], [{ prefix: long }, 'TOO_LARGE'],
    ];
    for (const [options, code] of bad) await expect(keysOf(store.range(options)), JSON.stringify(options)).rejects.toMatchObject({ name: 'StoreError', code });
  });
}
