// The replicated metadata log: safe on R holders, caught up after an absence, seeded anew where it must be.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, InodeNumber, Sequence } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { RecordBatch } from '../../src/kv/log-holder.ts';
import { mostAdvanced, readMetadata } from '../../src/kv/log-reader.ts';
import { LogReplicas } from '../../src/kv/log-replicas.ts';
import type { LogSource } from '../../src/kv/log-replicas.ts';
import type { MetadataSnapshot } from '../../src/kv/log-seed.ts';
import { placementIdOf } from '../../src/kv/placement.ts';
import { replicationPolicy } from '../../src/kv/replication.ts';
import type { Degradation } from '../../src/kv/replication.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';
import { encodeRecord } from '../../src/log/record.ts';
import { pass, settle, useFakeClock, useRealClock } from '../support/fake-clock.ts';
import { poolOver, silent } from '../support/memory-pool.ts';
import { MemoryWorker, TEST_VOLUME } from '../support/memory-worker.ts';

/** The driver's side of the log: a journal that can be trimmed, and the rows that its records make. */
class Journal implements LogSource {
  readonly records = new Map<number, { epoch: DriverEpoch; bytes: Buffer }>();
  last = 0;
  snapshots = 0;
  withSnapshots = true;

  write(epoch: number, count = 1): void {
    for (let left = count; left > 0; left--) {
      this.last++;
      const operations = [{ kind: 'put' as const, key: Buffer.from(`key${String(this.last % 10)}`), value: Buffer.from(`value${this.last}`) }];
      const header = { sequence: this.last as Sequence, epoch: epoch as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 as InodeNumber | 0 };
      this.records.set(this.last, { epoch: epoch as DriverEpoch, bytes: encodeRecord(header, operations) });
    }
  }

  forget(through: number): void {
    for (const sequence of this.records.keys()) if (sequence <= through) this.records.delete(sequence);
  }

  recordsFrom(from: Sequence, through: Sequence): RecordBatch | undefined {
    if (!this.records.has(from) || from > through) return undefined;
    const last = Math.min(through, this.last, from + 4) as Sequence;
    const records: Buffer[] = [];
    for (let sequence: number = from; sequence <= last; sequence++) records.push(this.records.get(sequence)!.bytes);
    return { first: from, last, epoch: this.records.get(last)!.epoch, records: [Buffer.concat(records)] };
  }

  snapshot(): MetadataSnapshot | undefined {
    if (!this.withSnapshots) return undefined;
    this.snapshots++;
    const first = Math.min(...this.records.keys(), this.last + 1);
    return { rows: [[[Buffer.from('row'), Buffer.from('1')]], [[Buffer.from('row2'), Buffer.from('2')]]], rowsThrough: this.last as Sequence, logFrom: first as Sequence };
  }
}

let workers: MemoryWorker[];
let pool: WorkerPool;
let journal: Journal;
let replicas: LogReplicas;
let degraded: Degradation[];

/** A driver begins: connects, starts the replicas. */
async function begin(epoch: number, options: { copies?: number } = {}): Promise<Sequence> {
  pool = poolOver(workers, { epoch });
  await settle();
  replicas = new LogReplicas(pool, { policy: replicationPolicy(options.copies ?? 2), source: journal, logger: silent, onDegraded: (event) => void degraded.push(event) });
  return replicas.start();
}

function end(): void {
  replicas.close();
  pool.close();
}

/** Writes and appends in one go, as the driver's shipping does. */
async function append(epoch: number, count = 1): Promise<void> {
  const first = (journal.last + 1) as Sequence;
  journal.write(epoch, count);
  const records: Buffer[] = [];
  for (let sequence: number = first; sequence <= journal.last; sequence++) records.push(journal.records.get(sequence)!.bytes);
  await replicas.append(records, first, journal.last as Sequence, epoch as DriverEpoch);
}

function lasts(): number[] {
  return workers.map(({ logState }) => logState.lastSequence);
}

/** Indexes of the workers, as the volume ranks them. */
function ranking(): number[] {
  return pool.rank(placementIdOf(TEST_VOLUME));
}

beforeEach(() => {
  useFakeClock();
  workers = Array.from({ length: 3 }, (_, number) => new MemoryWorker(number));
  journal = new Journal();
  degraded = [];
});

afterEach(() => {
  end();
  useRealClock();
});

