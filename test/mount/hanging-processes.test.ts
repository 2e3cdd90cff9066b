// Processes that are stopped: noticed, worked around, replaced, and programs see a pause at most.
import { open, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

async function write(mount: TestMount, name: string): Promise<void> {
  const file = await open(mount.path(name), 'w');
  await file.writeFile(Buffer.alloc(100_000, name));
  await file.sync();
  await file.close();
}

describeOnMount('a process that is stopped', { faults: true }, (mount) => {
  it('is not waited for where it is a worker, and is replaced', { timeout: 60_000 }, async () => {
    await write(mount(), 'first');
    const stopped = await mount().kill('worker', 1, 'SIGSTOP');
    for (let number = 0; number < 10; number++) await write(mount(), `without${number}`);
    await until('another worker is there', async () => {
      const pids = await mount().pids('worker');
      return pids.length === 3 && !pids.includes(stopped);
    }, 40_000);
    await mount().untilReady();
    expect((await readFile(mount().path('without7'))).equals(Buffer.alloc(100_000, 'without7'))).toBe(true);
  });

  it('is replaced where it is the driver, and what programs asked meanwhile is answered', { timeout: 60_000 }, async () => {
    const stopped = await mount().kill('driver', 0, 'SIGSTOP');
    await write(mount(), 'asked-of-the-stopped');
    expect(await mount().pids('driver')).not.toContain(stopped);
    expect(await readFile(mount().path('asked-of-the-stopped'), 'utf8')).toHaveLength(100_000);
  });

  it('is not noticed by programs where it is the keeper, while commands say so within their bound', { timeout: 60_000 }, async () => {
    const keeper = await mount().kill('keeper', 0, 'SIGSTOP');
    await write(mount(), 'without-the-keeper');
    const status = await mount().sdfs('status', mount().mountpoint);
    expect(status.code).not.toBe(0);
    expect(status.stderr).toMatch(/keeper/);
    process.kill(keeper, 'SIGCONT');
    await mount().untilReady();
  });

  it('does not keep a forced unmount from its end, also when all are stopped', { timeout: 60_000 }, async () => {
    for (const role of ['driver', 'worker', 'keeper'] as const) await mount().kill(role, 0, 'SIGSTOP');
    await mount().mustSdfs('umount', '--force', mount().mountpoint);
    expect(mount().isMounted()).toBe(false);
    expect(mount().serving()).toEqual([]);
    await mount().mount();
    expect(await readFile(mount().path('without-the-keeper'), 'utf8')).toHaveLength(100_000);
  });
});
