// A driver that dies and takes its database and its journal with it: the successor makes both anew from the workers, under
// the living mount, and does what was in flight once.
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { delay, mustRun } from '../support/programs.ts';

/** Of what the driver had, only the copies of the workers are left. */
async function killWithDatabase(mount: TestMount, driver: number): Promise<void> {
  for (const directory of [join(mount.volume, 'driver'), mount.env.SDFS_JOURNAL_DIR!]) {
    for (const name of await readdir(directory)) await rm(join(directory, name), { recursive: true });
  }
  process.kill(driver, 'SIGKILL');
}

/** Starts a shell script that changes to the mount itself, since the test could wait for that. */
function start(mount: TestMount, script: string): Promise<string> {
  return mustRun('sh', ['-euc', `cd '${mount.mountpoint}'; ${script}`], { cwd: '/', env: mount.env, timeoutMs: 60_000 });
}

/** Each fails when it is done twice, or when what was there before is gone. */
const ONCE = ['mkdir made', 'mv -nT from to; test ! -e from', 'ln old linked', 'rm removed', 'rmdir gone', 'set -C; : > created', 'ln -s target symlink'];

describeOnMount('a driver that dies with its database and its journal', { disks: 2, faults: true }, (mount) => {
  it('has a successor that does once what programs had asked for', { timeout: 90_000 }, async () => {
    await mkdir(mount().path('gone'));
    for (const name of ['from', 'old', 'removed']) await writeFile(mount().path(name), name);
    await mount().mustSdfs('sync', mount().mountpoint);
    const driver = await mount().kill('driver', 0, 'SIGSTOP');
    const asked = ONCE.map((script) => start(mount(), script));
    await delay(500);
    await killWithDatabase(mount(), driver);
    await Promise.all(asked);
    expect((await readdir(mount().mountpoint)).toSorted()).toEqual(['created', 'linked', 'made', 'old', 'symlink', 'to']);
    await mount().untilReady();
  });

  it('has a successor that does not append again what one worker had already', { timeout: 90_000 }, async () => {
    for (const bytes of [4096, 200_000]) {
      const file = mount().path(`appended${bytes}`);
      await writeFile(file, 'before\n');
      await mount().mustSdfs('sync', mount().mountpoint);
      const worker = await mount().kill('worker', 1, 'SIGSTOP');
      const asked = start(mount(), `head -c ${bytes} /dev/zero | tr '\\0' x | dd of=${file} bs=${bytes} iflag=fullblock oflag=append,sync conv=notrunc status=none`);
      await delay(1000);
      const [driver] = await mount().pids('driver');
      process.kill(driver!, 'SIGSTOP');
      await killWithDatabase(mount(), driver!);
      process.kill(worker, 'SIGCONT');
      await asked;
      expect((await readFile(file, 'utf8')) === `before\n${'x'.repeat(bytes)}`).toBe(true);
      await mount().untilReady();
    }
  });

  it('leaves a volume without a fault', { timeout: 60_000 }, async () => {
    await mount().mustSdfs('fsck', mount().mountpoint);
  });
});
