// A backup that is being written when the driver ends is given up without a word to anybody else.
import { expect, onTestFinished, test } from 'vitest';
import type { Uuid } from '../../src/base/ids.ts';
import { DumpSchedule } from '../../src/driver/dump-schedule.ts';
import type { VolumeDescription } from '../../src/ipc/process-messages.ts';
import { memoryPool } from '../support/memory-pool.ts';
import { openHarness } from '../support/vfs-harness.ts';

test('stops within a backup of many rows', async () => {
  const harness = await openHarness();
  const { pool, workers } = await memoryPool(1);
  onTestFinished(async () => {
    pool.close();
    await harness.end();
  });
  harness.engine.transact(null, (tx) => { for (let at = 0; at < 20_000; at++) tx.put(Buffer.from(`\xe0row-${at}`, 'latin1'), Buffer.alloc(64, at)); });
  const description: VolumeDescription = { version: 1, volume: '0'.repeat(32) as Uuid, name: 'test', copies: 1, blockBytes: 2 ** 20, disks: [], generation: 0 };
  const uncaught: unknown[] = [];
  const listener = (error: unknown): void => { uncaught.push(error); };
  process.on('uncaughtException', listener);
  onTestFinished(() => { process.off('uncaughtException', listener); });
  const schedule = new DumpSchedule({ context: harness.context, description, pool, logger: harness.context.logger, intervalMs: 10 });
  let lines = 0;
  const range = harness.engine.view.bind(harness.engine);
  harness.engine.view = async () => {
    const view = await range();
    return { ...view, reader: { ...view.reader, range: (...bounds) => { lines++; return view.reader.range(...bounds); } } };
  };
  schedule.start();
  while (lines < 3) await new Promise((resolve) => { setTimeout(resolve, 1); });
  await schedule.stop();
  await new Promise((resolve) => { setTimeout(resolve, 20); });
  expect(uncaught).toEqual([]);
  expect(schedule.status.last).toBeNull();
  expect(workers.length).toBe(1);
});
