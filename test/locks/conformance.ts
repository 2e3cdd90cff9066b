// What every lock engine does, in this machine or shared by many: run it on each.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InodeNumber } from '../../src/base/ids.ts';
import { LAST_BYTE, WHOLE_FILE } from '../../src/locks/lock-engine.ts';
import type { LockClaim, LockEngine, LockWaiter } from '../../src/locks/lock-engine.ts';

export interface EngineUnderTest {
  readonly engine: LockEngine;
  /** The process dies without a word, and another takes its place. */
  successor(): Promise<LockEngine>;
  /** As successor, but the mount is a new one. */
  nextMount(): Promise<LockEngine>;
  end(): Promise<void>;
}

const FILE = 7 as InodeNumber;
const OTHER_FILE = 8 as InodeNumber;
const A = 0xffff_ffff_ffff_fff1n;
const B = 2n;
const C = 3n;
const WAITS: LockWaiter = { pid: 1 };

const range = (owner: bigint, first: number, last: number, more: Partial<LockClaim> = {}): LockClaim => ({ kind: 'range', owner, first: BigInt(first), last: BigInt(last), mode: 'exclusive', handle: owner + 100n & LAST_BYTE, pid: Number(owner & 0xffn), ...more });
const shared = { mode: 'shared' } as const;
const file = (handle: bigint, more: Partial<LockClaim> = {}): LockClaim => ({ ...WHOLE_FILE, kind: 'file', owner: handle, mode: 'exclusive', handle, pid: 1, ...more });

