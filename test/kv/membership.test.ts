// Which disks count: the rules alone, the changes on workers that fail, and a random search for two truths.
import { afterEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, Uuid } from '../../src/base/ids.ts';
import { mountRefusal } from '../../src/base/membership.ts';
import type { KnownMembership, Membership } from '../../src/base/membership.ts';
import { Members } from '../../src/kv/membership.ts';
import type { WorkerLink } from '../../src/kv/worker-link.ts';
import type { WorkerPool } from '../../src/kv/worker-pool.ts';
import { chances } from '../support/chances.ts';
import { memoryPool, poolOver, silent } from '../support/memory-pool.ts';
import { MemoryWorker } from '../support/memory-worker.ts';

const [a, b, c, d] = ['a', 'b', 'c', 'd'] as Uuid[] as [Uuid, Uuid, Uuid, Uuid];

function record(epoch: number, members: readonly Uuid[], more: Partial<Membership> = {}): Membership {
  return { epoch, driver: 1 as DriverEpoch, members, log: null, former: [], ...more };
}

/** What a mount says to these disks, each with what it has recorded. */
function verdict(disks: readonly (readonly [Uuid, Membership | null])[], copies = 2): string {
  return mountRefusal(new Map(disks), { all: [a, b, c, d], copies })?.reason ?? 'mounts';
}

describe('a mount', () => {
  const four = record(5, [a, b, c, d]);

  it('takes more than half of the members', () => {
    expect(verdict([[a, four], [b, four], [c, four]])).toBe('mounts');
    expect(verdict([[a, four], [b, four]])).toBe('majority');
  });

  it('follows the newest record that any disk has', () => {
    expect(verdict([[a, record(6, [a], { former: [a, b] })], [b, record(5, [a, b])]])).toBe('mounts');
    expect(verdict([[b, record(6, [a], { former: [a, b] })]])).toBe('majority');
    expect(verdict([[b, record(5, [a, b])]])).toBe('majority');
  });

  it('needs a disk that has the whole log', () => {
    const onA = record(6, [a, b, c], { log: [a] });
    expect(verdict([[b, onA], [c, onA]])).toBe('log');
    expect(verdict([[a, onA], [c, onA]])).toBe('mounts');
  });

  it('does not go without as many disks as there are copies', () => {
    const five = record(5, [a, b, c, d, 'e' as Uuid]);
    expect(verdict([[a, five], [b, five], [c, five]])).toBe('copies');
    expect(verdict([[a, five], [b, five], [c, five]], 3)).toBe('mounts');
  });

  it('believes a record that too few disks have only when the former members agree', () => {
    const half = record(6, [a, b], { former: [a, b, c, d] });
    expect(verdict([[a, half], [b, four]])).toBe('majority');
    expect(verdict([[a, half], [b, half]])).toBe('mounts');
    expect(verdict([[a, half], [b, four], [c, four]])).toBe('mounts');
  });

  it('takes disks without any record for members of the first one, and of no later one', () => {
    expect(verdict([[a, null], [b, null], [c, null]])).toBe('mounts');
    expect(verdict([[a, record(1, [a, b, c, d])], [b, null], [c, null]])).toBe('mounts');
    expect(verdict([[a, four], [b, null], [c, null]])).toBe('majority');
  });
});

const pools: WorkerPool[] = [];
const services: Members[] = [];
afterEach(() => {
  for (const service of services.splice(0)) service.close();
  for (const pool of pools.splice(0)) pool.close();
});

async function membersOf(count: number): Promise<{ pool: WorkerPool; workers: readonly MemoryWorker[]; members: Members; told: KnownMembership[] }> {
  const { pool, workers } = await memoryPool(count);
  pools.push(pool);
  const told: KnownMembership[] = [];
  const members = new Members(pool, { logger: silent, tell: (known) => void told.push(structuredClone(known)) });
  services.push(members);
  await members.begin();
  return { pool, workers, members, told };
}

const uuids = (workers: readonly MemoryWorker[]): Uuid[] => workers.map(({ disk }) => disk);

