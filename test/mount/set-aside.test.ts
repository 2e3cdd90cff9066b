// Space set aside by fallocate on a volume that others fill to the last byte: it is there when it is written to.
import { execFileSync } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { open, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestMount } from '../support/mount.ts';
import { delay } from '../support/programs.ts';

const MiB = 1024 * 1024;
const SET_ASIDE = 60 * MiB;

describe.skipIf(process.getuid?.() !== 0)('a full volume', () => {
  let mount: TestMount;
  const small: string[] = [];
  beforeAll(async () => {
    mount = await TestMount.create({ disks: 2, init: false });
    for (const disk of mount.disks) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${400 * MiB}`, 'tmpfs', disk]);
      small.push(disk);
    }
    await mount.mustSdfs('init', ...mount.disks.flatMap((disk) => ['--disk', disk]), '--copies', '2', mount.volume);
    await mount.mount();
  });
  afterAll(async () => {
    const problems = await mount.takeAway();
    for (const disk of small) execFileSync('umount', ['-l', disk]);
    await mount.destroy({ faults: true });
    if (problems.length > 0) throw new Error(problems.join('\n'));
  });

  /** Writes new files in pieces of `bytes` until there is no room. */
  async function fill(name: string, bytes: number): Promise<void> {
    let file: FileHandle | undefined;
    try {
      file = await open(mount.path(name), 'w');
      for (let at = 0; at < 1000 * MiB; at += bytes) await file.write(Buffer.alloc(bytes, at & 0xff), 0, bytes, at);
      throw new Error('the volume is never full');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      await file?.close();
    }
  }

  it('keeps what was set aside, over a remount, for the file that it was set aside for', { timeout: 120_000 }, async () => {
    await writeFile(mount.path('mine'), '');
    expect(JSON.parse(await mount.script('syscall.mjs', ['fallocate', mount.path('mine'), '0', '0', String(SET_ASIDE)]))).toBe(0);
    await fill('others', MiB);
    await fill('others-small', 8192);
    await mount.umount();
    await mount.mount();
    await fill('more', MiB);
    const file = await open(mount.path('mine'), 'r+');
    try {
      for (let at = 0; at < SET_ASIDE; at += MiB / 2) {
        const bytes = at % MiB === 0 ? 8192 : MiB / 2;
        for (let part = 0; part < MiB / 2; part += bytes) await file.write(Buffer.alloc(bytes, 9), 0, bytes, at + part);
      }
      await file.sync();
      const { buffer } = await file.read(Buffer.alloc(MiB), 0, MiB, 30 * MiB);
      expect(buffer.every((byte) => byte === 9)).toBe(true);
    } finally {
      await file.close();
    }
    expect((await stat(mount.path('mine'))).blocks * 512).toBe(SET_ASIDE);
  });

  it('is empty again when all is removed', async () => {
    const before = (await statfs(mount.path())).bavail;
    for (const name of ['mine', 'others', 'others-small', 'more']) await rm(mount.path(name), { force: true });
    await expect.poll(async () => {
      await delay(1000);
      const { bavail, bsize } = await statfs(mount.path());
      return (bavail - before) * bsize > 150 * MiB;
    }, { timeout: 30_000 }).toBe(true);
  });
});