export function describeLockEngine(name: string, make: () => Promise<EngineUnderTest>): void {
  describe(`locks ${name}`, () => {
    let under: EngineUnderTest;
    let engine: LockEngine;
    beforeEach(async () => {
      under = await make();
      engine = under.engine;
    });
    afterEach(() => under.end());

    /** The promise of a lock that has to wait, and whether it still does. */
    async function waiting(claim: LockClaim, waiter: LockWaiter = WAITS, inode = FILE) {
      const before = engine.counts.waiting;
      const state = { done: undefined as string | undefined, promise: Promise.resolve() };
      state.promise = (async () => engine.lock(inode, claim, waiter))().then(() => { state.done = 'granted'; }, (error: { code: string }) => { state.done = error.code; });
      await expect.poll(() => engine.counts.waiting > before || state.done !== undefined).toBe(true);
      return state;
    }

    const tried = async (claim: LockClaim, inode = FILE): Promise<string> => {
      try {
        await engine.lock(inode, claim);
        return 'granted';
      } catch (error) {
        return (error as { code: string }).code;
      }
    };

    it('are refused where another owner has them, and granted beside them', async () => {
      expect(await tried(range(A, 0, 9))).toBe('granted');
      expect(await tried(range(B, 9, 20))).toBe('EAGAIN');
      expect(await tried(range(B, 9, 9, shared))).toBe('EAGAIN');
      expect(await tried(range(B, 10, 20))).toBe('granted');
      expect(await tried(range(B, 0, 9), OTHER_FILE)).toBe('granted');
    });

    it('are shared by any number of readers', async () => {
      for (const owner of [A, B, C]) expect(await tried(range(owner, 0, 9, shared))).toBe('granted');
      expect(await tried(range(B, 0, 9))).toBe('EAGAIN');
      expect(engine.counts).toEqual({ held: 3, waiting: 0 });
    });

    it('of the last byte are exact', async () => {
      const last = { first: LAST_BYTE, last: LAST_BYTE };
      expect(await tried(range(A, 0, 0, last))).toBe('granted');
      expect(await tried(range(B, 0, 0, { first: 0n, last: LAST_BYTE - 1n }))).toBe('granted');
      expect(await engine.test(FILE, range(C, 0, 0, last))).toMatchObject({ owner: A, ...last });
    });

    it('show the first that stands against a claim, and that nothing does', async () => {
      await engine.lock(FILE, range(A, 20, 29, { pid: 77 }));
      await engine.lock(FILE, range(B, 10, 14, shared));
      expect(await engine.test(FILE, range(C, 0, 40))).toMatchObject({ owner: B, first: 10n, last: 14n, mode: 'shared' });
      expect(await engine.test(FILE, range(C, 0, 40, shared))).toMatchObject({ owner: A, first: 20n, last: 29n, mode: 'exclusive', pid: 77 });
      expect(await engine.test(FILE, range(A, 15, 40))).toBeUndefined();
      expect(await engine.ownLock(FILE, range(A, 0, 0), { first: 0n, last: 25n })).toMatchObject({ first: 20n, last: 29n });
      expect(await engine.ownLock(FILE, range(A, 0, 0), { first: 0n, last: 19n })).toBeUndefined();
    });

    it('that are upgraded in vain stay what they were', async () => {
      await engine.lock(FILE, range(A, 0, 9, shared));
      await engine.lock(FILE, range(B, 0, 9, shared));
      expect(await tried(range(A, 0, 9))).toBe('EAGAIN');
      expect(await tried(range(C, 0, 9))).toBe('EAGAIN');
      expect(await engine.test(FILE, range(B, 0, 9))).toMatchObject({ owner: A, mode: 'shared' });
    });

    it('are handed to those who wait, in the order in which they came', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const first = await waiting(range(B, 0, 9));
      const second = await waiting(range(C, 5, 9));
      const beside = await waiting(range(4n, 0, 4));
      await engine.unlock(FILE, range(A, 0, 0), { first: 0n, last: 9n });
      await first.promise;
      expect([first.done, second.done, beside.done]).toEqual(['granted', undefined, undefined]);
      await engine.closed(FILE, B);
      await Promise.all([second.promise, beside.promise]);
      expect(engine.counts).toEqual({ held: 2, waiting: 0 });
    });

    it('that are downgraded let readers in', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const reader = await waiting(range(B, 0, 9, shared));
      await engine.lock(FILE, range(A, 0, 9, shared));
      await reader.promise;
      expect(reader.done).toBe('granted');
    });

    it('that one who waited gives up by what it is granted let in those who came before it', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      await engine.lock(FILE, range(B, 20, 20));
      const reader = await waiting(range(C, 5, 5, shared));
      const downgrade = await waiting(range(A, 0, 29, shared));
      expect([reader.done, downgrade.done]).toEqual([undefined, undefined]);
      await engine.closed(FILE, B);
      await downgrade.promise;
      expect(engine.counts).toEqual({ held: 2, waiting: 0 });
      await reader.promise;
    });

    it('are not waited for any more after an interrupt', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const controller = new AbortController();
      const waiter = await waiting(range(B, 0, 9), { pid: 1, signal: controller.signal });
      controller.abort();
      await waiter.promise;
      expect(waiter.done).toBe('EINTR');
      expect((await waiting(range(B, 0, 9), { pid: 1, signal: controller.signal })).done).toBe('EINTR');
      await engine.closed(FILE, A);
      expect(engine.counts).toEqual({ held: 0, waiting: 0 });
    });

    it('that would be waited for in a circle are refused with EDEADLK', async () => {
      await engine.lock(FILE, range(A, 0, 0));
      await engine.lock(OTHER_FILE, range(B, 1, 1));
      await engine.lock(FILE, range(C, 2, 2));
      const second = await waiting(range(B, 0, 0));
      const third = await waiting(range(C, 1, 1), WAITS, OTHER_FILE);
      expect((await waiting(range(A, 2, 2))).done).toBe('EDEADLK');
      await engine.closed(FILE, A);
      await second.promise;
      await engine.closed(OTHER_FILE, B);
      await third.promise;
      expect([second.done, third.done]).toEqual(['granted', 'granted']);
    });

    it('that two readers both want to upgrade are refused to the second', async () => {
      await engine.lock(FILE, range(A, 0, 9, shared));
      await engine.lock(FILE, range(B, 0, 9, shared));
      const first = await waiting(range(A, 0, 9));
      expect((await waiting(range(B, 0, 9))).done).toBe('EDEADLK');
      await engine.closed(FILE, B);
      await first.promise;
      expect(first.done).toBe('granted');
    });

    it('of whole files and of ranges do not see each other', async () => {
      await engine.lock(FILE, file(A));
      expect(await tried(range(B, 0, 9))).toBe('granted');
      expect(await tried(file(B))).toBe('EAGAIN');
      await engine.closed(FILE, A);
      expect(await tried(file(B))).toBe('EAGAIN');
    });

    it('of whole files are given up first when their mode changes', async () => {
      await engine.lock(FILE, file(A, shared));
      await engine.lock(FILE, file(B, shared));
      expect(await tried(file(A))).toBe('EAGAIN');
      expect(await tried(file(B))).toBe('granted');
    });

    it('of whole files are waited for in circles', async () => {
      await engine.lock(FILE, file(A));
      await engine.lock(OTHER_FILE, file(B));
      const one = await waiting(file(B));
      const other = await waiting(file(A), WAITS, OTHER_FILE);
      expect([one.done, other.done]).toEqual([undefined, undefined]);
      await engine.released(FILE, A);
      await one.promise;
    });

    it('end with the open file that they were taken through, and only those', async () => {
      await engine.lock(FILE, range(A, 0, 9, { handle: 50n }));
      await engine.lock(FILE, range(A, 10, 19, { handle: 51n }));
      await engine.lock(FILE, file(50n));
      const waiter = await waiting(range(B, 0, 9));
      expect(await engine.test(FILE, range(B, 0, 9))).toMatchObject({ first: 0n, last: 19n });
      await engine.released(FILE, 50n);
      await waiter.promise;
      expect(await tried(range(B, 10, 10))).toBe('EAGAIN');
      expect(await tried(file(B))).toBe('granted');
    });

    it('are not forgotten by a successor, and not brought back', async () => {
      await engine.lock(FILE, range(A, 0, 99));
      await engine.unlock(FILE, range(A, 0, 0), { first: 40n, last: 49n });
      await engine.lock(FILE, range(A, 60, 69, shared));
      await engine.lock(FILE, file(C));
      await engine.lock(OTHER_FILE, range(B, 0, 9));
      await engine.closed(OTHER_FILE, B);
      const handle = engine.newHandle();
      engine = await under.successor();
      expect(await tried(range(B, 40, 49))).toBe('granted');
      expect(await tried(range(B, 60, 60, shared))).toBe('granted');
      expect(await tried(range(B, 39, 39, shared))).toBe('EAGAIN');
      expect(await tried(file(B))).toBe('EAGAIN');
      expect(await tried(range(C, 0, 9), OTHER_FILE)).toBe('granted');
      expect(engine.newHandle()).not.toBe(handle);
    });

    it('that were granted to one who waited are granted again when it asks the successor', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const waiter = await waiting(range(B, 0, 9));
      await engine.closed(FILE, A);
      await waiter.promise;
      engine = await under.successor();
      expect((await waiting(range(B, 0, 9))).done ?? 'waits').toBe('granted');
      expect(await tried(range(A, 0, 9))).toBe('EAGAIN');
    });

    it('are gone at the next mount', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      engine = await under.nextMount();
      expect(engine.counts).toEqual({ held: 0, waiting: 0 });
      expect(await tried(range(B, 0, 9))).toBe('granted');
    });

    it('are waited for by a thousand, who all get it in turn', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const got: number[] = [];
      const all = Array.from({ length: 1000 }, async (_, index) => {
        const owner = BigInt(index + 1000);
        await engine.lock(FILE, range(owner, 0, 9), WAITS);
        got.push(index);
        await engine.closed(FILE, owner);
      });
      await expect.poll(() => engine.counts.waiting).toBe(1000);
      await engine.closed(FILE, A);
      await Promise.all(all);
      expect(got).toEqual(Array.from({ length: 1000 }, (_, index) => index));
      expect(engine.counts).toEqual({ held: 0, waiting: 0 });
    });

    it('are not waited for when the mount is gone', async () => {
      await engine.lock(FILE, range(A, 0, 9));
      const waiter = await waiting(range(B, 0, 9));
      engine.close();
      await waiter.promise;
      expect(waiter.done).toBe('EINTR');
    });
  });
}
