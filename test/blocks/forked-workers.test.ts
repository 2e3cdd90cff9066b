// The kv engine over real worker processes and real disks: the common promises, and kill -9 under load.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KvBlockEngine } from '../../src/blocks/kv-engine.ts';
import { replicationPolicy } from '../../src/kv/replication.ts';
import { blockId, bytesOf } from '../support/block-data.ts';
import { compileSources } from '../support/compile.ts';
import type { CompiledSources } from '../support/compile.ts';
import { ForkedWorkers } from '../support/forked-workers.ts';
import { silent } from '../support/memory-pool.ts';
import { describeBlockEngine } from './conformance.ts';

let sources: CompiledSources;

beforeAll(async () => {
  sources = await compileSources();
}, 60_000);
afterAll(() => sources.remove());

async function open(disks: number, copies: number) {
  const workers = new ForkedWorkers(sources, { disks, copies });
  await workers.start();
  const pool = workers.pool();
  await pool.allReady(10_000);
  const engine = new KvBlockEngine(pool, { policy: replicationPolicy(copies), logger: silent });
  return {
    engine,
    workers,
    close: async () => {
      pool.close();
      await workers.stop();
    },
  };
}

describeBlockEngine('kv, 2 copies on 2 forked workers', async () => {
  const { engine, workers, close } = await open(2, 2);
  return {
    engine,
    close,
    crash: async () => {
      workers.killAll();
      return engine;
    },
  };
});

describe('kv engine over forked workers', () => {
  it('loses nothing and shows no error while workers are killed at random under load', async () => {
    const { engine, workers, close } = await open(3, 2);
    const blocks = Array.from({ length: 120 }, (_, number) => ({ id: blockId(number), data: [bytesOf(number, number % 5 === 0 ? 200_000 : 3000)] }));
    let portions = 0;
    /** By what was done and not by time, so that a busy machine makes the test longer and not harder: in the middle of a put, a read or a sync. */
    const kill = (step: 0 | 1 | 2): void => {
      if (portions % 4 === step + 1) setImmediate(() => workers.kill((portions + step) % 3));
    };
    for (let at = 0; at < blocks.length; at += 10, portions++) {
      const portion = blocks.slice(at, at + 10);
      kill(0);
      await Promise.all(portion.map(({ id, data }) => engine.put(id, data)));
      kill(1);
      await Promise.all(portion.map(async ({ id, data }) => expect(Buffer.concat(await engine.get(id, 0, data[0]!.length)).equals(data[0]!)).toBe(true)));
      kill(2);
      if (portions % 4 === 3) await engine.sync();
    }
    await engine.sync();
    for (const { id, data } of blocks) expect(Buffer.concat(await engine.get(id, 0, data[0]!.length)).equals(data[0]!)).toBe(true);
    expect(engine.statistics().details.counters).toMatchObject({ degraded: 0, damagedCopies: 0 });
    await close();
  });
});
