// New code under a mount one of whose disks hangs.
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { EXIT, UserError } from '../../src/base/errors.ts';
import type { Crew } from '../../src/keeper/crew.ts';
import { upgrade } from '../../src/keeper/upgrade.ts';
import { quiet } from './fixture.ts';

const here = fileURLToPath(import.meta.url);
const MODULES = { driver: here, worker: here, unmount: here };

beforeEach(() => { vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }); });
afterEach(() => vi.useRealTimers());

/** Found by scripts/chaos --seed 102: a disk vanished, and an upgrade came while its worker was being tried again. */
it('a disk that is away, noticed or not, keeps nobody from the new code', async () => {
  const replaced: string[] = [];
  const gone = new UserError('/nowhere is not a disk of sdfs', EXIT.notFound);
  const worker = (shown: string, name: string, fails?: UserError) => ({ state: { kind: 'starting' }, shown: { kind: shown }, succeed: () => { replaced.push(name); return fails === undefined ? Promise.resolve() : Promise.reject(fails); } });
  const crew = {
    modules: MODULES, description: { disks: [{ worker: 0, directory: '/nowhere' }, { worker: 1, directory: '/nowhere' }] },
    workers: new Map([[0, worker('unusable', 'worker 0', gone)], [1, worker('ready', 'worker 1', gone)]]),
    link: { status: () => Promise.resolve({ disks: [] }) },
    handOver: () => { replaced.push('driver'); return Promise.resolve(); },
  } as unknown as Crew;
  await upgrade(crew, MODULES, quiet);
  expect(replaced).toEqual(['worker 1', 'driver']);
});

it('a worker that waits for its disk is left to get the new code when that goes on, and the others have it', async () => {
  const replaced: string[] = [];
  const child = (name: string, end: Promise<void>) => ({ state: { kind: 'ready' }, shown: { kind: 'ready' }, succeed: () => { replaced.push(name); return end; } });
  const crew = {
    modules: MODULES,
    workers: new Map([[0, child('worker 0', new Promise(() => {}))], [1, child('worker 1', Promise.resolve())]]),
    link: { status: () => Promise.resolve({ disks: [{ worker: 1, connected: true }] }) },
    handOver: () => { replaced.push('driver'); return Promise.resolve(); },
  } as unknown as Crew;
  const done = upgrade(crew, MODULES, quiet);
  await vi.advanceTimersByTimeAsync(LIMITS.workerStopMs + LIMITS.killMs);
  await done;
  expect(replaced).toEqual(['worker 0', 'worker 1', 'driver']);
});
