// Values as streams, both ways.
import { Readable } from 'node:stream';
import { expect } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { bytesOf } from '../support/block-data.ts';
import { piecesOf, readAll, unchecked } from './under-test.ts';
import type { Group } from './under-test.ts';

export function streams(group: Group): void {
  group.test('takes a value as a stream of pieces of any size', [], async (store, key) => {
    for (const [bytes, piece] of [[0, 1], [1, 1], [1000, 7], [70_000, 70_000], [3_000_001, 65_536], [2_500_000, 2_000_000]] as const) {
      const value = bytesOf(bytes, bytes);
      await store.set(key(), piecesOf(value, piece));
      expect((await store.get(key()))?.equals(value)).toBe(true);
    }
    await store.set(key(), Readable.from([Buffer.from('ab'), Buffer.from('c')]));
    expect((await store.get(key()))?.toString()).toBe('abc');
  });

  group.test('gives a value as a stream', ['streams'], async (store, key) => {
    for (const bytes of [0, 1, 5000, LIMITS.blockBytesMax, 3_000_001]) {
      const value = bytesOf(bytes, bytes);
      await store.set(key(), value);
      expect((await readAll(await store.getStream(key())))?.equals(value)).toBe(true);
    }
    expect(await store.getStream(key('no'))).toBeUndefined();
  });

  group.test('carries the largest value in a stream', ['streams'], async (store, key) => {
    const piece = bytesOf(3, LIMITS.blockBytesMax);
    await store.set(key(), (async function* pieces() { for (let count = 0; count < 64; count++) yield piece; })());
    let bytes = 0;
    for await (const part of (await store.getStream(key()))!) bytes += (part as Buffer).length;
    expect(bytes).toBe(LIMITS.valueBytesMax);
    await store.delete(key());
  });

  group.test('refuses a stream above the limit, and keeps what was there', [], async (store, key) => {
    await store.set(key(), 'old');
    let ended = false;
    const endless = (async function* pieces() {
      try {
        for (;;) yield Buffer.alloc(LIMITS.blockBytesMax);
      } finally {
        ended = true;
      }
    })();
    await expect(store.set(key(), endless)).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect([ended, (await store.get(key()))?.toString()]).toEqual([true, 'old']);
  });

  group.test('passes on what went wrong in a stream, and keeps what was there', [], async (store, key) => {
    await store.set(key(), 'old');
    const failing = (async function* pieces() {
      yield Buffer.alloc(100_000);
      throw new RangeError('the source is dry');
    })();
    await expect(store.set(key(), failing)).rejects.toThrow('the source is dry');
    await expect(store.set(key(), unchecked(Readable.from(['text', 'and more'])))).rejects.toMatchObject({ code: 'INVALID' });
    await expect(store.set(key(), unchecked((async function* numbers() { yield 7; })()))).rejects.toMatchObject({ code: 'INVALID' });
    expect((await store.get(key()))?.toString()).toBe('old');
  });

  group.test('gives all of the old value, or says that it changed, in the stream of one that is replaced or deleted meanwhile', ['streams'], async (store, key) => {
    for (const change of ['set', 'delete'] as const) {
      await store.set(key(), Buffer.alloc(8 * LIMITS.blockBytesMax, 1));
      const stream = (await store.getStream(key()))!;
      const reader = stream[Symbol.asyncIterator]();
      await reader.next();
      await (change === 'set' ? store.set(key(), Buffer.alloc(8 * LIMITS.blockBytesMax, 2)) : store.delete(key()));
      let bytes = LIMITS.blockBytesMax;
      const rest = (async () => {
        for (let piece = await reader.next(); piece.done !== true; piece = await reader.next()) {
          expect((piece.value as Buffer).every((byte) => byte === 1)).toBe(true);
          bytes += (piece.value as Buffer).length;
        }
      })();
      const end = await rest.then(() => 'whole', (error: { code?: string }) => error.code);
      expect(['whole', 'CHANGED']).toContain(end);
      if (end === 'whole') expect(bytes).toBe(8 * LIMITS.blockBytesMax);
    }
  });

  group.test('may be told to stop in the middle of a stream', ['streams'], async (store, key) => {
    await store.set(key(), bytesOf(1, 4_000_000));
    for (let count = 0; count < 20; count++) for await (const piece of (await store.getStream(key()))!) { expect((piece as Buffer).length).toBeGreaterThan(0); break; }
    (await store.getStream(key()))!.destroy();
    expect(await store.delete(key())).toBe(true);
  });
}
