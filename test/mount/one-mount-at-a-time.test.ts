// A volume, and a disk, is used by one mount at a time: by whatever path it is reached, and also where it is a copy with the same identity.
import { cpSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { CLI, TestMount, reasonNotToMount } from '../support/mount.ts';
import { mustRun } from '../support/programs.ts';

const reason = reasonNotToMount();

interface Described {
  disks: { worker: number; disk: string; directory: string }[];
  [field: string]: unknown;
}

describe.skipIf(reason !== undefined)(reason === undefined ? 'a volume that is mounted' : `a volume that is mounted (${reason})`, () => {
  let mount: TestMount;
  beforeAll(async () => {
    mount = await TestMount.create({ disks: 2 });
    await mount.mount();
    await mount.sh('echo original > file');
    mkdirSync(other());
  });
  // What was refused is in the log.
  afterAll(() => mount.destroy({ faults: true }));

  const other = (): string => join(mount.root, 'other');
  const place = (name: string): string => join(mount.root, name);

  /** What it says when `volume` is mounted beside it. */
  async function refused(volume: string, exitCode: number, ...options: string[]): Promise<string> {
    const { code, stderr } = await mount.sdfs('mount', '-d', ...options, volume, other());
    expect({ code, stderr }).toMatchObject({ code: exitCode });
    return stderr;
  }

  /** A copy of the volume's directory with other disks. */
  function copyVolume(name: string, directories: readonly string[]): string {
    cpSync(mount.volume, place(name), { recursive: true });
    const file = join(place(name), readdirSync(place(name)).find((entry) => entry.endsWith('volume.json'))!);
    const { crc: _crc, ...description } = JSON.parse(readFileSync(file, 'utf8')) as Described;
    writeFileSync(file, JSON.stringify({ ...description, disks: description.disks.map((disk, index) => ({ ...disk, directory: directories[index] })) }));
    return place(name);
  }

  it('is not mounted again through a symbolic link or a bind mount', { timeout: 60_000 }, async () => {
    symlinkSync(mount.volume, place('link'));
    mkdirSync(place('bound'));
    await mustRun('mount', ['--bind', mount.volume, place('bound')]);
    try {
      for (const path of [mount.volume, place('link'), place('bound')]) expect(await refused(path, EXIT.busy)).toMatch(/is mounted already, by process \d+ .*umount/);
    } finally {
      await mustRun('umount', [place('bound')]);
    }
  });

  it('is not mounted again as a copy, with the same disks or with copies of them', { timeout: 60_000 }, async () => {
    await mount.mustSdfs('sync', mount.mountpoint);
    const disks = mount.disks.map((disk, index) => {
      cpSync(disk, place(`copy-of-disk${index}`), { recursive: true });
      return place(`copy-of-disk${index}`);
    });
    const copies = [copyVolume('same-disks', mount.disks), copyVolume('copied-disks', disks), copyVolume('mixed', [mount.disks[0]!, disks[1]!])];
    for (const copy of copies) expect(await refused(copy, EXIT.busy)).toMatch(/is a copy of a volume that is mounted at .*one identity/);
    for (const command of ['fsck', 'dump']) expect((await mount.sdfs(command, copies[1]!)).code).toBe(EXIT.busy);
    // The one that is mounted has noticed nothing.
    expect(await mount.sh('cat file')).toBe('original\n');
    expect((await mount.status()).problems).toEqual([]);
  });

  it('lends no disk to another, by any path', { timeout: 60_000 }, async () => {
    // As it would be for a keeper that finds sockets elsewhere.
    const run = async (volume: string): Promise<{ code: number; stderr: string }> => mount.run(process.execPath, [CLI, 'mount', '-d', volume, other()], { env: { ...mount.env, SDFS_RUN_DIR: place('run2'), SDFS_JOURNAL_DIR: place('journals2') }, timeoutMs: 60_000 });
    mkdirSync(place('bound-disk'));
    await mustRun('mount', ['--bind', mount.disks[1]!, place('bound-disk')]);
    symlinkSync(mount.disks[0]!, place('linked-disk'));
    try {
      const { code, stderr } = await run(copyVolume('by-other-paths', [place('linked-disk'), place('bound-disk')]));
      expect({ code, stderr }).toMatchObject({ code: EXIT.busy });
      expect(stderr).toMatch(/disk .* is in use by another process/);
    } finally {
      await mustRun('umount', [place('bound-disk')]);
    }
    expect((await mount.sdfs('init', '--disk', mount.disks[0]!, place('new'))).code).toBe(EXIT.foreign);
  });

  it('is refused, when it is unmounted, with one disk and a copy of that disk', { timeout: 60_000 }, async () => {
    await mount.umount();
    expect(await refused(copyVolume('twice', [mount.disks[0]!, place('copy-of-disk0')]), EXIT.foreign)).toMatch(/holds disk 0 .*where disk 1 .*is wanted/);
    await mount.mount();
    expect(await mount.sh('cat file')).toBe('original\n');
  });
});