describe('appending', () => {
  it('resolves when R holders have the records, on the first R of the ranking', async () => {
    expect(await begin(1)).toBe(0);
    for (let round = 0; round < 10; round++) await append(1, 3);
    const wanted = workers.map((_, index) => (ranking().slice(0, 2).includes(index) ? 30 : 0));
    expect(lasts()).toEqual(wanted);
  });

  it('is pipelined: later records do not wait for earlier ones', async () => {
    await begin(1);
    const all = Array.from({ length: 20 }, () => append(1));
    await Promise.all(all);
    expect(Math.max(...lasts())).toBe(20);
  });

  it('survives a holder that dies before or after it has written, and comes back', async () => {
    await begin(1);
    const [one, other] = ranking() as [number, number];
    workers[one]!.dieAt('appendLog', 'before');
    workers[other]!.dieAt('appendLog', 'after');
    const done = append(1, 2);
    await settle();
    workers[one]!.restart();
    workers[other]!.restart();
    await pass(500);
    await done;
    expect([lasts()[one], lasts()[other]]).toEqual([2, 2]);
    expect(degraded).toEqual([]);
  });

  it('goes on with fewer holders when one stays away, says so, and brings it up when it is back', async () => {
    await begin(1);
    const [one, other] = ranking() as [number, number];
    workers[one]!.kill();
    const done = append(1, 7);
    await pass(LIMITS.workerSwitchMs + 500);
    await done;
    expect(degraded).toMatchObject([{ kind: 'log', haveCopies: 1, missing: [one] }]);
    await append(1, 20);
    expect(replicas.neededFrom).toBe(1);
    workers[one]!.restart();
    await pass(1_000);
    expect([lasts()[one], lasts()[other]]).toEqual([27, 27]);
    expect(replicas.neededFrom).toBeUndefined();
    expect(journal.snapshots).toBe(0);
  });

  it('fails with EIO when too few holders are left for too long', async () => {
    await begin(1, { copies: 3 });
    workers[0]!.kill();
    workers[1]!.kill();
    const outcome = append(1).catch((error: unknown) => error);
    await pass(LIMITS.workerAbsenceMs - 1_000);
    expect(await Promise.race([outcome, settle().then(() => 'waiting')])).toBe('waiting');
    await pass(2_000);
    expect(await outcome).toMatchObject({ code: 'EIO' });
  });

  it('does not wait again and again for a holder whose disk fails each time', async () => {
    await begin(1);
    const one = ranking()[0]!;
    workers[one]!.failAt('appendLog', 'diskFailure');
    const first = append(1);
    await pass(LIMITS.workerSwitchMs + 500);
    await first;
    await pass(10_000);
    await append(1);
    workers[one]!.failAt('appendLog', undefined);
    await pass(5_000);
    expect(lasts()[one]).toBe(2);
  });

  it('trims the logs of the holders', async () => {
    await begin(1);
    await append(1, 5);
    replicas.trim(3 as Sequence);
    await settle();
    const holder = workers[ranking()[0]!]!;
    expect(holder.logState.checkpointSequence).toBe(3);
    expect(holder.log.size).toBe(2);
  });
});

describe('a new driver', () => {
  it('finds the newest log and goes on with the same holders', async () => {
    await begin(1);
    await append(1, 5);
    end();
    expect(await begin(2)).toBe(5);
    expect(mostAdvanced(pool)?.state.lastSequence).toBe(5);
    await append(2, 2);
    expect(lasts().filter((last) => last === 7).length).toBe(2);
    expect(journal.snapshots).toBe(0);
  });

  it('brings a holder that lags to the newest log before it starts', async () => {
    await begin(1);
    await append(1, 5);
    const [one, other] = ranking() as [number, number];
    workers[one]!.kill();
    const done = append(1, 5);
    await pass(LIMITS.workerSwitchMs + 500);
    await done;
    end();
    workers[one]!.restart();
    expect(await begin(2)).toBe(10);
    expect([lasts()[one], lasts()[other]]).toEqual([10, 10]);
  });

  it('prefers workers that hold the log to those that are ranked first', async () => {
    await begin(1);
    const [first] = ranking() as [number];
    end();
    const rest = workers.filter((_, index) => index !== first);
    const all = workers;
    workers = rest;
    await begin(2);
    await append(2, 4);
    end();
    workers = all;
    expect(await begin(3)).toBe(4);
    await append(3);
    expect(lasts()[first]).toBe(0);
    expect(rest.map(({ logState }) => logState.lastSequence)).toEqual([5, 5]);
  });

  it('gives a holder whose log forked off a new checkpoint', async () => {
    await begin(1);
    await append(1, 5);
    const [one, other] = ranking() as [number, number];
    end();
    // Driver 2 reaches one disk only and dies with it; driver 3 never sees its records.
    const lost = [...journal.records];
    workers[other]!.kill();
    const starting = begin(2);
    await pass(LIMITS.workerSwitchMs + 500);
    await starting;
    const forked = append(2, 3);
    await pass(LIMITS.workerSwitchMs + 500);
    await forked;
    end();
    journal.records.clear();
    for (const [sequence, record] of lost) journal.records.set(sequence, record);
    journal.last = 5;
    workers[one]!.kill();
    workers[other]!.restart();
    const again = begin(3);
    await pass(LIMITS.workerSwitchMs + 500);
    await again;
    const longer = append(3, 4);
    await pass(LIMITS.workerSwitchMs + 500);
    await longer;
    expect(lasts()[other]).toBe(9);
    workers[one]!.restart();
    await pass(5_000);
    expect(workers[one]!.logState).toMatchObject({ lastSequence: 9, lastEpoch: 3 });
    expect(workers[one]!.log.get(7)?.epoch).toBe(3);
    expect(journal.snapshots).toBe(1);
  });
});

