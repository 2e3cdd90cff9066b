// The kv engine over workers in memory: the common promises, and what only faults show.
import { describe, expect, it } from 'vitest';
import { blockKey } from '../../src/base/ids.ts';
import { KvBlockEngine } from '../../src/blocks/kv-engine.ts';
import type { BadCopy } from '../../src/kv/block-read.ts';
import { replicationPolicy } from '../../src/kv/replication.ts';
import { blockId, bytesOf } from '../support/block-data.ts';
import { settle } from '../support/fake-clock.ts';
import { later, memoryPool, silent } from '../support/memory-pool.ts';
import { describeBlockEngine } from './conformance.ts';

async function open(disks: number, copies: number, onBadCopy?: (copy: BadCopy) => void) {
  const { pool, workers } = await memoryPool(disks);
  const engine = new KvBlockEngine(pool, { policy: replicationPolicy(copies), logger: silent, ...(onBadCopy && { onBadCopy }) });
  return { engine, pool, workers };
}

for (const [disks, copies] of [[1, 1], [2, 2], [4, 2], [4, 3]] as const) {
  describeBlockEngine(`kv, ${copies} copies on ${disks} disks in memory`, async () => {
    const { engine, pool, workers } = await open(disks, copies);
    return {
      engine,
      close: async () => pool.close(),
      crash: async () => {
        for (const worker of workers) worker.kill();
        later(100, () => {
          for (const worker of workers) worker.restart();
        });
        return engine;
      },
    };
  });
}

describe('kv engine', () => {
  it('reads around a flipped bit in a reply, reports it and repairs the copy', async () => {
    const damaged: BadCopy[] = [];
    const { engine, pool, workers } = await open(2, 2, (copy) => damaged.push(copy));
    const data = bytesOf(1, 50_000);
    await engine.put(blockId(1), [data]);
    for (let read = 0; read < 10; read++) {
      for (const worker of workers) worker.flipReplies = 0;
      workers[read % 2]!.flipReplies = 1;
      expect(Buffer.concat(await engine.get(blockId(1), 20_000, 100)).equals(data.subarray(20_000, 20_100))).toBe(true);
      await settle();
    }
    expect(damaged.length).toBeGreaterThan(0);
    expect(engine.statistics().details.counters).toMatchObject({ damagedCopies: damaged.length, repairedCopies: damaged.length });
    pool.close();
  });

  it('takes a copy that was cut short for a damaged one', async () => {
    const damaged: BadCopy[] = [];
    const { engine, pool, workers } = await open(2, 2, (copy) => damaged.push(copy));
    const data = bytesOf(1, 50_000);
    await engine.put(blockId(1), [data]);
    const [first] = pool.rank(blockId(1)).slice(1) as [number];
    const key = blockKey(blockId(1));
    const stored = workers[first]!.blocks.get(key)!;
    workers[first]!.blocks.set(key, { data: stored.data.subarray(0, 16 * 1024), checksums: stored.checksums.slice(0, 1), synced: true });
    expect(Buffer.concat(await engine.get(blockId(1), 1000, 30_000)).equals(data.subarray(1000, 31_000))).toBe(true);
    await settle();
    expect(damaged.map(({ index }) => index)).toEqual([first]);
    expect(workers[first]!.blocks.get(key)!.data.equals(data)).toBe(true);
    pool.close();
  });

  it('loses nothing while workers die at random under load', async () => {
    const { engine, pool, workers } = await open(3, 2);
    const blocks = Array.from({ length: 200 }, (_, number) => ({ id: blockId(number), data: [bytesOf(number, 3000)] }));
    let killing = true;
    const killer = (async () => {
      for (let round = 0; killing; round++) {
        workers[round % 3]!.dieAt(round % 2 === 0 ? 'putBlocks' : 'getBlock', round % 3 === 0 ? 'after' : 'before');
        await new Promise((resolve) => setTimeout(resolve, 7));
        for (const worker of workers) if (!worker.running) worker.restart();
      }
    })();
    for (let at = 0; at < blocks.length; at += 10) {
      await Promise.all(blocks.slice(at, at + 10).map(({ id, data }) => engine.put(id, data)));
      for (const { id, data } of blocks.slice(Math.max(0, at - 10), at)) expect(Buffer.concat(await engine.get(id, 0, 3000)).equals(data[0]!)).toBe(true);
    }
    killing = false;
    await killer;
    for (const worker of workers) if (!worker.running) worker.restart();
    for (const { id, data } of blocks) expect(Buffer.concat(await engine.get(id, 0, 3000)).equals(data[0]!)).toBe(true);
    pool.close();
  });
});
