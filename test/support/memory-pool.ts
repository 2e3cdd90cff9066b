// A pool over workers in memory, for tests of what stands on it.
import pino from 'pino';
import type { DriverEpoch } from '../../src/base/ids.ts';
import { WorkerPool } from '../../src/kv/worker-pool.ts';
import { MemoryWorker, TEST_VOLUME } from './memory-worker.ts';

export const silent = pino({ level: process.env['SDFS_TEST_LOG'] ?? 'silent' });

export interface MemoryPool {
  readonly pool: WorkerPool;
  readonly workers: readonly MemoryWorker[];
}

export function poolOver(workers: readonly MemoryWorker[], options: { epoch?: number; weights?: readonly number[] } = {}): WorkerPool {
  const pool = new WorkerPool({
    volume: TEST_VOLUME,
    epoch: (options.epoch ?? 1) as DriverEpoch,
    disks: workers.map(({ worker, disk, connect }, index) => ({ worker, disk, weight: options.weights?.[index] ?? 1, connect })),
    logger: silent,
  });
  pool.start();
  return pool;
}

/** All workers are up and have said hello. */
export async function memoryPool(count: number, options: { devices?: readonly number[] } = {}): Promise<MemoryPool> {
  const workers = Array.from({ length: count }, (_, number) => new MemoryWorker(number, options.devices === undefined ? {} : { device: options.devices[number]! }));
  const pool = poolOver(workers);
  await pool.allReady(5_000);
  return { pool, workers };
}

/** As after the keeper's back-off. */
export function later(milliseconds: number, action: () => void): void {
  setTimeout(action, milliseconds);
}
