// Copies made whole, garbage removed and scrubs, over workers in memory: disks that come back, are lost, lie and fill up.
import { afterEach, describe, expect, it } from 'vitest';
import { blockKey } from '../../src/base/ids.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { blockOf, readWhole } from '../support/block-data.ts';
import { memoryPool, poolOver } from '../support/memory-pool.ts';
import { MemoryWorker } from '../support/memory-worker.ts';
import { until } from '../support/programs.ts';
import { upkeepOver } from '../support/upkeep-harness.ts';
import type { UpkeepHarness } from '../support/upkeep-harness.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';

let pool: WorkerPool;
let workers: readonly MemoryWorker[];
let harness: UpkeepHarness;

async function build(disks: number, copies: number, options: Parameters<typeof upkeepOver>[2] = {}): Promise<void> {
  ({ pool, workers } = await memoryPool(disks));
  harness = upkeepOver(pool, copies, options);
}

async function put(count: number, from = 0, bytes = 1000): Promise<BlockPut[]> {
  const blocks = Array.from({ length: count }, (_, number) => blockOf(from + number, bytes));
  harness.rows.need(blocks);
  await harness.store.putMany(blocks);
  return blocks;
}

const holders = ({ id }: BlockPut): number[] => workers.flatMap((worker, index) => (worker.blocks.has(blockKey(id)) ? [index] : []));
const home = ({ id }: BlockPut, copies: number): number[] => pool.rank(id).slice(0, copies).toSorted();

async function goAway(index: number): Promise<void> {
  workers[index]!.kill();
  await until('the disk is away', async () => !pool.link(index).isReady);
}
async function comeBack(index: number): Promise<void> {
  workers[index]!.restart();
  await until('the disk is back', async () => pool.link(index).isReady);
}

afterEach(async () => {
  await harness.upkeep.stop();
  pool.close();
});

