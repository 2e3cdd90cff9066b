// Versions, conditions, and batches, which are all or nothing.
import { expect } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { BatchOperation, Store } from '../../src/store/store.ts';
import { bytesOf } from '../support/block-data.ts';
import { unchecked } from './under-test.ts';
import type { Group } from './under-test.ts';

/** A version of no key. */
const NEVER = 2 ** 50;

/** Adds 1 to the number in a key, by its version, as often as it takes. */
async function increment(store: Store, key: string): Promise<void> {
  for (;;) {
    const entry = await store.getEntry(key);
    try {
      await store.set(key, String(Number(entry?.value ?? 0) + 1), entry === undefined ? { ifAbsent: true } : { ifVersion: entry.version });
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== 'CONFLICT') throw error;
    }
  }
}

export function conditions(group: Group): void {
  group.test('gives every set a larger version, of whatever key, also after a deletion', ['versions'], async (store, key) => {
    const versions = [await store.set(key('a'), '1'), await store.set(key('b'), '1'), await store.set(key('a'), '1')];
    await store.delete(key('a'));
    versions.push(await store.set(key('a'), bytesOf(1, 100_000)), ...(await store.batch([{ type: 'set', key: key('c'), value: 'x' }, { type: 'set', key: key('a'), value: 'x' }])));
    expect(versions).toEqual([...new Set(versions)].toSorted((one, other) => one - other));
    expect((await store.getEntry(key('a')))?.version).toBe(versions.at(-1));
    for (const version of versions) expect(Number.isSafeInteger(version) && version > 0).toBe(true);
  });

  group.test('sets what has the wanted version, and refuses what has another, with what is there', ['versions'], async (store, key) => {
    const first = await store.set(key(), 'one');
    const second = await store.set(key(), 'two', { ifVersion: first });
    const refusal = await store.set(key(), 'three', { ifVersion: first }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ name: 'StoreError', code: 'CONFLICT', version: second, key: Buffer.from(key()) });
    expect((await store.getEntry(key()))).toMatchObject({ value: Buffer.from('two'), version: second });
    await expect(store.set(key('no'), 'v', { ifVersion: NEVER })).rejects.toMatchObject({ code: 'CONFLICT', version: undefined });
    expect(await store.has(key('no'))).toBe(false);
  });

  group.test('sets what is not there, once', [], async (store, key) => {
    await store.set(key(), 'one', { ifAbsent: true });
    await expect(store.set(key(), 'two', { ifAbsent: true })).rejects.toMatchObject({ name: 'StoreError', code: 'CONFLICT' });
    expect((await store.get(key()))?.toString()).toBe('one');
    await store.delete(key());
    await store.set(key(), 'three', { ifAbsent: true });
    expect((await store.get(key()))?.toString()).toBe('three');
  });

  group.test('holds the same for large values and streams', ['versions'], async (store, key) => {
    const version = await store.set(key(), bytesOf(1, 200_000), { ifAbsent: true });
    await expect(store.set(key(), bytesOf(2, 200_000), { ifAbsent: true })).rejects.toMatchObject({ code: 'CONFLICT', version });
    await expect(store.set(key(), (async function* one() { yield Buffer.from('x'); })(), { ifVersion: NEVER })).rejects.toMatchObject({ code: 'CONFLICT', version });
    expect((await store.get(key()))?.equals(bytesOf(1, 200_000))).toBe(true);
  });

  group.test('deletes what has the wanted version alone', ['versions'], async (store, key) => {
    const version = await store.set(key(), 'one');
    await expect(store.delete(key(), { ifVersion: version + 1 })).rejects.toMatchObject({ code: 'CONFLICT', version });
    expect(await store.delete(key(), { ifVersion: version })).toBe(true);
    await expect(store.delete(key(), { ifVersion: version })).rejects.toMatchObject({ code: 'CONFLICT', version: undefined });
  });

  group.test('lets one of many win who want the same version, and one who want no key', ['versions'], async (store, key) => {
    const race = async (write: (value: string) => Promise<unknown>) => (await Promise.allSettled(Array.from({ length: 20 }, (_, index) => write(String(index))))).filter(({ status }) => status === 'fulfilled').length;
    expect(await race((value) => store.set(key(), value, { ifAbsent: true }))).toBe(1);
    const { version } = (await store.getEntry(key()))!;
    expect(await race((value) => store.set(key(), value, { ifVersion: version }))).toBe(1);
  });

  group.test('counts right by versions when many count at once', ['versions'], async (store, key) => {
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (let count = 0; count < 20; count++) await increment(store, key());
    }));
    expect((await store.get(key()))?.toString()).toBe('160');
  });

  group.test('refuses conditions that cannot be', [], async (store, key) => {
    await store.set(key(), 'old');
    for (const options of [{ ifVersion: 0 }, { ifVersion: -1 }, { ifVersion: 1.5 }, { ifVersion: NaN }, { ifVersion: Infinity }, { ifVersion: unchecked('1') }, { ifVersion: unchecked(null) }, { ifVersion: 1, ifAbsent: true }]) {
      await expect(store.set(key(), 'new', options), JSON.stringify(options)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
      await expect(store.batch([{ type: 'set', key: key(), value: 'new', ...options }]), JSON.stringify(options)).rejects.toMatchObject({ code: 'INVALID' });
    }
    expect((await store.get(key()))?.toString()).toBe('old');
  });

  group.test('carries out a batch of sets and deletes, and gives the versions', ['batches'], async (store, key) => {
    await store.set(key('gone'), 'v');
    const versions = await store.batch([
      { type: 'set', key: key('small'), value: 's' }, { type: 'delete', key: key('gone') }, { type: 'set', key: key('large'), value: bytesOf(1, 300_000) }, { type: 'delete', key: key('never') },
    ]);
    expect(versions).toEqual([(await store.getEntry(key('small')))!.version, 0, (await store.getEntry(key('large')))!.version, 0]);
    expect([await store.has(key('gone')), (await store.get(key('large')))?.equals(bytesOf(1, 300_000))]).toEqual([false, true]);
    expect(await store.batch([])).toEqual([]);
  });

  group.test('carries out nothing of a batch when one condition does not hold', ['batches'], async (store, key) => {
    const version = await store.set(key('a'), 'old');
    const others: BatchOperation[] = [{ type: 'set', key: key('b'), value: 'new' }, { type: 'set', key: key('large'), value: bytesOf(1, 100_000) }, { type: 'delete', key: key('a') }];
    for (const failing of [{ type: 'set', key: key('a'), value: 'x', ifVersion: version + 1 }, { type: 'set', key: key('a'), value: 'x', ifAbsent: true }, { type: 'delete', key: key('a'), ifVersion: version + 1 }, { type: 'set', key: key('no'), value: 'x', ifVersion: NEVER }] as const) {
      await expect(store.batch([failing, ...others])).rejects.toMatchObject({ name: 'StoreError', code: 'CONFLICT' });
      await expect(store.batch([...others.slice(0, 2), failing])).rejects.toMatchObject({ name: 'StoreError', code: 'CONFLICT' });
      expect([await store.has(key('b')), await store.has(key('large')), await store.getEntry(key('a'))]).toEqual([false, false, expect.objectContaining({ version })]);
    }
    await store.batch([{ type: 'set', key: key('a'), value: 'new', ifVersion: version }, ...others.slice(0, 2), { type: 'set', key: key('c'), value: 'x', ifAbsent: true }]);
    expect((await store.getMany([key('a'), key('b'), key('c')])).map(String)).toEqual(['new', 'new', 'x']);
  });

  group.test('carries out a batch in its order: later operations see earlier ones', ['batches'], async (store, key) => {
    await store.batch([{ type: 'set', key: key('a'), value: '1' }, { type: 'set', key: key('a'), value: '2' }]);
    await store.batch([{ type: 'set', key: key('b'), value: '1' }, { type: 'delete', key: key('b') }]);
    await store.batch([{ type: 'delete', key: key('a') }, { type: 'set', key: key('a'), value: '3', ifAbsent: true }]);
    expect((await store.getMany([key('a'), key('b')])).map((value) => value?.toString())).toEqual(['3', undefined]);
    await expect(store.batch([{ type: 'set', key: key('c'), value: '1' }, { type: 'set', key: key('c'), value: '2', ifAbsent: true }])).rejects.toMatchObject({ name: 'StoreError', code: 'CONFLICT' });
    expect(await store.has(key('c'))).toBe(false);
  });

  group.test('takes batches of thousands, and of large values', ['batches'], async (store, key) => {
    const many: BatchOperation[] = Array.from({ length: 5000 }, (_, index) => ({ type: 'set', key: key(`many ${index}`), value: String(index) }));
    expect(new Set(await store.batch(many)).size).toBe(5000);
    expect((await store.getMany(many.map((operation) => operation.key))).map(String)).toEqual(many.map((_, index) => String(index)));
    await store.batch(many.map((operation) => ({ type: 'delete', key: operation.key })));
    expect((await store.getMany(many.map((operation) => operation.key))).every((value) => value === undefined)).toBe(true);
    const large: BatchOperation[] = Array.from({ length: 10 }, (_, index) => ({ type: 'set', key: key(`large ${index}`), value: bytesOf(index, 1_000_000) }));
    await store.batch(large);
    for (const [index, operation] of large.entries()) expect((await store.get(operation.key))?.equals(bytesOf(index, 1_000_000))).toBe(true);
  });

  group.test('refuses a batch above the limit, as a whole', ['batches'], async (store, key) => {
    const count = Math.ceil(LIMITS.batchBytesMax / LIMITS.inlineBytesMax) + 1;
    const operations: BatchOperation[] = Array.from({ length: count }, (_, index) => ({ type: 'set', key: key(String(index)), value: Buffer.alloc(LIMITS.inlineBytesMax) }));
    await expect(store.batch(operations)).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect((await store.getMany(operations.map((operation) => operation.key))).every((value) => value === undefined)).toBe(true);
  });

  group.test('refuses a batch with one bad operation, as a whole', ['batches'], async (store, key) => {
    const good = { type: 'set', key: key('a'), value: bytesOf(1, 50_000) } as const;
    for (const bad of [{ type: 'put', key: 'k', value: 'v' }, { type: 'set', key: 7, value: 'v' }, { type: 'set', key: 'k' }, { key: 'k', value: 'v' }, { type: 'set', key: 'k', value: 'v', ttlMs: -1 }, null, 'set']) {
      await expect(store.batch([good, unchecked(bad)]), JSON.stringify(bad)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
    }
    for (const bad of [null, 7, {}, 'set']) await expect(store.batch(unchecked(bad)), JSON.stringify(bad)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
    expect(await store.has(key('a'))).toBe(false);
  });

  group.test('shows a batch whole or not at all to those who read meanwhile', ['batches'], async (store, key) => {
    let round = 0;
    const writing = (async () => {
      for (round = 1; round <= 200; round++) await store.batch([{ type: 'set', key: key('a'), value: String(round) }, { type: 'set', key: key('b'), value: String(round) }]);
    })();
    while (round <= 200) {
      const first = Number((await store.get(key('a'))) ?? 0);
      // One that is read later is never older.
      expect(Number((await store.get(key('b'))) ?? 0)).toBeGreaterThanOrEqual(first);
    }
    await writing;
  });
}
