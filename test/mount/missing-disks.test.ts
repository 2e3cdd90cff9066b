// Disks that are missing, gone for a while, or back with old data: what mounts, what is refused, and whose data counts.
import { existsSync, renameSync } from 'node:fs';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

/** As if it were unplugged. While mounted, its worker is killed, since an open directory can be moved. */
async function takeDisk(mount: TestMount, index: number): Promise<void> {
  const pid = mount.isMounted() ? (await mount.status()).processes.find(({ worker }) => worker === index)!.pid : null;
  renameSync(mount.disks[index]!, `${mount.disks[index]}.away`);
  if (pid !== null) process.kill(pid, 'SIGKILL');
}

function bringDisk(mount: TestMount, index: number): void {
  renameSync(`${mount.disks[index]}.away`, mount.disks[index]!);
}

function bringAll(mount: TestMount): void {
  mount.disks.forEach((disk, index) => existsSync(`${disk}.away`) && bringDisk(mount, index));
}

const write = (mount: TestMount, name: string): Promise<string> => mount.sh(`echo ${name} > ${name}; sync ${name}`, { timeoutMs: 60_000 });

async function untilMembers(mount: TestMount, members: readonly number[]): Promise<void> {
  await until(`members ${members.join(', ')}`, async () => {
    const { disks } = await mount.status();
    return disks.filter(({ member }) => member === true).map(({ worker }) => worker).join() === members.join();
  }, 60_000);
}

/** The disks alone must tell what there is. */
const loseDatabase = (mount: TestMount): Promise<void> => rm(`${mount.volume}/driver`, { recursive: true });

describeOnMount('a volume on two disks, of which one was gone while files were written,', { disks: 2, faults: true }, (mount) => {
  it('goes on with the other alone, degraded', { timeout: 90_000 }, async () => {
    await write(mount(), 'before');
    await takeDisk(mount(), 1);
    await write(mount(), 'meanwhile');
    await untilMembers(mount(), [0]);
    expect((await mount().status()).health).toBe('degraded');
    await mount().killEverything();
  });

  it('is refused with the stale disk alone, and says which disk is missing', async () => {
    bringDisk(mount(), 1);
    await takeDisk(mount(), 0);
    const { code, stderr } = await mount().sdfs('mount', '-d', mount().volume, mount().mountpoint);
    expect(code).toBe(EXIT.incomplete);
    expect(stderr).toContain(mount().disks[0]);
    expect(stderr).toContain('--force-degraded');
    expect(mount().isMounted()).toBe(false);
  });

  it('mounts with the disk that was there all the time, and has everything', async () => {
    bringDisk(mount(), 0);
    await takeDisk(mount(), 1);
    await loseDatabase(mount());
    await mount().mount();
    expect(await readFile(mount().path('meanwhile'), 'utf8')).toBe('meanwhile\n');
    await mount().umount();
  });

  it('mounts with both, has everything, and the stale one catches up', { timeout: 90_000 }, async () => {
    bringDisk(mount(), 1);
    await loseDatabase(mount());
    await mount().mount();
    expect((await readdir(mount().mountpoint)).toSorted()).toEqual(['before', 'meanwhile']);
    await untilMembers(mount(), [0, 1]);
    await write(mount(), 'after');
    await mount().umount();
  });

  it('can be forced to mount with either then, and finds every name', async () => {
    await takeDisk(mount(), 0);
    await loseDatabase(mount());
    expect((await mount().sdfs('mount', '-d', mount().volume, mount().mountpoint)).code).toBe(EXIT.incomplete);
    await mount().mustSdfs('mount', '-d', '--force-degraded', mount().volume, mount().mountpoint);
    expect((await readdir(mount().mountpoint)).toSorted()).toEqual(['after', 'before', 'meanwhile']);
    await mount().umount();
  });

  it('does not believe the disk that was given up when that comes back', { timeout: 90_000 }, async () => {
    await mount().mount();
    await write(mount(), 'forced');
    await mount().killEverything();
    bringDisk(mount(), 0);
    await loseDatabase(mount());
    await mount().mount();
    expect(await readdir(mount().mountpoint)).toContain('forced');
    await untilMembers(mount(), [0, 1]);
    await mount().umount();
  });
});

