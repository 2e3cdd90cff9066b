// Crashes under a verified load: of workers, of the driver, of the keeper, of everything at once.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { Role, TestMount } from '../support/mount.ts';
import { delay, until } from '../support/programs.ts';
import type { RunResult } from '../support/programs.ts';

/** SDFS_TEST_KILLS=100 is the full number; CI takes fewer. */
const KILLS = Number(process.env.SDFS_TEST_KILLS ?? 20);
const SEED = Number(process.env.SDFS_TEST_SEED ?? 1);
const LOADS = [0, 1];
const PAUSE_MS = 600;

const journal = (mount: TestMount, name: string): string => join(mount.root, `journal-${name}`);

/** Runs loads on the mount while `disturb` runs. Resolves with how each load ended. */
async function underLoad(mount: TestMount, name: string, disturb: () => Promise<void>): Promise<RunResult[]> {
  const script = new URL('../support/load.mjs', import.meta.url).pathname;
  const loads = LOADS.map((index) =>
    mount.run(process.execPath, [script, 'run', mount.path(`${name}-${index}`), journal(mount, `${name}-${index}`), '600', String(SEED + index)], { timeoutMs: 540_000 }),
  );
  try {
    await until('the loads have begun', async () => (await readdir(mount.mountpoint)).filter((entry) => entry.startsWith(`${name}-`)).length === LOADS.length);
    await delay(500);
    await disturb();
    await delay(500);
  } finally {
    const serving = mount.serving();
    for (const pid of mount.processes().filter((candidate) => !serving.includes(candidate))) stopLoad(pid);
  }
  return Promise.all(loads);
}

function stopLoad(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // ended at an error; its exit code says so
  }
}

async function verify(mount: TestMount, name: string): Promise<void> {
  for (const index of LOADS) await mount.script('load.mjs', ['verify', mount.path(`${name}-${index}`), journal(mount, `${name}-${index}`)], { timeoutMs: 60_000 });
}

/** What the loads before left, whatever has happened since. */
async function verifyEarlier(mount: TestMount): Promise<void> {
  for (const name of (await readdir(mount.root)).filter((entry) => entry.startsWith('journal-')).map((entry) => entry.slice('journal-'.length))) {
    await mount.script('load.mjs', ['verify', mount.path(name), join(mount.root, `journal-${name}`)], { timeoutMs: 60_000 });
  }
}

async function killRepeatedly(mount: TestMount, role: Role, times: number): Promise<void> {
  for (let count = 0; count < times; count++) {
    // A process that is killed often is started again after a growing pause.
    await until(`a ${role} to kill`, async () => (await mount.pids(role)).length > 0);
    await mount.kill(role, (SEED + count * 7) % 3);
    await delay(PAUSE_MS);
  }
}

const noErrors = LOADS.map(() => ({ code: 0, stderr: '' }));

/** How loads that nothing should have disturbed have ended; each has done something. */
function endings(results: readonly RunResult[]): { code: number; stderr: string }[] {
  for (const { code, stdout } of results) if (code === 0) expect(parseInt(stdout, 10)).toBeGreaterThanOrEqual(20);
  return results.map(({ code, stderr }) => ({ code, stderr }));
}

describeOnMount('a crash', { faults: true }, (mount) => {
  it(`of a worker, ${KILLS} times under load, is not seen by any program`, { timeout: 60_000 + KILLS * 5000 }, async () => {
    const results = await underLoad(mount(), 'workers', () => killRepeatedly(mount(), 'worker', KILLS));
    expect(endings(results)).toEqual(noErrors);
    await verify(mount(), 'workers');
    await mount().untilReady();
    expect((await mount().status()).processes.reduce((sum, entry) => sum + entry.restarts, 0)).toBeGreaterThanOrEqual(KILLS);
  });

  it('of all workers at once, for more than two seconds, is a pause', { timeout: 120_000 }, async () => {
    const results = await underLoad(mount(), 'both', async () => {
      const workers = await mount().pids('worker');
      for (const pid of workers) process.kill(pid, 'SIGSTOP');
      await delay(2500);
      for (const pid of workers) process.kill(pid, 'SIGKILL');
      await delay(1500);
    });
    expect(endings(results)).toEqual(noErrors);
    await verify(mount(), 'both');
    await mount().untilReady();
  });

  it('of the driver under load is a pause', { timeout: 180_000 }, async () => {
    const results = await underLoad(mount(), 'driver', async () => {
      for (let count = 0; count < 5; count++) {
        await mount().kill('driver');
        await delay(1500);
      }
    });
    expect(endings(results)).toEqual(noErrors);
    expect((await mount().status()).processes.find((entry) => entry.role === 'driver')?.restarts).toBeGreaterThanOrEqual(5);
    await verify(mount(), 'driver');
    await mount().untilReady();
  });

  it('of everything loses nothing that was acknowledged', { timeout: 180_000 }, async () => {
    for (const round of [1, 2, 3]) {
      const name = `everything${round}`;
      const results = await underLoad(mount(), name, () => mount().killEverything());
      // They were at work when it happened.
      expect(results.map((result) => result.code)).toEqual(LOADS.map(() => 3));
      await mount().mount();
      await verify(mount(), name);
    }
    await verifyEarlier(mount());
    await mount().untilReady();
  });

  it('of the keeper ends the rest within seconds, and the next mount has it all', { timeout: 120_000 }, async () => {
    await underLoad(mount(), 'keeper', async () => {
      await mount().kill('keeper');
      await until('driver and workers have ended', () => mount().serving().length === 0, 30_000);
      await until('the mount is gone', () => !mount().isMounted(), 5_000);
    });
    await mount().mount();
    await verify(mount(), 'keeper');
    await mount().untilReady();
  });

  it('that takes the driver\'s database with it loses nothing that was synced', { timeout: 180_000 }, async () => {
    const results = await underLoad(mount(), 'rebuilt', () => delay(2000));
    expect(endings(results)).toEqual(noErrors);
    await mount().mustSdfs('sync', mount().mountpoint);
    await mount().killEverything();
    await rm(join(mount().volume, 'driver'), { recursive: true });
    await mount().mount();
    await verify(mount(), 'rebuilt');
    await verifyEarlier(mount());
    await mount().untilReady();
  });
});
