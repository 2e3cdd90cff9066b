// The locks of a store, how it is closed, and when its writes are power-proof, over key spaces in memory.
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Store } from '../../src/store/store.ts';
import { modelStore } from '../support/model-store.ts';
import type { ModelStore } from '../support/model-store.ts';

let made: ModelStore;
let store: Store;

beforeEach(() => {
  made = modelStore();
  store = made.store;
});

afterEach(() => {
  vi.useRealTimers();
});

/** The loop's own turns stay real. */
function useFakeTime(): void {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
}

const code = (wanted: string) => expect.objectContaining({ name: 'StoreError', code: wanted });

describe('locks', () => {
  test('have one holder at a time, and tokens that grow', async () => {
    const tokens: number[] = [];
    let inside = 0;
    await Promise.all(Array.from({ length: 20 }, async () => {
      await using lock = await store.lock('name', { ttlMs: 10_000 });
      expect(++inside).toBe(1);
      tokens.push(lock.token);
      await pause(1);
      inside--;
    }));
    expect(tokens).toEqual([...new Set(tokens)].toSorted((one, other) => one - other));
    expect(tokens.length).toBe(20);
  });

  test('are told from keys of the same name', async () => {
    await using lock = await store.lock('name', { ttlMs: 10_000 });
    expect([lock.isHeld, await store.has('name'), made.keys.count]).toEqual([true, false, 0]);
  });

  test('that others hold are undefined as a lease, and TIMEOUT as a lock', async () => {
    const lock = (await store.lease('name', { ttlMs: 10_000 }))!;
    expect(await store.lease('name', { ttlMs: 10_000 })).toBeUndefined();
    await expect(store.lock('name', { ttlMs: 10_000, waitMs: 10 })).rejects.toEqual(code('TIMEOUT'));
    expect([await lock.release(), await lock.release(), lock.isHeld]).toEqual([true, false, false]);
    await expect(lock.renew()).rejects.toEqual(code('BUSY'));
  });

  test('that were lost say so when they are renewed', async () => {
    useFakeTime();
    const lock = await store.lock('name', { ttlMs: 5 });
    await vi.advanceTimersByTimeAsync(5);
    expect(lock.isHeld).toBe(false);
    await expect(lock.renew()).rejects.toEqual(code('BUSY'));
    expect(await lock.release()).toBe(false);
  });

  test('are renewed while work goes on, and released after it', async () => {
    useFakeTime();
    const lock = await store.lock('name', { ttlMs: 60 });
    const result = await lock.run(async (signal) => {
      await vi.advanceTimersByTimeAsync(200);
      expect(await store.lease('name', { ttlMs: 10 })).toBeUndefined();
      return signal.aborted;
    });
    expect([result, lock.isHeld]).toEqual([false, false]);
    expect(await store.lease('name', { ttlMs: 10 })).toBeDefined();
  });

  test('that are lost during the work abort it', async () => {
    useFakeTime();
    const lock = await store.lock('name', { ttlMs: 60 });
    await lock.run(async (signal) => {
      made.locks.transact((transaction) => transaction.delete(Buffer.from('name')));
      const lost = new Promise((resolve) => signal.addEventListener('abort', resolve));
      await vi.advanceTimersByTimeAsync(60);
      await lost;
      expect(signal.reason).toEqual(code('BUSY'));
    });
  });
});

describe('the life of a store', () => {
  test('writes are power-proof when they or the store are to be', async () => {
    await store.set('a', '1');
    expect(made.keys.syncs).toBe(0);
    await store.set('a', '1', { sync: true });
    await store.delete('a', { sync: true });
    await store.sync();
    expect(made.keys.syncs).toBe(3);
    const synced = modelStore({ sync: true });
    await synced.store.set('a', '1');
    await synced.store.set('a', '2', { sync: false });
    expect(synced.keys.syncs).toBe(1);
  });

  test('what was asked before close is carried out, and nothing after it', async () => {
    const set = store.set('a', '1');
    const closes = [store.close(), store.close()];
    await set;
    await Promise.all(closes);
    expect([made.closes, made.keys.count]).toEqual([1, 1]);
    for (const call of [() => store.get('a'), () => store.set('a', '1'), () => store.batch([]), () => store.stats(), () => store.sync(), () => store.lock('a', { ttlMs: 10 }), () => store.range().next()]) await expect(call()).rejects.toEqual(code('CLOSED'));
    await store.close();
  });

  test('who waits for a lock when it is closed is told', async () => {
    await store.lock('name', { ttlMs: 10_000 });
    const waiting = store.lock('name', { ttlMs: 10_000 }).catch((error: unknown) => error);
    await pause(5);
    await store.close();
    expect(await waiting).toEqual(code('CLOSED'));
  });

  test('it closes itself at the end of its scope', async () => {
    const scoped = modelStore();
    {
      await using inner = scoped.store;
      await inner.set('a', '1');
    }
    expect(scoped.closes).toBe(1);
  });

  test('it says what is in it', async () => {
    await store.set('a', '1');
    expect(await store.stats()).toMatchObject({ keys: 1 });
  });
});