describe('seeding', () => {
  it('makes a holder of a worker for which the journal does not reach back far enough', async () => {
    await begin(1);
    const one = ranking()[0]!;
    workers[one]!.kill();
    const done = append(1, 10);
    await pass(LIMITS.workerSwitchMs + 500);
    await done;
    journal.forget(8);
    workers[one]!.restart();
    await pass(2_000);
    expect(workers[one]!.checkpoint.map(([key]) => key.toString())).toEqual(['row', 'row2']);
    expect(workers[one]!.logState).toMatchObject({ checkpointSequence: 8, lastSequence: 10, lastEpoch: 1 });
    degraded = [];
    await append(1);
    expect(lasts()[one]).toBe(11);
    expect(degraded).toEqual([]);
  });

  it('does not make rows visible before the records behind them may be shipped', async () => {
    await begin(1);
    const one = ranking()[0]!;
    workers[one]!.kill();
    const done = append(1, 5);
    await pass(LIMITS.workerSwitchMs + 500);
    await done;
    journal.forget(5);
    journal.write(1, 2);
    workers[one]!.restart();
    await pass(3_000);
    expect(workers[one]!.checkpoint).toEqual([]);
    await replicas.append([journal.records.get(6)!.bytes, journal.records.get(7)!.bytes], 6 as Sequence, 7 as Sequence, 1 as DriverEpoch);
    await pass(3_000);
    expect(workers[one]!.checkpoint.length).toBe(2);
    expect(lasts()[one]).toBe(7);
  });

  it('begins again when the worker dies in the middle', async () => {
    await begin(1);
    const one = ranking()[0]!;
    workers[one]!.kill();
    const done = append(1, 5);
    await pass(LIMITS.workerSwitchMs + 500);
    await done;
    journal.forget(5);
    workers[one]!.restart();
    workers[one]!.dieAt('loadCheckpoint', 'after');
    await pass(1_000);
    workers[one]!.restart();
    await pass(3_000);
    expect(workers[one]!.checkpoint.length).toBe(2);
    expect(journal.snapshots).toBe(2);
  });

  it('replaces a holder that is gone for good by another worker', async () => {
    await begin(1);
    const [one, , spare] = ranking() as [number, number, number];
    await append(1, 5);
    journal.forget(5);
    workers[one]!.kill();
    await pass(LIMITS.workerAbsenceMs + 3_000);
    expect(workers[spare]!.logState).toMatchObject({ lastSequence: 5, lastEpoch: 1 });
    degraded = [];
    await append(1);
    expect(lasts()[spare]).toBe(6);
    expect(degraded).toEqual([]);
  });
});

describe('reading back', () => {
  it('gives the checkpoint in order and then every record of the log', async () => {
    await begin(1);
    await append(1, 12);
    replicas.trim(4 as Sequence);
    await settle();
    for (const worker of workers) worker.checkpoint = ['a', 'b', 'c'].map((key) => [Buffer.from(key), Buffer.from('x')] as const);
    end();
    await begin(2);
    const best = mostAdvanced(pool)!;
    expect(best.state).toMatchObject({ checkpointSequence: 4, lastSequence: 12 });
    const keys: string[] = [];
    let sequences: number[] = [];
    for await (const part of readMetadata(best.link, best.state)) {
      if (part.kind === 'rows') keys.push(...part.rows.map(([key]) => key.toString()));
      else sequences = [...sequences, part.first, part.last];
    }
    expect(keys).toEqual(['a', 'b', 'c']);
    expect(sequences).toEqual([5, 12]);
  });

  it('refuses a log with a hole', async () => {
    await begin(1);
    await append(1, 6);
    const holder = workers[ranking()[0]!]!;
    holder.log.delete(4);
    end();
    await begin(2);
    const link = pool.links[ranking()[0]!]!;
    const parts = async () => {
      for await (const part of readMetadata(link, link.hello!.log)) expect(part.kind).toBe('records');
    };
    await expect(parts()).rejects.toThrow(/wanted record 4/);
  });
});