describe('a change of membership', () => {
  it('leaves out a disk that is away, on all that are left, before anything is acknowledged without it', async () => {
    const { workers, members } = await membersOf(3);
    workers[2]!.kill();
    await members.beforeDegraded({ kind: 'sync', missing: [workers[2]!.worker] });
    expect(members.record.members).toEqual(uuids(workers.slice(0, 2)));
    expect(workers.map(({ membership }) => membership?.members.length)).toEqual([2, 2, 3]);
    expect(members.beforeDegraded({ kind: 'sync', missing: [workers[2]!.worker] })).toBeUndefined();
  });

  it('is told to the keeper before any disk has it', async () => {
    const { workers, members, told } = await membersOf(2);
    for (const worker of workers) worker.failAt('recordMembership', 'diskFailure');
    const change = members.entrust([workers[0]!.disk]);
    change.catch(() => {});
    await expect.poll(() => told.at(-1)?.uncertain.map(({ log }) => log)).toEqual([[workers[0]!.disk]]);
    expect(members.covers([workers[0]!.disk])).toBe(false);
    for (const worker of workers) worker.failAt('recordMembership', undefined);
    await change;
    expect(members.covers([workers[0]!.disk])).toBe(true);
    expect(told.at(-1)).toEqual({ record: members.record, uncertain: [] });
  });

  it('is not even proposed with less than half of the former members', async () => {
    const { workers, members, told } = await membersOf(3);
    const proposals = told.length;
    for (const worker of workers.slice(1)) worker.kill();
    const change = members.beforeDegraded({ kind: 'sync', missing: [workers[1]!.worker, workers[2]!.worker] });
    await expect.poll(() => members.problem).toContain('are away');
    members.close();
    await expect(change).rejects.toMatchObject({ code: 'EIO' });
    expect(told.length).toBe(proposals);
    expect(workers[0]!.membership?.members.length).toBe(3);
  });
});

/** SDFS_TEST_LIVES=5000 looks harder. */
const LIVES = Number(process.env['SDFS_TEST_LIVES'] ?? 150);

describe(`in ${LIVES} random lives of a volume`, () => {
  const SEED = Number(process.env['SDFS_TEST_SEED'] ?? 1);

  it('no mount begins without what was acknowledged before', { timeout: 120_000 }, async () => {
    const random = chances(SEED);
    const chance = (probability: number): boolean => random() < probability;
    const workers = Array.from({ length: 4 }, (_, number) => new MemoryWorker(number));
    /** Last record of the log on each disk: the life that wrote it, and its number. */
    const logs = workers.map(() => 0);
    let acknowledged = 0;
    let next = 0;
    let mounts = 0;
    for (let life = 1; life <= LIVES; life++) {
      for (const worker of workers) if (chance(0.7)) worker.restart(); else worker.kill();
      const there = workers.filter(({ running }) => running);
      if (there.length === 0) continue;
      const pool = poolOver(workers, { epoch: life });
      await Promise.all(there.map(({ worker }) => pool.anyReady([worker], 1_000)));
      const members = new Members(pool, { logger: silent, tell: () => {} });
      if (members.refusal(2) === undefined) {
        mounts++;
        const best = Math.max(...workers.map((worker, index) => (members.isCurrent(pool.link(worker.worker)) ? logs[index]! : 0)));
        expect(best, `life ${life} of seed ${SEED}`).toBeGreaterThanOrEqual(acknowledged);
        next = Math.max(next, acknowledged);
        await act(life, { members, best });
      }
      members.close();
      pool.close();
    }
    expect(mounts).toBeGreaterThan(LIVES / 10);

    async function act(life: number, { members, best }: { members: Members; best: number }): Promise<void> {
      if (chance(0.1)) workers[Math.floor(random() * 4)]!.dieAt('recordMembership', chance(0.5) ? 'before' : 'after');
      if (!(await settles(members, members.begin()))) return;
      const base = best;
      // Disks that were left out get what the others have, and count again.
      const hasCaughtUp = ({ worker }: WorkerLink): boolean => {
        logs[worker] = base;
        return true;
      };
      if (chance(0.7) && !(await settles(members, members.review({ hasCaughtUp, completeLogs: () => [] })))) return;
      for (let step = 0; step < 3; step++) {
        for (const worker of workers) if (chance(0.1)) worker.kill();
        if (chance(0.2)) workers[Math.floor(random() * 4)]!.dieAt('recordMembership', chance(0.5) ? 'before' : 'after');
        const holders = workers.filter(({ running }) => running && chance(0.6)).slice(0, 2);
        if (holders.length === 0) continue;
        next = Math.max(base, life * 10 + step);
        for (const worker of holders) logs[worker.worker] = next;
        const away = workers.filter(({ running }) => !running).map(({ worker }) => worker);
        if (!(await settles(members, members.beforeDegraded({ kind: 'sync', missing: away })))) return;
        if (!members.covers(uuids(holders)) && !(await settles(members, members.entrust(uuids(holders))))) return;
        if (members.covers(uuids(holders))) acknowledged = next;
      }
    }
  });

  /** False when it did not come into effect at once; then this life of the volume is over. */
  async function settles(members: Members, change: Promise<void> | undefined): Promise<boolean> {
    const timer = setTimeout(() => members.close(), 20);
    const done = await Promise.resolve(change).then(() => true, () => false);
    clearTimeout(timer);
    return done;
  }
});
