// Reading from the replicated block store under its fault model: workers that die, stay away and lie.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockKey } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { verifyPieces } from '../../src/blocks/checksum.ts';
import { blockOf, readWhole } from '../support/block-data.ts';
import { pass, settle, useFakeClock, useRealClock } from '../support/fake-clock.ts';
import { outcome, storeHarness } from '../support/store-harness.ts';
import type { StoreHarness } from '../support/store-harness.ts';

let pool: StoreHarness['pool'];
let workers: StoreHarness['workers'];
let store: StoreHarness['store'];
let holders: StoreHarness['holders'];

async function build(...parameters: Parameters<typeof storeHarness>): Promise<void> {
  const harness = await storeHarness(...parameters);
  ({ pool, workers, store, holders } = harness);
}

beforeEach(() => useFakeClock());
afterEach(() => {
  pool.close();
  useRealClock();
});

describe('get', () => {
  it('reads what was put, and spreads reads over the copies', async () => {
    await build(2, 2);
    const blocks = Array.from({ length: 40 }, (_, number) => blockOf(number, 20_000));
    await store.putMany(blocks);
    for (const block of blocks) expect(await readWhole(store, block)).toEqual(block.data[0]);
    for (const worker of workers) expect(worker.counts.get('getBlock')).toBeGreaterThan(5);
  });

  it('asks the less busy copy', async () => {
    await build(2, 2);
    const block = blockOf(2);
    await store.put(block);
    workers[0]!.hanging = true;
    const stuck = outcome(pool.link(0).request('statistics', {}));
    expect(await readWhole(store, block)).toEqual(block.data[0]);
    expect(await readWhole(store, block)).toEqual(block.data[0]);
    pool.close();
    await stuck;
  });

  it('goes on with another copy when a worker dies in the middle', async () => {
    await build(2, 2);
    const block = blockOf(1);
    await store.put(block);
    for (const worker of workers) worker.dieAt('getBlock', 'before');
    const read = readWhole(store, block);
    await settle();
    workers[0]!.restart();
    await pass(500);
    expect(await read).toEqual(block.data[0]);
  });

  it('finds a block on a disk that is not among its first R', async () => {
    await build(4, 2);
    const block = blockOf(1);
    const [first, second] = pool.rank(block.id) as [number, number];
    workers[first]!.failAt('putBlocks', 'readOnly');
    workers[second]!.failAt('putBlocks', 'noSpace');
    await store.put(block);
    expect(holders(block).toSorted()).toEqual(pool.rank(block.id).slice(2).toSorted());
    expect(await readWhole(store, block)).toEqual(block.data[0]);
    expect(store.counters.missingCopies).toBe(2);
  });

  it('is a pause when both copies are gone for two seconds', async () => {
    await build(2, 2);
    const block = blockOf(1);
    await store.put(block);
    for (const worker of workers) worker.kill();
    const read = readWhole(store, block);
    await pass(2_000);
    workers[1]!.restart();
    await pass(500);
    expect(await read).toEqual(block.data[0]);
  });

  it('ends with EIO and the name of the block when the copies stay away', async () => {
    await build(2, 2);
    const block = blockOf(0xabc);
    await store.put(block);
    for (const worker of workers) worker.kill();
    const read = outcome(readWhole(store, block));
    await pass(LIMITS.workerAbsenceMs + 500);
    expect(await read).toMatchObject({ error: { code: 'EIO', message: expect.stringContaining('0001000000000abc') } });
  });

  it('ends with EIO at once when every disk says that it does not have the block', async () => {
    await build(3, 2);
    expect(await outcome(readWhole(store, blockOf(1)))).toMatchObject({ error: { code: 'EIO' } });
  });

  it('does not spin while workers die at every read', async () => {
    await build(2, 2);
    const block = blockOf(1);
    await store.put(block);
    const read = outcome(readWhole(store, block));
    for (let round = 0; round * 100 < LIMITS.workerAbsenceMs + 1_000; round++) {
      for (const worker of workers) {
        worker.restart();
        worker.dieAt('getBlock', 'before');
      }
      await pass(100);
    }
    expect(await read).toMatchObject({ error: { code: 'EIO' } });
  });
});

describe('a slow disk', () => {
  it('is not waited for where another one has the block', async () => {
    await build(2, 2);
    const block = blockOf(2);
    await store.put(block);
    workers[pool.rank(block.id)[0]!]!.hanging = true;
    const read = readWhole(store, block);
    await pass(2 * LIMITS.hedgeMsMin);
    expect(await read).toEqual(block.data[0]);
    expect(store.counters).toMatchObject({ hedgedReads: 1, damagedCopies: 0 });
  });

  it('is asked last while it owes answers', async () => {
    await build(2, 2);
    const blocks = Array.from({ length: 40 }, (_, number) => blockOf(number));
    await store.putMany(blocks);
    const slow = workers[pool.rank(blocks[2]!.id)[0]!]!;
    slow.hanging = true;
    const first = readWhole(store, blocks[2]!);
    await pass(2 * LIMITS.hedgeMsMin);
    await first;
    for (const block of blocks) expect(await readWhole(store, block)).toEqual(block.data[0]);
    expect(store.counters.hedgedReads).toBe(1);
  });

  it('does not double the load of a system that is slow as a whole', async () => {
    await build(2, 2);
    const blocks = Array.from({ length: 100 }, (_, number) => blockOf(number));
    await store.putMany(blocks);
    for (const worker of workers) worker.hanging = true;
    const reads = blocks.map((block) => outcome(readWhole(store, block)));
    await pass(5 * LIMITS.hedgeMsMax);
    expect(store.counters.hedgedReads).toBeLessThanOrEqual(LIMITS.hedgesMax);
    for (const worker of workers) worker.restart();
    await pass(1_000);
    expect(await Promise.all(reads)).toEqual(blocks.map((block) => block.data[0]));
  });
});

