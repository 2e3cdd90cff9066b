// Keys and values of every size and kind, what is refused, and that nobody's buffers are shared.
import { expect } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { bytesOf } from '../support/block-data.ts';
import { BAD_KEYS, unchecked } from './under-test.ts';
import type { Group } from './under-test.ts';

const SIZES = [0, 1, LIMITS.rowValueBytesMax, LIMITS.rowValueBytesMax + 1, LIMITS.inlineBytesMax, LIMITS.inlineBytesMax + 1, LIMITS.blockBytesMax - 1, LIMITS.blockBytesMax, LIMITS.blockBytesMax + 1, 5_000_003, LIMITS.valueBytesMax];

const KEYS: readonly (readonly [string, Buffer])[] = [
  ['no bytes', Buffer.alloc(0)], ['a zero', Buffer.of(0)], ['two zeros', Buffer.of(0, 0)], ['bytes that are no text', Buffer.of(0xc3, 0x28, 0xff, 0xfe)],
  ['line ends and spaces', Buffer.from(' \r\n\t ')], ['text of every alphabet', Buffer.from('ключ 键 🗝 clé')],
  ['1024 bytes', Buffer.alloc(LIMITS.keyBytesMax, 0xff)], ['1023 bytes', Buffer.alloc(LIMITS.keyBytesMax - 1, 0xff)],
];