describe('a run', () => {
  it('over a whole volume finds nothing to do, and every disk complete', async () => {
    await build(3, 2);
    await put(3000);
    const { complete, counts } = await harness.run();
    expect({ complete, ...counts }).toMatchObject({ complete: true, blocks: 3000, found: [0, 0], misplaced: 0, garbageCopies: 0, copiedCopies: 0, droppedCopies: 0, deletedCopies: 0 });
    expect(harness.completed.toSorted()).toEqual([0, 1, 2]);
  });

  it('puts back all that a disk lost', async () => {
    await build(3, 2);
    const blocks = await put(2500);
    const lost = workers[1]!.blocks.size;
    workers[1]!.blocks.clear();
    const { counts } = await harness.run();
    expect(counts).toMatchObject({ copiedCopies: lost, endangered: 0, droppedCopies: 0 });
    for (const block of blocks) expect(holders(block)).toEqual(home(block, 2));
    expect(harness.upkeep.status.reconcile).toMatchObject({ endangeredBlocks: 0, incompleteDisks: [] });
  });

  it('does not miss blocks that were put after the disks were listed and before the rows were read', async () => {
    await build(3, 2);
    const blocks = await put(50);
    const kept = workers.map((worker) => new Map(worker.blocks));
    for (const worker of workers) worker.blocks.clear();
    const page = harness.rows.page.bind(harness.rows);
    harness.rows.page = (after, limit) => {
      for (const [index, worker] of workers.entries()) for (const [key, block] of kept[index]!) worker.blocks.set(key, block);
      return page(after, limit);
    };
    const { counts } = await harness.run();
    expect(counts).toMatchObject({ blocks: blocks.length, found: [0, 0], copiedCopies: 0, garbageCopies: 0 });
  });

  it('moves home what strayed, and drops the other copy only then', async () => {
    await build(3, 2);
    await goAway(0);
    // Longer than a write waits for a disk.
    for (const link of pool.links) Object.defineProperty(link, 'patienceMs', { value: () => 0, configurable: true });
    const blocks = await put(300);
    for (const link of pool.links) Reflect.deleteProperty(link, 'patienceMs');
    expect(blocks.some((block) => !holders(block).every((index) => home(block, 2).includes(index)))).toBe(true);
    await comeBack(0);
    const { counts, complete } = await harness.run();
    expect(complete).toBe(true);
    expect(counts.droppedCopies).toBeGreaterThan(50);
    for (const block of blocks) expect(holders(block)).toEqual(home(block, 2));
  });

  it('does not drop a copy beside one that only seems to be there', async () => {
    await build(3, 2);
    const [block] = await put(1) as [BlockPut];
    const [first, second, third] = pool.rank(block.id) as [number, number, number];
    const key = blockKey(block.id);
    const stored = workers[first]!.blocks.get(key)!;
    workers[third]!.blocks.set(key, { ...stored, data: Buffer.from(stored.data) });
    workers[second]!.blocks.get(key)!.data[7]! ^= 1;
    await harness.run();
    expect(holders(block)).toHaveLength(3);
    expect(workers[second]!.blocks.get(key)!.data).toEqual(block.data[0]);
    await harness.run();
    expect(holders(block)).toEqual(home(block, 2));
  });

  it('replaces a lost disk by others, and takes the extra copies back when it returns', async () => {
    await build(4, 3, { diskLostMs: 0 });
    const blocks = await put(200);
    await goAway(2);
    const { counts } = await harness.run();
    expect(counts.copiedCopies).toBe(workers[2]!.blocks.size);
    for (const block of blocks) expect(holders(block).filter((index) => index !== 2)).toHaveLength(3);
    await comeBack(2);
    await harness.run();
    for (const block of blocks) expect(holders(block)).toEqual(home(block, 3));
  });

  it('copies blocks with one copy left before those with two', async () => {
    await build(4, 3);
    const blocks = await put(40);
    const order: string[] = [];
    for (const [number, block] of blocks.entries()) {
      const [first, second] = pool.rank(block.id) as [number, number];
      workers[first]!.blocks.delete(blockKey(block.id));
      if (number >= 20) workers[second]!.blocks.delete(blockKey(block.id));
    }
    const copyTo = harness.store.copyTo.bind(harness.store);
    harness.store.copyTo = (index, whole, ...rest) => {
      order.push(whole.id.lo >= 20 ? 'one left' : 'two left');
      return copyTo(index, whole, ...rest);
    };
    await harness.run();
    expect(order).toEqual([...Array.from({ length: 40 }, () => 'one left'), ...Array.from({ length: 20 }, () => 'two left')]);
  });

  it('empties a disk without a weight, and never has fewer than R copies', async () => {
    const made = Array.from({ length: 3 }, (_, number) => new MemoryWorker(number));
    workers = made;
    pool = poolOver(made);
    await pool.allReady(5_000);
    harness = upkeepOver(pool, 2);
    const blocks = await put(200);
    await harness.upkeep.stop();
    pool.close();
    pool = poolOver(made, { epoch: 2, weights: [1, 0, 1] });
    await pool.allReady(5_000);
    const { rows } = harness;
    harness = upkeepOver(pool, 2);
    for (const [key, row] of rows.needed) harness.rows.needed.set(key, row);
    const { complete } = await harness.run();
    expect(complete).toBe(true);
    expect(made[1]!.blocks.size).toBe(0);
    for (const block of blocks) expect(holders(block)).toEqual([0, 2]);
  });

  it('leaves a disk without room alone, and says that something is missing', async () => {
    await build(2, 2);
    await put(50);
    workers[1]!.blocks.clear();
    workers[1]!.capacityBytes = 10_000;
    await goAway(1);
    await comeBack(1);
    harness.store.capacity();
    const { counts } = await harness.run();
    expect(counts.copiedCopies).toBeLessThanOrEqual(10);
    expect(counts.endangered).toBeGreaterThanOrEqual(40);
    expect(harness.upkeep.status.reconcile.endangeredBlocks).toBe(counts.endangered);
  });

  it('names blocks that no disk has', async () => {
    await build(2, 2);
    const blocks = await put(10);
    for (const worker of workers) worker.blocks.delete(blockKey(blocks[3]!.id));
    await harness.run();
    expect(harness.upkeep.unreadable).toEqual([blocks[3]!.id]);
    harness.rows.forget([blocks[3]!]);
    expect(harness.upkeep.unreadable).toEqual([]);
  });
});

describe('garbage', () => {
  it('is counted by a dry run, deleted by a run after a sync of the metadata, and then there is none', async () => {
    await build(3, 2);
    const blocks = await put(5000);
    harness.rows.forget(blocks.slice(1000, 4500));
    const dry = await harness.upkeep.reconcile({ dryRun: true });
    expect(dry.counts).toMatchObject({ garbageCopies: 7000, garbageBytes: 7_000_000, deletedCopies: 0 });
    expect(workers.reduce((sum, { blocks: held }) => sum + held.size, 0)).toBe(10_000);
    const done = await harness.run();
    expect(done.counts).toMatchObject({ garbageCopies: 7000, deletedCopies: 7000 });
    expect(harness.rows.syncs).toBeGreaterThan(0);
    expect(workers.reduce((sum, { blocks: held }) => sum + held.size, 0)).toBe(3000);
    expect((await harness.upkeep.reconcile({ dryRun: true })).counts.garbageCopies).toBe(0);
  });

  it('is not what a write has put and not named yet', async () => {
    await build(3, 2);
    await put(100);
    const young = Array.from({ length: 10 }, (_, number) => blockOf(1000 + number));
    await harness.store.putMany(young);
    harness.rows.bound = young[0]!.id;
    expect((await harness.run()).counts.garbageCopies).toBe(0);
    for (const block of young) expect(holders(block)).toHaveLength(2);
  });

  it('stays while a disk is away that could know better, and what was deleted meanwhile does not come back with it', async () => {
    await build(3, 2, { diskLostMs: 0 });
    const blocks = await put(300);
    await goAway(2);
    harness.rows.forget(blocks);
    await harness.store.delete(blocks.slice(0, 200).map(({ id }) => id));
    const waiting = await harness.run();
    expect(waiting.garbageWaits).toBe(true);
    expect(waiting.counts.deletedCopies).toBe(0);
    expect(workers[2]!.blocks.size).toBeGreaterThan(0);
    await comeBack(2);
    await harness.run();
    expect(workers.map(({ blocks: held }) => held.size)).toEqual([0, 0, 0]);
  });
});

