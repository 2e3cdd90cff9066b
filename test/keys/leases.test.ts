// Leases: one holder at a time, in the order in which they asked, until released or expired.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { Leases } from '../../src/keys/leases.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';

const A = Buffer.from('a');
const B = Buffer.from('b');

let keys: ModelKeySpace;
let leases: Leases;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  keys = new ModelKeySpace();
  leases = new Leases(keys);
});
afterEach(() => {
  vi.useRealTimers();
});

const acquire = (name: Buffer, { ttlMs = 1000, waitMs = 0, signal }: { ttlMs?: number; waitMs?: number; signal?: AbortSignal } = {}) => leases.acquire(name, { ttlMs, waitMs, signal });

/** What a promise came to so far. */
function watch<T>(promise: Promise<T>): { outcome: T | Error | 'pending' } {
  const watched: { outcome: T | Error | 'pending' } = { outcome: 'pending' };
  promise.then((value) => (watched.outcome = value), (error: Error) => (watched.outcome = error));
  return watched;
}

const settle = () => vi.advanceTimersByTimeAsync(0);

describe('one caller', () => {
  test('gets what nobody holds at once, until its time is up', async () => {
    const grant = await acquire(A, { ttlMs: 1500 });
    expect(grant).toEqual({ token: expect.any(Number), expiresMs: Date.now() + 1500 });
    expect(await acquire(A)).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1499);
    expect(await acquire(A)).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect((await acquire(A))!.token).toBeGreaterThan(grant!.token);
  });

  test('gets tokens that grow, whatever the name, and are not those of before', async () => {
    const tokens: number[] = [];
    for (const name of [A, B, A, B, A]) {
      const { token } = (await acquire(name))!;
      tokens.push(token);
      expect(leases.release(name, token)).toBe(true);
    }
    expect(tokens).toEqual([...new Set(tokens)].toSorted((one, other) => one - other));
  });

  test('keeps the token when it renews, and nobody gets it meanwhile', async () => {
    const { token } = (await acquire(A))!;
    for (let round = 0; round < 5; round++) {
      await vi.advanceTimersByTimeAsync(900);
      expect(await leases.renew(A, token, 1000)).toEqual({ token, expiresMs: Date.now() + 1000 });
      expect(await acquire(A)).toBeUndefined();
    }
  });

  test('cannot renew or release what is lost, never was, or is held by others', async () => {
    const { token } = (await acquire(A))!;
    expect(await leases.renew(B, token, 1000)).toBeUndefined();
    expect(leases.release(A, token + 1)).toBe(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await leases.renew(A, token, 1000)).toBeUndefined();
    expect(leases.release(A, token)).toBe(false);
    const next = (await acquire(A))!;
    expect(await leases.renew(A, token, 1000)).toBeUndefined();
    expect(leases.release(A, token)).toBe(false);
    expect(leases.release(A, next.token)).toBe(true);
    expect(leases.release(A, next.token)).toBe(false);
  });
});