export function values(group: Group): void {
  for (const bytes of SIZES) {
    group.test(`gives back a value of ${bytes} bytes`, [], async (store, key) => {
      const value = bytesOf(bytes, bytes);
      await store.set(key(), value);
      expect((await store.get(key()))?.equals(value)).toBe(true);
      expect((await store.getEntry(key()))?.value.length).toBe(bytes);
      await store.delete(key());
      expect(await store.get(key())).toBeUndefined();
    });
  }

  group.test('takes one size after the other for the same key', [], async (store, key) => {
    for (const bytes of [10, 300, 40_000, 0, 2_000_000, 1, 17_000, 256]) {
      await store.set(key(), bytesOf(bytes, bytes));
      expect((await store.get(key()))?.equals(bytesOf(bytes, bytes))).toBe(true);
    }
  });

  for (const [name, key] of KEYS) {
    group.test(`takes a key of ${name}`, [], async (store) => {
      await store.set(key, name);
      expect((await store.get(key))?.toString()).toBe(name);
      expect(await store.has(key)).toBe(true);
      expect(await store.delete(key)).toBe(true);
      expect([await store.has(key), await store.get(key), await store.getEntry(key), await store.delete(key)]).toEqual([false, undefined, undefined, false]);
    });
  }

  group.test('keeps keys apart that differ in one byte or in length', [], async (store) => {
    const keys = [...Array.from({ length: 256 }, (_, byte) => Buffer.of(107, byte)), ...Array.from({ length: 20 }, (_, length) => Buffer.alloc(length, 107))];
    await Promise.all(keys.map((key, index) => store.set(key, String(index))));
    const found = await store.getMany(keys);
    // Those of one byte 'k' and two are in both lists: the later one won.
    const wanted = keys.map((key) => String(keys.findLastIndex((other) => other.equals(key))));
    expect(found.map(String)).toEqual(wanted);
    await Promise.all(keys.map((key) => store.delete(key)));
  });

  group.test('takes text as its UTF-8', [], async (store, key) => {
    await store.set(`${key()}ä🗝`, 'wörter');
    expect((await store.get(Buffer.from(`${key()}ä🗝`)))?.equals(Buffer.from('wörter'))).toBe(true);
  });

  group.test('gives many at once, in the order in which they were asked for', [], async (store, key) => {
    await store.set(key('a'), '1');
    await store.set(key('b'), bytesOf(2, 50_000));
    expect((await store.getMany([key('b'), key('no'), key('a'), key('b')])).map((value) => value?.length)).toEqual([50_000, undefined, 1, 50_000]);
    expect(await store.getMany([])).toEqual([]);
    const many = Array.from({ length: 3000 }, (_, index) => key(`many ${index}`));
    await Promise.all(many.map((name, index) => store.set(name, String(index))));
    expect((await store.getMany(many)).map(String)).toEqual(many.map((_, index) => String(index)));
  });

  group.test('does not look at bytes again that the caller gave, nor lets the caller change its own', [], async (store, key) => {
    for (const bytes of [8, 1000, 30_000]) {
      const name = Buffer.from(key(String(bytes)));
      const value = Buffer.alloc(bytes, 1);
      const writing = store.set(name, value);
      name.fill(0);
      value.fill(2);
      await writing;
      const read = await store.get(key(String(bytes)));
      expect(read?.equals(Buffer.alloc(bytes, 1))).toBe(true);
      read!.fill(3);
      expect((await store.get(key(String(bytes))))?.equals(Buffer.alloc(bytes, 1))).toBe(true);
    }
  });

  group.test('takes Uint8Arrays that are a part of a larger buffer', [], async (store, key) => {
    const whole = new Uint8Array(Buffer.from(`xx${key()}yy`));
    await store.set(whole.subarray(2, -2), whole.subarray(0, 2));
    expect((await store.get(key()))?.toString()).toBe('xx');
  });

  group.test('carries out calls that do not wait for each other', [], async (store, key) => {
    await Promise.all(Array.from({ length: 1000 }, (_, index) => store.set(key(String(index % 100)), bytesOf(index, (index * 37) % 2000))));
    const found = await Promise.all(Array.from({ length: 100 }, (_, index) => store.get(key(String(index)))));
    for (const value of found) expect(value).toBeDefined();
  });

  for (const [name, key, code] of BAD_KEYS) {
    group.test(`refuses a key that is ${name}`, [], async (store) => {
      const refusal = expect.objectContaining({ name: 'StoreError', code });
      for (const call of [() => store.get(key), () => store.getEntry(key), () => store.getMany(['a', key]), () => store.getStream(key), () => store.has(key), () => store.set(key, 'v'), () => store.delete(key), () => store.expire(key, 1000), () => store.batch([{ type: 'set', key, value: 'v' }]), () => store.batch([{ type: 'delete', key }]), () => store.lock(key, { ttlMs: 1000 }), () => store.lease(key, { ttlMs: 1000 })]) {
        await expect(call(), call.toString()).rejects.toEqual(refusal);
      }
    });
  }

  group.test('refuses a value that is neither text, bytes nor a stream of bytes', [], async (store, key) => {
    for (const value of [7, null, undefined, {}, [1], true, Symbol('v'), () => 'v', new Date()]) {
      await expect(store.set(key(), unchecked(value)), String(value)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
      await expect(store.batch([{ type: 'set', key: key(), value: unchecked(value) }]), String(value)).rejects.toMatchObject({ name: 'StoreError', code: 'INVALID' });
    }
    expect(await store.has(key())).toBe(false);
  });

  group.test('refuses a value above the limit, and keeps what was there', [], async (store, key) => {
    await store.set(key(), 'old');
    await expect(store.set(key(), Buffer.alloc(LIMITS.valueBytesMax + 1))).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect((await store.get(key()))?.toString()).toBe('old');
  });

  group.test('syncs when it is asked, and by itself where a write wants it', [], async (store, key) => {
    await store.set(key('a'), 'v', { sync: true });
    await store.set(key('b'), bytesOf(1, 100_000), { sync: true });
    await Promise.all([store.sync(), store.sync(), store.delete(key('a'), { sync: true })]);
    expect([await store.has(key('a')), await store.has(key('b'))]).toEqual([false, true]);
  });

  group.test('says what it holds and on what', ['statistics'], async (store, key) => {
    const before = await store.stats();
    await store.set(key('one more'), 'v');
    const after = await store.stats();
    expect(after.keys).toBe(before.keys + 1);
    expect(after.shards.length).toBeGreaterThan(0);
    expect(after.totalBytes).toBeGreaterThanOrEqual(after.availableBytes);
    expect(after.degradedBlocks).toBe(0);
  });
}