describe('a missing copy', () => {
  it('is written anew where it belongs, unless nobody needs the block any more', async () => {
    let needed = true;
    await build(2, 2, { isNeeded: () => needed, onBadCopy: (copy, blockBytes) => {
      void store.rewriteCopy(copy, { id: copy.id, firstPiece: 0, pieceCount: Math.ceil(blockBytes / LIMITS.checksumBytes) }, verifyPieces);
    } });
    const block = blockOf(2, 40_000);
    await store.put(block);
    const first = workers[pool.rank(block.id)[0]!]!;
    first.blocks.clear();
    needed = false;
    await readWhole(store, block);
    await settle();
    expect(first.blocks.size).toBe(0);
    needed = true;
    await readWhole(store, block);
    await settle();
    expect(first.blocks.get(blockKey(block.id))?.data).toEqual(block.data[0]);
    expect(store.counters).toMatchObject({ missingCopies: 2, repairedCopies: 1 });
  });
});

describe('damage', () => {
  it('is read around, reported, and repaired by the good copy', async () => {
    const reported: number[] = [];
    await build(2, 2, { onBadCopy: (copy, blockBytes) => {
      reported.push(copy.index);
      void store.rewriteCopy(copy, { id: copy.id, firstPiece: 0, pieceCount: Math.ceil(blockBytes / LIMITS.checksumBytes) }, verifyPieces);
    } });
    const block = blockOf(2, 40_000);
    await store.put(block);
    await store.sync();
    const key = blockKey(block.id);
    // An even id is read from the first copy.
    const first = pool.rank(block.id)[0]!;
    workers[first]!.blocks.get(key)!.data[30_000]! ^= 1;
    expect(await readWhole(store, block)).toEqual(block.data[0]);
    expect(reported).toEqual([first]);
    await settle();
    expect(workers[first]!.blocks.get(key)!.data).toEqual(block.data[0]);
    expect(store.counters).toMatchObject({ damagedCopies: 1, repairedCopies: 1 });
    expect(store.dirty).toBe(true);
  });

  it('in both copies is EIO, never bytes', async () => {
    await build(2, 2);
    const block = blockOf(2);
    await store.put(block);
    for (const worker of workers) worker.blocks.get(blockKey(block.id))!.data[5]! ^= 1;
    expect(await outcome(readWhole(store, block))).toMatchObject({ error: { code: 'EIO', message: expect.stringContaining('2 damaged') } });
  });

  it.each(['damaged', 'diskFailure'] as const)('that the worker itself finds (%s) is read around and reported', async (code) => {
    const reported: number[] = [];
    await build(2, 2, { onBadCopy: (copy) => void reported.push(copy.index) });
    const block = blockOf(2);
    await store.put(block);
    const first = pool.rank(block.id)[0]!;
    workers[first]!.failAt('getBlock', code);
    expect(await readWhole(store, block)).toEqual(block.data[0]);
    expect(reported).toEqual([first]);
  });
});

describe('delete, inspect, capacity', () => {
  it('deletes on every disk that is there and does not wait for the others', async () => {
    await build(3, 2);
    const blocks = Array.from({ length: 20 }, (_, number) => blockOf(number));
    await store.putMany(blocks);
    workers[2]!.kill();
    await settle();
    await store.delete(blocks.map(({ id }) => id));
    expect(workers.slice(0, 2).map((worker) => worker.blocks.size)).toEqual([0, 0]);
  });

  it('tells what is found of a block where it belongs and elsewhere', async () => {
    await build(4, 3);
    const block = blockOf(1, 50_000);
    const [first, second, third, other] = pool.rank(block.id) as [number, number, number, number];
    workers[third]!.failAt('putBlocks', 'readOnly');
    await store.put(block);
    workers[second]!.blocks.get(blockKey(block.id))!.data[40_000]! ^= 1;
    expect(await store.inspect(block.id, verifyPieces)).toEqual([
      { worker: first, state: 'good' }, { worker: second, state: 'damaged' }, { worker: third, state: 'missing' }, { worker: other, state: 'good' },
    ]);
    workers[first]!.kill();
    await settle();
    expect((await store.inspect(block.id, verifyPieces))[0]).toEqual({ worker: first, state: 'unreachable' });
  });

  it('tells usable space at once, from numbers of a moment ago', async () => {
    await build(3, 2);
    for (const worker of workers) worker.capacityBytes = 30_000;
    store.capacity();
    await settle();
    expect(store.capacity()).toMatchObject({ totalBytes: 45_000, availableBytes: 45_000 });
    await store.put(blockOf(1, 10_000));
    expect(store.capacity().availableBytes).toBe(45_000);
    await pass(LIMITS.statisticsIntervalMs + 100);
    store.capacity();
    await settle();
    expect(store.capacity().availableBytes).toBe(35_000);
  });

  it('counts the space of a lost disk in the total, and not in what is available', async () => {
    await build(3, 2);
    for (const worker of workers) worker.capacityBytes = 30_000;
    store.capacity();
    await settle();
    workers[0]!.kill();
    await pass(LIMITS.workerAbsenceMs + 1_000);
    store.capacity();
    expect(store.capacity()).toMatchObject({ totalBytes: 45_000, availableBytes: 30_000 });
  });
});