describe('those who wait', () => {
  test('get it in the order in which they came, each when the one before releases it', async () => {
    const { token } = (await acquire(A))!;
    const waiting = [1, 2, 3].map(() => watch(acquire(A, { waitMs: 60_000, ttlMs: 60_000 })));
    await settle();
    let held = token;
    for (const [index, waiter] of waiting.entries()) {
      leases.release(A, held);
      await settle();
      expect(waiter.outcome).toMatchObject({ token: expect.any(Number) });
      held = (waiter.outcome as { token: number }).token;
      expect(waiting.slice(index + 1).every(({ outcome }) => outcome === 'pending')).toBe(true);
    }
    expect(leases.waiting).toBe(0);
  });

  test('get it when the time of the holder is up, and later when it renews', async () => {
    const { token } = (await acquire(A))!;
    const waiter = watch(acquire(A, { waitMs: 60_000 }));
    await vi.advanceTimersByTimeAsync(800);
    await leases.renew(A, token, 1000);
    await vi.advanceTimersByTimeAsync(999);
    expect(waiter.outcome).toBe('pending');
    await vi.advanceTimersByTimeAsync(2);
    expect(waiter.outcome).toMatchObject({ token: expect.any(Number) });
  });

  test('get it sooner when the holder shortens its time', async () => {
    const { token } = (await acquire(A, { ttlMs: 60_000 }))!;
    const waiter = watch(acquire(A, { waitMs: 60_000 }));
    await leases.renew(A, token, 10);
    await vi.advanceTimersByTimeAsync(11);
    expect(waiter.outcome).toMatchObject({ token: expect.any(Number) });
  });

  test('come before one that asks in the moment in which it is free', async () => {
    const { token } = (await acquire(A))!;
    const waiter = watch(acquire(A, { waitMs: 60_000 }));
    await settle();
    leases.release(A, token);
    expect(await acquire(A)).toBeUndefined();
    await settle();
    expect(waiter.outcome).toMatchObject({ token: expect.any(Number) });
  });

  test('are told that they did not get it when their wait is over', async () => {
    await acquire(A, { ttlMs: 10_000 });
    const [short, long] = [watch(acquire(A, { waitMs: 500 })), watch(acquire(A, { waitMs: 5_000 }))];
    await vi.advanceTimersByTimeAsync(500);
    expect([short.outcome, long.outcome]).toEqual([undefined, 'pending']);
    await vi.advanceTimersByTimeAsync(4_500);
    expect([long.outcome, leases.waiting]).toEqual([undefined, 0]);
  });

  test('leave the queue when they are told to, and those behind them move up', async () => {
    const { token } = (await acquire(A))!;
    const leaving = new AbortController();
    const [first, second] = [watch(acquire(A, { waitMs: 60_000, signal: leaving.signal })), watch(acquire(A, { waitMs: 60_000 }))];
    await settle();
    const reason = new Error('gone');
    leaving.abort(reason);
    await settle();
    expect(first.outcome).toBe(reason);
    leases.release(A, token);
    await settle();
    expect(second.outcome).toMatchObject({ token: expect.any(Number) });
    await expect(acquire(B, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(keys.get(B)).toBeUndefined();
  });

  test('are so many at most', async () => {
    vi.useRealTimers();
    await acquire(A, { ttlMs: 60_000 });
    const waiting = Array.from({ length: LIMITS.leaseWaitersMax }, () => watch(acquire(A, { waitMs: 60_000 })));
    await new Promise((resolve) => setImmediate(resolve));
    expect(leases.waiting).toBe(LIMITS.leaseWaitersMax);
    await expect(acquire(A, { waitMs: 500 })).rejects.toMatchObject({ code: 'BUSY' });
    expect(await acquire(A)).toBeUndefined();
    expect((await acquire(B, { waitMs: 500 }))).toBeDefined();
    leases.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect([leases.waiting, waiting.every(({ outcome }) => (outcome as { code?: string }).code === 'CLOSED')]).toEqual([0, true]);
  });

  test('are told that the store is closed', async () => {
    const { token } = (await acquire(A))!;
    const waiting = [watch(acquire(A, { waitMs: 60_000 })), watch(acquire(A, { waitMs: 60_000 }))];
    await settle();
    leases.close();
    await settle();
    expect(waiting.map(({ outcome }) => (outcome as { code?: string }).code)).toEqual(['CLOSED', 'CLOSED']);
    expect(() => leases.release(A, token)).toThrow('closed');
    await expect(acquire(B)).rejects.toMatchObject({ code: 'CLOSED' });
  });

  test('are told when a grant fails, and the next is tried', async () => {
    const { token } = (await acquire(A))!;
    const waiting = [watch(acquire(A, { waitMs: 60_000 })), watch(acquire(A, { waitMs: 60_000 }))];
    await settle();
    const fail = vi.spyOn(keys, 'transact').mockImplementationOnce((work) => ModelKeySpace.prototype.transact.call(keys, work) as never).mockImplementationOnce(() => { throw new Error('full'); });
    leases.release(A, token);
    await settle();
    fail.mockRestore();
    expect(waiting[0]!.outcome).toMatchObject({ message: 'full' });
    expect(waiting[1]!.outcome).toMatchObject({ token: expect.any(Number) });
  });
});

test('a wait longer than a timer can be does not end at once', async () => {
  await acquire(A, { ttlMs: LIMITS.ttlMsMax });
  const waiter = watch(acquire(A, { waitMs: Infinity }));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(waiter.outcome).toBe('pending');
  leases.close();
});