describe('by itself', () => {
  it('looks over everything after the start and after a disk was away, and says when the disk is complete', { timeout: 30_000 }, async () => {
    await build(3, 2);
    const blocks = await put(200);
    harness.upkeep.start();
    await until('all disks are complete', async () => harness.completed.length === 3, 15_000);
    await goAway(1);
    workers[1]!.blocks.clear();
    harness.rows.forget(blocks.slice(0, 10));
    await harness.store.delete(blocks.slice(0, 10).map(({ id }) => id));
    expect(harness.upkeep.reconciler.isComplete(1)).toBe(false);
    await comeBack(1);
    await harness.upkeep.reconciler.diskComplete(1);
    for (const block of blocks.slice(10)) expect(holders(block)).toEqual(home(block, 2));
    expect(harness.upkeep.reconciler.isComplete(1)).toBe(true);
  });
});

describe('a scrub', () => {
  async function scrub(): Promise<void> {
    const { last } = harness.upkeep.status.scrub;
    harness.upkeep.scrub({});
    await until('the scrub has ended', async () => harness.upkeep.status.scrub.last !== last && harness.upkeep.status.scrub.state === 'idle', 15_000);
  }

  it('finds flipped bits, short copies and missing ones, and repairs them', async () => {
    await build(3, 2);
    const blocks = await put(600, 0, 20_000);
    const damage = (number: number, change: (worker: MemoryWorker, key: string) => void): void => {
      const { id } = blocks[number]!;
      change(workers[pool.rank(id)[number % 2]!]!, blockKey(id));
    };
    for (const number of [1, 100, 599]) damage(number, (worker, key) => { worker.blocks.get(key)!.data[19_000]! ^= 2; });
    damage(50, (worker, key) => worker.blocks.set(key, { ...worker.blocks.get(key)!, data: worker.blocks.get(key)!.data.subarray(0, 100) }));
    damage(51, (worker, key) => worker.blocks.delete(key));
    await scrub();
    expect(harness.record.scrub?.last?.counts).toMatchObject({ blocks: 600, damagedCopies: 3, missingCopies: 2, repairedCopies: 5, unreadableBlocks: 0 });
    for (const block of blocks) {
      expect(holders(block)).toEqual(home(block, 2));
      for (const index of holders(block)) expect(workers[index]!.blocks.get(blockKey(block.id))!.data.equals(block.data[0]!)).toBe(true);
    }
  });

  it('names blocks that are bad on every disk, and reads them as EIO', async () => {
    await build(2, 2);
    const blocks = await put(20);
    for (const worker of workers) worker.blocks.get(blockKey(blocks[5]!.id))!.data[0]! ^= 1;
    await scrub();
    expect(harness.record.scrub?.last?.counts).toMatchObject({ damagedCopies: 2, unreadableBlocks: 1, repairedCopies: 0 });
    expect(harness.upkeep.unreadable).toEqual([blocks[5]!.id]);
    await expect(readWhole(harness.store, blocks[5]!)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('waits for a disk that is away, instead of taking its copies for missing', { timeout: 30_000 }, async () => {
    await build(2, 2);
    await put(50);
    await goAway(1);
    harness.upkeep.start();
    harness.upkeep.scrub({});
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(harness.upkeep.status.scrub).toMatchObject({ state: 'waiting', current: { counts: { blocks: 0 } } });
    await comeBack(1);
    await until('the scrub has ended', async () => harness.upkeep.status.scrub.state === 'idle', 15_000);
    expect(harness.record.scrub?.last?.counts).toMatchObject({ blocks: 50, verifiedCopies: 100, missingCopies: 0, unreadableBlocks: 0 });
  });

  it('goes on where it was when the driver is another one', { timeout: 30_000 }, async () => {
    await build(2, 2);
    await put(3000);
    harness.upkeep.scrub({ rate: 2_000_000 });
    await until('a part is done', async () => (harness.upkeep.status.scrub.current?.counts.blocks ?? 0) > 0, 15_000);
    await harness.upkeep.stop();
    const done = harness.record.scrub!.current!.counts.blocks;
    expect(done).toBeLessThan(3000);
    const { rows, record } = harness;
    harness = upkeepOver(pool, 2, { record });
    for (const [key, row] of rows.needed) harness.rows.needed.set(key, row);
    harness.upkeep.scrub({});
    await until('the scrub has ended', async () => harness.upkeep.status.scrub.state === 'idle', 15_000);
    expect(record.scrub?.last?.counts.blocks).toBe(3000);
    expect(workers.reduce((sum, worker) => sum + (worker.counts.get('verifyBlocks') ?? 0), 0)).toBeGreaterThan(0);
  });
});
