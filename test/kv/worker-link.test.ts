// The link to one worker: reconnects, sends again in order, keeps its bounds.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { WorkerError } from '../../src/ipc/messages.ts';
import { WorkerAbsentError, WorkerLink } from '../../src/kv/worker-link.ts';
import { pass, settle, useFakeClock, useRealClock } from '../support/fake-clock.ts';
import { silent } from '../support/memory-pool.ts';
import { MemoryWorker, TEST_VOLUME } from '../support/memory-worker.ts';

const id = { hi: 1, lo: 2 };
const block = { id, checksums: Uint32Array.of(7), data: [Buffer.from('block')] };
let worker: MemoryWorker;
let link: WorkerLink;
let events: string[];

function linkTo(target: MemoryWorker, epoch = 1): WorkerLink {
  const made = new WorkerLink({ worker: target.worker, disk: target.disk, volume: TEST_VOLUME, epoch: epoch as DriverEpoch, connect: target.connect, logger: silent });
  made.listen({ ready: () => events.push('ready'), absent: () => events.push('absent'), hung: () => events.push('hung'), refused: () => events.push('refused') });
  return made;
}

beforeEach(async () => {
  useFakeClock();
  events = [];
  worker = new MemoryWorker(0);
  link = linkTo(worker);
  link.start();
  await settle();
});

afterEach(() => {
  link.close();
  useRealClock();
});

describe('a worker link', () => {
  it('says hello and keeps what the worker said', () => {
    expect(link.state.kind).toBe('ready');
    expect(link.hello?.disk).toBe(worker.disk);
    expect(events).toEqual(['ready']);
  });

  it('carries requests and the errors that workers answer', async () => {
    await link.request('putBlocks', { blocks: [block] });
    expect((await link.request('getBlock', { id, firstPiece: 0, pieceCount: 1 })).data.toString()).toBe('block');
    await expect(link.request('getBlock', { id: { hi: 9, lo: 9 }, firstPiece: 0, pieceCount: 1 })).rejects.toThrow(WorkerError);
    expect(link.load).toBe(0);
  });

  it.each(['before', 'after'] as const)('sends again what was in flight when the worker died, %s it was carried out', async (when) => {
    worker.dieAt('putBlocks', when);
    const put = link.request('putBlocks', { blocks: [block] });
    await settle();
    expect(link.state.kind).not.toBe('ready');
    worker.restart();
    await pass(1000);
    await put;
    expect(worker.blocks.size).toBe(1);
    expect(events).toEqual(['ready', 'absent', 'ready']);
  });

  it('keeps the order: a put and the delete behind it, sent again, leave nothing', async () => {
    worker.dieAt('putBlocks', 'before');
    const both = [link.request('putBlocks', { blocks: [block] }), link.request('deleteBlocks', { ids: [id] })];
    await settle();
    worker.restart();
    await pass(500);
    await Promise.all(both);
    expect(worker.blocks.size).toBe(0);
  });

  it('rejects at once, when asked to, while there is no channel and when it breaks', async () => {
    worker.dieAt('putBlocks', 'before');
    await expect(link.request('putBlocks', { blocks: [block] }, { absenceMs: 0 })).rejects.toThrow(WorkerAbsentError);
    await expect(link.request('putBlocks', { blocks: [block] }, { absenceMs: 0 })).rejects.toThrow(WorkerAbsentError);
  });

  it('waits for an absent worker as long as the caller says, and no longer', async () => {
    worker.kill();
    const short = link.request('statistics', {}, { absenceMs: 2_000 }).catch((error: unknown) => error);
    const long = link.request('statistics', {});
    await pass(1_900);
    expect(link.load).toBe(2);
    await pass(200);
    expect(await short).toBeInstanceOf(WorkerAbsentError);
    worker.restart();
    await pass(500);
    expect((await long).blockCount).toBe(0);
  });

  it('gives up on an absent worker after the common bound', async () => {
    worker.kill();
    const outcome = link.request('statistics', {}).catch((error: unknown) => error);
    await pass(LIMITS.workerAbsenceMs + 500);
    expect(await outcome).toBeInstanceOf(WorkerAbsentError);
    expect(link.absentMs).toBeGreaterThan(LIMITS.workerAbsenceMs);
  });

  it('ends a request that kills its worker each time', async () => {
    const outcome = link.request('syncBlocks', {}, { absenceMs: 2_000 }).catch((error: unknown) => error);
    for (let round = 0; round < 30; round++) {
      worker.dieAt('syncBlocks', 'before');
      await pass(100);
      worker.restart();
    }
    expect(await outcome).toBeInstanceOf(WorkerAbsentError);
  });

  it('takes a worker that does not answer for hung, says so, and sends again on a new channel', async () => {
    worker.hanging = true;
    const put = link.request('putBlocks', { blocks: [block] });
    await pass(LIMITS.workerTimeoutMs + 100);
    expect(events).toEqual(['ready', 'hung', 'absent']);
    worker.restart();
    await pass(LIMITS.workerTimeoutMs + 1_000);
    await put;
    expect(events.at(-1)).toBe('ready');
  });

  it('keeps at most the allowed number of requests in flight and answers all', async () => {
    const requests = Array.from({ length: LIMITS.workerRequestsMax + 50 }, () => link.request('statistics', {}));
    expect(link.load).toBe(LIMITS.workerRequestsMax + 50);
    await Promise.all(requests);
    expect(link.load).toBe(0);
  });

  it('refuses more waiting requests than the queue holds', async () => {
    worker.kill();
    const requests = Array.from({ length: LIMITS.workerQueueMax }, () => link.request('statistics', {}, { absenceMs: 1000 }).catch(() => {}));
    await expect(link.request('statistics', {}, { absenceMs: 1000 })).rejects.toThrow(/wait for worker/);
    link.close();
    await Promise.all(requests);
  });

  it('ends for good when the worker has seen a newer driver', async () => {
    const newer = linkTo(worker, 2);
    newer.start();
    await settle();
    worker.dropChannels();
    const outcome = link.request('statistics', {}).catch((error: unknown) => error);
    await pass(1000);
    expect(await outcome).toMatchObject({ code: 'staleEpoch' });
    expect(link.state.kind).toBe('closed');
    expect(events).toContain('refused');
    newer.close();
  });

  it('does not take another disk for its own', async () => {
    const stranger = new MemoryWorker(5);
    const wrong = new WorkerLink({ worker: worker.worker, disk: worker.disk, volume: TEST_VOLUME, epoch: 1 as DriverEpoch, connect: stranger.connect, logger: silent });
    wrong.start();
    await settle();
    await expect(wrong.request('statistics', {})).rejects.toThrow(/should serve disk/);
  });

  it('rejects all that waits when it is closed', async () => {
    worker.hanging = true;
    const outcome = link.request('statistics', {}).catch((error: unknown) => error);
    link.close();
    expect(await outcome).toBeInstanceOf(Error);
    await expect(link.request('statistics', {})).rejects.toThrow(/closed/);
  });
});
