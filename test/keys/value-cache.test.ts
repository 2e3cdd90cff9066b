// Small values in memory: what was put is what is read, whatever is replaced, dropped and written over meanwhile.
import { expect, test } from 'vitest';
import type { BlockId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { ValueCache } from '../../src/keys/value-cache.ts';
import { chances } from '../support/chances.ts';

const MiB = 2 ** 20;
const id = (lo: number): BlockId => ({ hi: 1, lo });
const value = (lo: number, bytes: number): Buffer => Buffer.alloc(bytes, `value ${lo},`);

test.each([1, 2, 3])('random values from seed %i are read as they were put, or not at all, and take no more memory than is allowed', (seed) => {
  const random = chances(seed);
  const pick = (count: number) => Math.floor(random() * count);
  const cache = new ValueCache(4 * MiB);
  const present = new Map<number, number>();
  let made = 0;
  let hits = 0;
  for (let step = 0; step < 20_000; step++) {
    const known = [...present.keys()].at(-1 - pick(Math.min(40, Math.max(1, present.size))));
    const chance = random();
    if (chance < 0.5 || known === undefined) {
      const bytes = 1 + pick(chance < 0.4 ? 600 : LIMITS.inlineBytesMax);
      const replaced = random() < 0.5 ? known : undefined;
      cache.add(id(++made), value(made, bytes), replaced === undefined ? undefined : id(replaced));
      if (replaced !== undefined) {
        cache.delete(id(replaced));
        present.delete(replaced);
      }
      present.set(made, bytes);
    } else if (chance < 0.55) {
      cache.delete(id(known));
      present.delete(known);
      expect(cache.get(id(known), 0, 1)).toBeUndefined();
    } else {
      const bytes = present.get(known)!;
      const offset = pick(bytes);
      const part = cache.get(id(known), offset, bytes - offset);
      if (part === undefined) continue;
      hits++;
      expect(part.equals(value(known, bytes).subarray(offset))).toBe(true);
    }
    expect(cache.bytes).toBeLessThanOrEqual(4 * MiB);
  }
  expect(hits).toBeGreaterThan(5000);
});

test('what is read again and again stays, while what is not goes', () => {
  const cache = new ValueCache(8 * MiB);
  for (let at = 0; at < 100; at++) cache.add(id(at), value(at, 1000), undefined);
  for (let other = 1000; other < 40_000; other++) {
    cache.add(id(other), value(other, 1000), undefined);
    if (other % 100 === 0) for (let at = 0; at < 50; at++) expect(cache.get(id(at), 0, 1000)?.equals(value(at, 1000))).toBe(true);
  }
  for (let at = 50; at < 100; at++) expect(cache.get(id(at), 0, 1000)).toBeUndefined();
});

test('a value that was read is the reader’s own, and does not change when another takes its place', () => {
  const cache = new ValueCache(MiB);
  cache.add(id(1), value(1, 500), undefined);
  const read = cache.get(id(1), 0, 500)!;
  cache.add(id(2), value(2, 400), id(1));
  expect(read.equals(value(1, 500))).toBe(true);
  read.fill(0);
  expect([cache.get(id(1), 0, 500), cache.get(id(2), 0, 400)?.equals(value(2, 400))]).toEqual([undefined, true]);
});

test('with less memory than a chunk nothing is kept', () => {
  const cache = new ValueCache(MiB - 1);
  cache.add(id(1), value(1, 500), undefined);
  expect([cache.get(id(1), 0, 500), cache.bytes]).toEqual([undefined, 0]);
});

test('who replaces values of a size takes no further memory', () => {
  const cache = new ValueCache(64 * MiB);
  for (let at = 0; at < 256; at++) cache.add(id(at), value(at, 4096), undefined);
  const { bytes } = cache;
  for (let at = 256; at < 20_000; at++) cache.add(id(at), value(at, 4096), id(at - 256));
  expect(cache.bytes).toBe(bytes);
  expect(cache.get(id(19_999), 0, 4096)?.equals(value(19_999, 4096))).toBe(true);
});
