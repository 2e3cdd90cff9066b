// sdfs kv bench: how fast a store is, and how fast LMDB is with the same work.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { openStore } from '../store/open-store.ts';
import type { Store } from '../store/store.ts';
import { runWork } from './kv-bench-work.ts';
import type { BenchSizes, Measurement } from './kv-bench-work.ts';
import { lmdbTarget, storeTarget } from './kv-bench-targets.ts';
import type { StoreChoice } from './kv-open.ts';
import { asUserError, storeCommand, withStore } from './kv-open.ts';
import { writeOut } from './kv-text.ts';
import { startProgress } from './progress.ts';
import { formatTable, warn } from './terminal.ts';
import { parseCount, parseSize } from './values.ts';

interface BenchOptions extends StoreChoice {
  readonly count: number;
  readonly valueBytes: number;
  readonly batch: number;
  readonly concurrency: number;
  readonly directory?: string;
  readonly shards?: number;
  readonly copies?: number;
  readonly sync?: boolean;
  readonly againstLmdb?: boolean;
  readonly json?: boolean;
}

export function registerKvBench(kv: Command): void {
  storeCommand(kv, 'bench', 'measure set, get, batch and range')
    .description('Measure how fast a store is: keys that begin with "sdfs-bench:" are set, read and deleted again, in the given store, or without --store and --mount in one that is made for it and removed. Each change is process-proof when it counts, with --sync power-proof.')
    .option('--count <n>', 'keys', parseCount, 100_000)
    .option('--value-bytes <size>', 'bytes of each value', parseSize, 100)
    .option('--batch <n>', 'keys of a batch', parseCount, 100)
    .option('--concurrency <n>', 'calls under way at once', parseCount, 50)
    .option('--directory <dir>', 'where the store that is made for it lies (default: the directory for temporary files)')
    .option('--shards <n>', 'of the store that is made for it', parseCount)
    .option('--copies <n>', 'of the store that is made for it', parseCount)
    .option('--sync', 'every change survives a power cut before it counts')
    .option('--against-lmdb', 'do the same work on LMDB, one after the other, and show the ratio')
    .option('--json', 'print the measurements as JSON')
    .action(async (options: BenchOptions, command: Command) => {
      if (options.count < 1 || options.batch < 1 || options.concurrency < 1) throw new UserError('--count, --batch and --concurrency want numbers from 1 on', EXIT.usage);
      if (options.valueBytes > LIMITS.valueBytesMax) throw new UserError(`--value-bytes ${options.valueBytes}: ${LIMITS.valueBytesMax} are allowed`, EXIT.usage);
      const bench = (store: Store) => compare(store, options);
      if (options.store !== undefined || options.mount !== undefined) return withStore(options, command, bench);
      return withTemporaryStore(options, bench);
    });
}

async function withTemporaryStore({ directory = tmpdir(), shards, copies }: BenchOptions, work: (store: Store) => Promise<void>): Promise<void> {
  const made = mkdtempSync(join(resolve(directory), 'sdfs-bench-'));
  try {
    await using store = await openStore({ path: join(made, 'store'), shards, copies, logLevel: 'warn' });
    await work(store);
  } catch (error) {
    throw asUserError(error);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

async function compare(store: Store, options: BenchOptions): Promise<void> {
  const sizes: BenchSizes = { count: options.count, valueBytes: options.valueBytes, batch: options.batch, concurrency: options.concurrency };
  const measure = async (name: string, target: Parameters<typeof runWork>[0]): Promise<Measurement[]> => {
    const progress = startProgress(name, { total: 100, unit: 'percent' });
    try {
      return await runWork(target, sizes, (fraction) => progress.update(Math.floor(fraction * 100)));
    } finally {
      progress.stop();
    }
  };
  const own = await measure('sdfs', storeTarget(store, { sync: options.sync === true }));
  const other = options.againstLmdb ? await withLmdb(options, (target) => measure('lmdb', target)) : undefined;
  if (options.json) return writeOut(`${JSON.stringify({ version: 1, sizes, sync: options.sync === true, sdfs: own, ...(other !== undefined && { lmdb: other }) }, null, 2)}\n`);
  await writeOut(`${formatMeasurements(own, other)}\n`);
  if (other !== undefined) warn(`LMDB: the npm package lmdb in this process, one copy. A change of either survives kill -9 when it counts${options.sync ? ', and a power cut' : '; a power cut a second later those of sdfs, not those of LMDB (noSync)'}`);
}

async function withLmdb<T>({ directory = tmpdir(), sync }: BenchOptions, work: (target: ReturnType<typeof lmdbTarget>) => Promise<T>): Promise<T> {
  const made = mkdtempSync(join(resolve(directory), 'sdfs-bench-lmdb-'));
  const target = lmdbTarget(join(made, 'data'), { sync: sync === true });
  try {
    return await work(target);
  } finally {
    await target.close();
    rmSync(made, { recursive: true, force: true });
  }
}

export function formatMeasurements(own: readonly Measurement[], other: readonly Measurement[] | undefined): string {
  const head = ['WORK', 'KEYS', 'PER SECOND', 'MEDIAN', 'P99'];
  const rows = own.map(({ work, keys, perSecond, medianUs, p99Us }, at) => {
    const row = [work, String(keys), String(Math.round(perSecond)), formatUs(medianUs), formatUs(p99Us)];
    if (other === undefined) return row;
    return [...row, String(Math.round(other[at]!.perSecond)), `${((100 * perSecond) / other[at]!.perSecond).toFixed(0)} %`];
  });
  return formatTable(other === undefined ? head : [...head, 'LMDB', 'RATIO'], rows);
}

function formatUs(us: number): string {
  return us < 1000 ? `${us.toFixed(1)} us` : `${(us / 1000).toFixed(2)} ms`;
}
