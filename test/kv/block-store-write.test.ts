// Writing to the replicated block store under its fault model: workers that die, hang, fill up and fail.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { blockOf } from '../support/block-data.ts';
import { pass, settle, useFakeClock, useRealClock } from '../support/fake-clock.ts';
import { outcome, storeHarness } from '../support/store-harness.ts';
import type { StoreHarness } from '../support/store-harness.ts';

let pool: StoreHarness['pool'];
let workers: StoreHarness['workers'];
let store: StoreHarness['store'];
let degraded: StoreHarness['degraded'];
let holders: StoreHarness['holders'];

async function build(...parameters: Parameters<typeof storeHarness>): Promise<void> {
  const harness = await storeHarness(...parameters);
  ({ pool, workers, store, degraded, holders } = harness);
}

beforeEach(() => useFakeClock());
afterEach(() => {
  pool.close();
  useRealClock();
});

describe('put', () => {
  it('stores R copies on the first R disks in rank order', async () => {
    await build(4, 2);
    for (let number = 0; number < 40; number++) {
      const block = blockOf(number);
      await store.put(block);
      expect(holders(block)).toEqual(pool.rank(block.id).slice(0, 2).toSorted());
    }
    expect(degraded).toEqual([]);
  });

  it('sends the blocks of one turn in shared frames', async () => {
    await build(2, 2);
    await store.putMany(Array.from({ length: 100 }, (_, number) => blockOf(number, 100)));
    expect(workers.map(({ counts }) => counts.get('putBlocks'))).toEqual([1, 1]);
    expect(workers.map(({ blocks }) => blocks.size)).toEqual([100, 100]);
  });

  it('keeps frames below half of what a frame may carry', async () => {
    await build(2, 2);
    await store.putMany(Array.from({ length: 8 }, (_, number) => blockOf(number, 900_000)));
    expect(workers[0]!.counts.get('putBlocks')).toBe(4);
  });

  it.each(['before', 'after'] as const)('survives a worker that dies %s it has stored the block and comes back', async (when) => {
    await build(2, 2);
    workers[0]!.dieAt('putBlocks', when);
    const block = blockOf(1);
    const put = store.put(block);
    await settle();
    workers[0]!.restart();
    await pass(500);
    await put;
    expect(holders(block)).toEqual([0, 1]);
    expect(degraded).toEqual([]);
  });

  it('takes the next disk when a target stays away', async () => {
    await build(3, 2);
    const block = blockOf(1);
    const [first, second, third] = pool.rank(block.id) as [number, number, number];
    workers[first]!.kill();
    const put = store.put(block);
    await pass(LIMITS.workerSwitchMs + 200);
    await put;
    expect(holders(block)).toEqual([second, third].toSorted());
    expect(degraded).toEqual([]);
  });

  it('does not wait for a disk that has been away for long already', async () => {
    await build(3, 2);
    const block = blockOf(1);
    workers[pool.rank(block.id)[0]!]!.kill();
    await pass(LIMITS.workerSwitchMs + 200);
    const put = store.put(block);
    await settle();
    await put;
    expect(holders(block).length).toBe(2);
  });

  it.each(['noSpace', 'readOnly', 'diskFailure'] as const)('takes the next disk when one answers %s', async (code) => {
    await build(3, 2);
    const block = blockOf(1);
    const target = pool.rank(block.id)[1]!;
    workers[target]!.failAt('putBlocks', code);
    await store.put(block);
    expect(holders(block)).not.toContain(target);
    expect(holders(block).length).toBe(2);
  });

  it('accepts fewer copies when fewer disks live, and says so before it acknowledges', async () => {
    let release: (() => void) | undefined;
    await build(2, 2, { onDegraded: (event) => new Promise((resolve) => {
      degraded.push(event);
      release = resolve;
    }) });
    workers[1]!.kill();
    let done = false;
    const put = store.put(blockOf(1)).then(() => (done = true));
    await pass(LIMITS.workerDegradeMs + 200);
    expect(degraded).toMatchObject([{ kind: 'put', haveCopies: 1, missing: [1] }]);
    expect(done).toBe(false);
    release?.();
    await put;
  });

  it('waits for a worker that is only being started again, rather than do without its copy', async () => {
    await build(2, 2);
    workers[1]!.kill();
    const put = store.put(blockOf(1));
    await pass(LIMITS.restartDelayMaxMs + 2_000);
    expect(degraded).toEqual([]);
    workers[1]!.restart();
    await pass(500);
    await put;
    expect(holders(blockOf(1))).toEqual([0, 1]);
    expect(degraded).toEqual([]);
  });

  it('fails when it cannot be recorded that fewer copies are acknowledged', async () => {
    await build(2, 2, { onDegraded: () => Promise.reject(new Error('no membership')) });
    workers[1]!.kill();
    const put = outcome(store.put(blockOf(1)));
    await pass(LIMITS.workerDegradeMs + 200);
    expect(await put).toMatchObject({ error: { message: 'no membership' } });
  });

  it('is a pause when all disks are away for two seconds', async () => {
    await build(2, 2);
    for (const worker of workers) worker.kill();
    const put = store.put(blockOf(1));
    await pass(2_000);
    for (const worker of workers) worker.restart();
    await pass(500);
    await put;
    expect(holders(blockOf(1))).toEqual([0, 1]);
    expect(degraded).toEqual([]);
  });

  it('waits its bound for enough copies, then fails with EIO', async () => {
    await build(3, 3);
    workers[0]!.kill();
    workers[1]!.kill();
    const put = outcome(store.put(blockOf(1)));
    await pass(LIMITS.workerAbsenceMs - 1_000);
    expect(await Promise.race([put, settle().then(() => 'waiting')])).toBe('waiting');
    await pass(2_000);
    expect(await put).toMatchObject({ error: { code: 'EIO' } });
  });

  it('goes on when a disk comes back late, with as many copies as are needed', async () => {
    await build(3, 3);
    workers[0]!.kill();
    workers[1]!.kill();
    const put = store.put(blockOf(1));
    await pass(20_000);
    workers[1]!.restart();
    await pass(1_000);
    await put;
    expect(holders(blockOf(1))).toEqual([1, 2]);
    expect(degraded.length).toBe(1);
  });

  it('answers ENOSPC when the disks are full', async () => {
    await build(2, 2);
    for (const worker of workers) worker.capacityBytes = 1500;
    await store.put(blockOf(1));
    expect(await outcome(store.put(blockOf(2)))).toMatchObject({ error: { code: 'ENOSPC' } });
  });

  it('does not take a full disk for a dead one: R copies or ENOSPC', async () => {
    await build(2, 2);
    workers[0]!.capacityBytes = 10;
    expect(await outcome(store.put(blockOf(1)))).toMatchObject({ error: { code: 'ENOSPC' } });
    expect(degraded).toEqual([]);
  });

  it('settles putMany only when every block has settled, with the first error', async () => {
    await build(2, 2);
    for (const worker of workers) worker.capacityBytes = 5_000;
    const blocks = [blockOf(1, 4_000), blockOf(2, 1_000_000), blockOf(3, 600), blockOf(4, 1_000_000)];
    await expect(store.putMany(blocks)).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  it('switches to another disk when a worker hangs', async () => {
    await build(3, 2);
    const block = blockOf(1);
    const target = pool.rank(block.id)[0]!;
    workers[target]!.hanging = true;
    const put = store.put(block);
    await pass(LIMITS.workerTimeoutMs + LIMITS.workerSwitchMs + 500);
    await put;
    expect(holders(block).length).toBe(2);
    expect(holders(block)).not.toContain(target);
  });
});

describe('sync', () => {
  it('makes acknowledged blocks power-proof, on the workers that are dirty only', async () => {
    await build(3, 2);
    await store.sync();
    expect(store.dirty).toBe(false);
    const block = blockOf(1);
    await store.put(block);
    expect(store.dirty).toBe(true);
    await store.sync();
    expect(store.dirty).toBe(false);
    expect(workers.map(({ counts }) => counts.get('syncBlocks'))).toEqual(workers.map((_, index) => (holders(block).includes(index) ? 2 : 1)));
    for (const worker of workers) worker.powerCut();
    expect(holders(block).length).toBe(2);
  });

  it('covers what a driver or worker before this one may have left', async () => {
    await build(2, 2);
    expect(store.dirty).toBe(true);
    await store.put(blockOf(1));
    workers[0]!.restart();
    await pass(500);
    await store.sync();
    for (const worker of workers) worker.powerCut();
    expect(holders(blockOf(1))).toEqual([0, 1]);
  });

  it('is sent again when the worker dies in the middle', async () => {
    await build(2, 2);
    await store.put(blockOf(1));
    workers[0]!.dieAt('syncBlocks', 'before');
    const sync = store.sync();
    await settle();
    workers[0]!.restart();
    await pass(500);
    await sync;
    for (const worker of workers) worker.powerCut();
    expect(holders(blockOf(1))).toEqual([0, 1]);
  });

  it('stays owed for what is put while it runs', async () => {
    await build(2, 2);
    const sync = store.sync();
    await store.put(blockOf(1));
    await sync;
    expect(store.dirty).toBe(true);
  });

  it('does without a lost disk whose blocks have another synced copy, and says so', async () => {
    await build(3, 2);
    await store.sync();
    const block = blockOf(1);
    await store.put(block);
    workers[holders(block)[0]!]!.kill();
    const sync = store.sync();
    await pass(LIMITS.workerSwitchMs + 200);
    await sync;
    expect(degraded).toMatchObject([{ kind: 'sync' }]);
    expect(store.dirty).toBe(true);
  });

  it('goes on without a lost disk once what it held is safe elsewhere, also when another one is restarted', async () => {
    await build(3, 2);
    await store.sync();
    const block = blockOf(1);
    await store.put(block);
    const [lost, other] = holders(block) as [number, number];
    workers[lost]!.kill();
    const first = store.sync();
    await pass(LIMITS.workerSwitchMs + 200);
    await first;
    await store.sync();
    expect(degraded.length).toBe(1);
    await store.put(blockOf(2));
    workers[other]!.kill();
    const second = store.sync();
    await settle();
    workers[other]!.restart();
    await pass(500);
    await second;
    expect(degraded.length).toBe(1);
    workers[lost]!.restart();
    await pass(500);
    await store.sync();
    expect(store.dirty).toBe(false);
    workers[lost]!.powerCut();
    expect(holders(block)).toContain(lost);
  });

  it('waits, and then goes on with the one copy that is left of three, when two disks are lost before the sync', async () => {
    await build(5, 3);
    await store.sync();
    const block = blockOf(1);
    await store.put(block);
    const [one, two] = holders(block) as [number, number];
    workers[one]!.kill();
    workers[two]!.kill();
    const sync = store.sync();
    await pass(LIMITS.workerSwitchMs + 200);
    expect(degraded).toEqual([]);
    await pass(LIMITS.workerAbsenceMs + 1_000);
    await sync;
    expect(degraded).toMatchObject([{ kind: 'sync' }]);
    await store.sync();
    expect(degraded.length).toBe(1);
  });

  it('fails with EIO when the only copy of a block is on a disk that stays away', async () => {
    await build(2, 2);
    workers[1]!.kill();
    const put = store.put(blockOf(1));
    await pass(LIMITS.workerDegradeMs + 200);
    await put;
    workers[0]!.kill();
    workers[1]!.restart();
    await pass(500);
    const sync = outcome(store.sync());
    await pass(LIMITS.workerAbsenceMs + 1_000);
    expect(await sync).toMatchObject({ error: { code: 'EIO' } });
    workers[0]!.restart();
    await pass(500);
    await store.sync();
    expect(store.dirty).toBe(false);
  });

  it('fails for every caller while two disks are away that may have the only copies, takes blocks all the same, and goes on when one is back', async () => {
    await build(4, 2);
    await store.sync();
    const block = blockOf(1);
    await store.put(block);
    const [one, two] = holders(block) as [number, number];
    workers[one]!.kill();
    workers[two]!.kill();
    for (let caller = 0; caller < 3; caller++) {
      const sync = outcome(store.sync());
      await pass(LIMITS.workerAbsenceMs + LIMITS.workerSwitchMs);
      expect(await sync).toMatchObject({ error: { code: 'EIO', message: expect.stringContaining([one, two].toSorted().join(', ')) as string } });
    }
    const put = store.put(blockOf(2));
    await pass(LIMITS.workerDegradeMs);
    await put;
    workers[one]!.restart();
    await pass(500);
    await store.sync();
    expect(holders(block)).toContain(one);
  });

  it('fails with EIO when two of two disks cannot sync', async () => {
    await build(2, 2);
    for (const worker of workers) worker.failAt('syncBlocks', 'diskFailure');
    expect(await outcome(store.sync())).toMatchObject({ error: { code: 'EIO' } });
    expect(store.dirty).toBe(true);
  });
});
