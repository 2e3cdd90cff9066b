// New code under a mount one of whose disks hangs.
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Crew } from '../../src/keeper/crew.ts';
import { upgrade } from '../../src/keeper/upgrade.ts';
import { quiet } from './fixture.ts';

const here = fileURLToPath(import.meta.url);
const MODULES = { driver: here, worker: here, unmount: here };

beforeEach(() => { vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }); });
afterEach(() => vi.useRealTimers());

it('a worker that waits for its disk is left to get the new code when that goes on, and the others have it', async () => {
  const replaced: string[] = [];
  const child = (name: string, end: Promise<void>) => ({ state: { kind: 'ready' }, succeed: () => { replaced.push(name); return end; } });
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
