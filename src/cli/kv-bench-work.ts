// The work that the benchmark of keys measures, the same on every target: keys in an order that looks like chance, but is always the same.
import type { BenchTarget } from './kv-bench-targets.ts';

export interface BenchSizes {
  readonly count: number;
  readonly valueBytes: number;
  /** Keys of one batch. */
  readonly batch: number;
  /** Calls under way at once. */
  readonly concurrency: number;
}

export interface Measurement {
  readonly work: string;
  readonly keys: number;
  /** Keys. */
  readonly perSecond: number;
  /** Of one call, which may be of many keys; microseconds. */
  readonly medianUs: number;
  readonly p99Us: number;
}

const PREFIX = 'sdfs-bench:';
/** Prime, and larger than any count that anybody waits for: multiples of it visit every key once. */
const STRIDE = 2_147_483_647;
/** The work that waits for each call is measured on fewer keys. */
const ALONE_SHARE = 10;

export async function runWork(target: BenchTarget, sizes: BenchSizes, onProgress: (fraction: number) => void): Promise<Measurement[]> {
  const { count, valueBytes, batch, concurrency } = sizes;
  const keyAt = (index: number): Buffer => Buffer.from(`${PREFIX}${String((index * STRIDE) % count).padStart(10, '0')}`);
  // Other bytes in each value, at the price of a few: what is compressed or shared would be measured else.
  const valueAt = (index: number): Buffer => {
    const value = Buffer.alloc(valueBytes, 0x61 + (index % 26));
    if (valueBytes >= 4) value.writeUInt32LE(index >>> 0);
    return value;
  };
  const batchAt = (call: number): number[] => Array.from({ length: Math.min(batch, count - call * batch) }, (_, at) => call * batch + at);
  const batches = Math.ceil(count / batch);
  const alone = Math.max(1, Math.floor(count / ALONE_SHARE));
  const parallel = Math.max(1, Math.floor(concurrency / 10));
  const works: { readonly work: string; readonly keys: number; readonly calls: number; readonly concurrency: number; readonly run: (call: number) => Promise<unknown> }[] = [
    { work: `batch of ${batch}`, keys: count, calls: batches, concurrency: parallel, run: (call) => target.setMany(batchAt(call).map((index) => [keyAt(index), valueAt(index)] as const)) },
    { work: 'set', keys: count, calls: count, concurrency, run: (call) => target.set(keyAt(call), valueAt(call + 1)) },
    { work: 'set, one at a time', keys: alone, calls: alone, concurrency: 1, run: (call) => target.set(keyAt(call), valueAt(call + 2)) },
    { work: 'get', keys: count, calls: count, concurrency, run: (call) => target.get(keyAt(call)).then(wantValue) },
    { work: 'get, one at a time', keys: alone, calls: alone, concurrency: 1, run: (call) => target.get(keyAt(call)).then(wantValue) },
    { work: `get of ${batch}`, keys: count, calls: batches, concurrency: parallel, run: (call) => target.getMany(batchAt(call).map(keyAt)).then((values) => values.forEach(wantValue)) },
    { work: 'range', keys: count, calls: 1, concurrency: 1, run: () => target.scan(Buffer.from(PREFIX), Buffer.from(`${PREFIX.slice(0, -1)};`)) },
    { work: `delete of ${batch}`, keys: count, calls: batches, concurrency: parallel, run: (call) => target.deleteMany(batchAt(call).map(keyAt)) },
  ];
  const measured: Measurement[] = [];
  for (const [at, { work, keys, calls, concurrency: callers, run }] of works.entries()) {
    measured.push({ work, keys, ...(await measure({ keys, calls, callers }, run)) });
    onProgress((at + 1) / works.length);
  }
  return measured;
}

async function measure({ keys, calls, callers }: { readonly keys: number; readonly calls: number; readonly callers: number }, run: (call: number) => Promise<unknown>): Promise<Pick<Measurement, 'perSecond' | 'medianUs' | 'p99Us'>> {
  const times = new Float64Array(calls);
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let call = next++; call < calls; call = next++) {
      const start = performance.now();
      await run(call);
      times[call] = performance.now() - start;
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: Math.min(callers, calls) }, caller));
  const tookMs = performance.now() - start;
  times.sort();
  return { perSecond: (1000 * keys) / tookMs, medianUs: 1000 * times[Math.floor(calls / 2)]!, p99Us: 1000 * times[Math.floor(calls * 0.99)]! };
}

function wantValue(value: Buffer | undefined): void {
  if (value === undefined) throw new Error('a key that was set is not there');
}