describeOnMount('a volume whose disk was given up while that had newer data', { disks: 2, faults: true }, (mount) => {
  it('keeps to what was written after that, and makes the disk fit again', { timeout: 120_000 }, async () => {
    await write(mount(), 'common');
    await takeDisk(mount(), 1);
    await write(mount(), 'lost');
    await mount().killEverything();
    bringDisk(mount(), 1);
    await takeDisk(mount(), 0);
    await loseDatabase(mount());
    await mount().mustSdfs('mount', '-d', '--force-degraded', mount().volume, mount().mountpoint);
    await write(mount(), 'kept');
    bringDisk(mount(), 0);
    await untilMembers(mount(), [0, 1]);
    await mount().killEverything();
    await loseDatabase(mount());
    await mount().mount();
    expect((await readdir(mount().mountpoint)).toSorted()).toEqual(['common', 'kept']);
    expect(await readFile(mount().path('kept'), 'utf8')).toBe('kept\n');
  });
});

describeOnMount('a volume on four disks', { disks: 4, faults: true }, (mount) => {
  it('mounts without any one of them, degraded, and has everything', { timeout: 180_000 }, async () => {
    await write(mount(), 'file');
    await mount().umount();
    for (const index of [0, 1, 2, 3]) {
      await takeDisk(mount(), index);
      await loseDatabase(mount());
      await mount().mount();
      const { health, problems } = await mount().status();
      expect({ health, problems: problems.join('; ') }).toEqual({ health: 'degraded', problems: expect.stringContaining(`worker ${index} is unusable`) });
      expect(await readFile(mount().path('file'), 'utf8')).toBe('file\n');
      bringDisk(mount(), index);
      await untilMembers(mount(), [0, 1, 2, 3]);
      await mount().umount();
    }
  });

  it('is refused without two of them, unless it is forced', { timeout: 90_000 }, async () => {
    await takeDisk(mount(), 1);
    await takeDisk(mount(), 2);
    const { code, stderr } = await mount().sdfs('mount', '-d', mount().volume, mount().mountpoint);
    expect(code).toBe(EXIT.incomplete);
    expect(stderr).toContain(mount().disks[1]);
    expect(stderr).toContain(mount().disks[2]);
    await mount().mustSdfs('mount', '-d', '--force-degraded', mount().volume, mount().mountpoint);
    await write(mount(), 'forced');
    bringAll(mount());
    await untilMembers(mount(), [0, 1, 2, 3]);
  });

  it('steps down one by one while mounted, and says so', { timeout: 180_000 }, async () => {
    await takeDisk(mount(), 3);
    await untilMembers(mount(), [0, 1, 2]);
    await takeDisk(mount(), 2);
    await untilMembers(mount(), [0, 1]);
    await write(mount(), 'left');
    await mount().umount();
    await mount().mount();
    expect(await readdir(mount().mountpoint)).toContain('left');
    bringAll(mount());
    await untilMembers(mount(), [0, 1, 2, 3]);
  });
});

describeOnMount('a volume with three copies on five disks', { disks: 5, copies: 3, faults: true }, (mount) => {
  it('mounts without any two of them after a crash, at once, and goes on', { timeout: 180_000 }, async () => {
    for (const lost of [[0, 1], [2, 4], [3, 1]]) {
      await write(mount(), `before-${lost.join('-')}`);
      await mount().killEverything();
      for (const index of lost) await takeDisk(mount(), index);
      await loseDatabase(mount());
      await mount().mount();
      await write(mount(), `after-${lost.join('-')}`);
      for (const name of await readdir(mount().mountpoint)) expect(await readFile(mount().path(name), 'utf8')).toBe(`${name}\n`);
      bringAll(mount());
      await untilMembers(mount(), [0, 1, 2, 3, 4]);
      await until('the newest record is in effect, and names three disks with all of the metadata', async () => {
        const { log, former } = JSON.parse(await readFile(join(mount().disks[0]!, 'membership.json'), 'utf8')) as { log: readonly string[]; former: readonly string[] };
        return log.length >= 3 && former.length === 5;
      }, 60_000);
    }
    await mount().umount();
  });
});
