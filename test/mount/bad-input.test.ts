// What sdfs says to bad input: one line that tells what and what to do, a documented exit code, and nothing changed.
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { CLI, TestMount, USER } from '../support/mount.ts';
import type { RunResult } from '../support/programs.ts';

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)(`bad input${isRoot ? '' : ' (only root may mount)'}`, () => {
  let place: TestMount;
  const disk = (index: number): string => place.disks[index] ?? '';
  const disks = (): string[] => place.disks.flatMap((directory) => ['--disk', directory]);
  const init = (...args: string[]): Promise<RunResult> => place.sdfs('init', ...args, place.volume);

  beforeEach(async () => {
    place = await TestMount.create({ init: false });
  });
  afterEach(async () => {
    await place.destroy({ faults: true });
  });

  function expectRefusal(result: RunResult, exitCode: number, ...words: readonly string[]): void {
    expect({ code: result.code, stderr: result.stderr }).toEqual({ code: exitCode, stderr: expect.anything() as string });
    const lines = result.stderr.trim().split('\n');
    expect(lines, result.stderr).toHaveLength(1);
    for (const word of words) expect(lines[0]).toContain(word);
    expect(result.stderr).not.toMatch(/\n\s+at /);
  }

  async function expectNothingMade(): Promise<void> {
    expect((await readdir(place.root)).toSorted()).toEqual(['disk0', 'disk1', 'disk2', 'mnt']);
    for (const directory of place.disks) expect(await readdir(directory)).toEqual([]);
  }

  it('init refuses a disk directory that is missing', async () => {
    expectRefusal(await init('--disk', join(place.root, 'absent'), ...disks()), EXIT.notFound, 'absent', 'make it');
    await expectNothingMade();
  });

  it('init refuses a disk directory that holds something else', async () => {
    await writeFile(join(disk(1), 'precious'), 'x');
    expectRefusal(await init(...disks()), EXIT.foreign, disk(1), 'precious');
    expect(await readdir(disk(1))).toEqual(['precious']);
  });

  it('init refuses a disk that belongs to another volume', async () => {
    await place.mustSdfs('init', ...disks(), place.volume);
    const before = await readdir(disk(0));
    const result = await place.sdfs('init', '--disk', disk(0), join(place.root, 'second'));
    expectRefusal(result, EXIT.foreign, disk(0));
    expect(await readdir(disk(0))).toEqual(before);
    expect(await readdir(place.root)).not.toContain('second');
  });

  it('init refuses more copies than disks, and no copies', async () => {
    expectRefusal(await init(...disks(), '--copies', '4'), EXIT.usage, '4 copies', '3');
    expectRefusal(await init(...disks(), '--copies', '0'), EXIT.usage, '0');
    await expectNothingMade();
  });

  it('init refuses one directory twice, a file for a disk, and a block size that is none', async () => {
    await writeFile(join(place.root, 'mnt', 'file'), '');
    expectRefusal(await init('--disk', disk(0), '--disk', disk(0)), EXIT.usage, disk(0));
    expectRefusal(await init('--disk', place.path('file')), EXIT.usage, 'not a directory');
    expectRefusal(await init(...disks(), '--block-size', '12345'), EXIT.usage, '12345');
    await expectNothingMade();
  });

  it('init refuses a directory that cannot be written', async () => {
    const result = await place.run(process.execPath, [CLI, 'init', ...disks(), join(place.root, 'users')], USER);
    expectRefusal(result, EXIT.denied, place.root);
    await place.sh(`mount -t tmpfs -o ro,size=100m none ${disk(2)}`);
    try {
      expectRefusal(await init(...disks()), EXIT.denied, disk(2), 'read-only');
    } finally {
      await place.sh(`umount ${disk(2)}`);
    }
    await expectNothingMade();
  });

  it('init refuses a disk that is too small', async () => {
    await place.sh(`mount -t tmpfs -o size=16m none ${disk(2)}`);
    try {
      expectRefusal(await init(...disks()), EXIT.space, disk(2));
    } finally {
      await place.sh(`umount ${disk(2)}`);
    }
    await expectNothingMade();
  });

  it('mount refuses a volume that is not there, damaged, or of a newer version', async () => {
    expectRefusal(await place.sdfs('mount', '-d', place.volume, place.mountpoint), EXIT.notFound, place.volume, 'sdfs init');
    await place.mustSdfs('init', ...disks(), place.volume);
    const file = join(place.volume, 'sdfs-volume.json');
    const good = await readFile(file, 'utf8');
    await writeFile(file, good.slice(0, 100));
    expectRefusal(await place.sdfs('mount', '-d', place.volume, place.mountpoint), EXIT.damaged, file);
    await writeFile(file, good.replace(/"copies": *2/, '"copies": 3'));
    expectRefusal(await place.sdfs('mount', '-d', place.volume, place.mountpoint), EXIT.damaged, file, 'checksum');
    // Without its checksum it is what somebody wrote there.
    await writeFile(file, good.replace(/"version": *1/, '"version": 99').replace(/,\s*"crc": "\w+"/, ''));
    expectRefusal(await place.sdfs('mount', '-d', place.volume, place.mountpoint), EXIT.unsupported, '99', 'newer');
    await writeFile(file, good);
  });

  it('mount refuses a disk directory that is missing, and one of another volume', async () => {
    await place.mustSdfs('init', '--disk', disk(0), '--disk', disk(1), place.volume);
    await place.mustSdfs('init', '--disk', disk(2), '--copies', '1', join(place.root, 'other'));
    await place.sh(`mv ${disk(1)} ${disk(1)}.away && cp -a ${disk(2)} ${disk(1)}`, { cwd: '/' });
    const foreign = await place.sdfs('mount', '-d', place.volume, place.mountpoint);
    expect(foreign.code).not.toBe(0);
    expect(foreign.stderr).toContain(disk(1));
    expect(place.isMounted()).toBe(false);
  });

  it('mount refuses a mount point that is missing, is a file, or is taken', async () => {
    await place.mustSdfs('init', ...disks(), place.volume);
    await writeFile(join(place.root, 'file'), '');
    expectRefusal(await place.sdfs('mount', '-d', place.volume, join(place.root, 'no/such/place')), EXIT.notFound, 'no/such/place');
    expectRefusal(await place.sdfs('mount', '-d', place.volume, join(place.root, 'file')), EXIT.usage, 'not a directory');
    await place.mount();
    await place.mustSdfs('init', join(place.root, 'other'));
    expectRefusal(await place.sdfs('mount', '-d', join(place.root, 'other'), place.mountpoint), EXIT.busy, place.mountpoint);
    expect((await place.status()).health).toBe('good');
  });

  it('mount refuses options and arguments that it does not know', async () => {
    await place.mustSdfs('init', ...disks(), place.volume);
    expectRefusal(await place.sdfs('mount', '-d', '-o', 'nonsense', place.volume, place.mountpoint), EXIT.usage, 'nonsense');
    const unknown = await place.sdfs('mount', '--frobnicate', place.volume);
    expect([unknown.code, unknown.stderr.includes('--frobnicate')]).toEqual([EXIT.usage, true]);
    expect((await place.sdfs('frobnicate')).code).toBe(EXIT.usage);
    expect(place.isMounted()).toBe(false);
  });

  it('mount without root, and without /dev/fuse, says so', async () => {
    await place.mustSdfs('init', ...disks(), place.volume);
    await place.sh(`chmod -R a+rwX ${place.volume} ${place.disks.join(' ')}`);
    const user = await place.run(process.execPath, [CLI, 'mount', '-d', place.volume, place.mountpoint], { ...USER, env: { ...place.env, SDFS_RUN_DIR: join(place.root, 'run-user') } });
    expectRefusal(user, EXIT.denied, 'root');
    const bare = `mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && exec "$0" "$@"`;
    const without = await place.run('unshare', ['-m', 'sh', '-c', bare, process.execPath, CLI, 'mount', '-d', place.volume, place.mountpoint]);
    expectRefusal(without, EXIT.unsupported, '/dev/fuse');
    expect(place.isMounted()).toBe(false);
  });

  it('umount, status, sync and info refuse what is no mount', async () => {
    for (const command of ['umount', 'sync']) expectRefusal(await place.sdfs(command, place.mountpoint), EXIT.notFound, place.mountpoint);
    expectRefusal(await place.sdfs('status', join(place.root, 'nothing')), EXIT.notFound, 'nothing');
    expectRefusal(await place.sdfs('info', disk(0)), EXIT.usage, disk(0));
  });

  it('every command has a help', async () => {
    for (const command of [[], ['init'], ['mount'], ['umount'], ['status'], ['sync'], ['info']]) {
      const help = await place.sdfs(...command, '--help');
      expect([help.code, help.stdout.includes('Usage:')]).toEqual([0, true]);
    }
  });

  it('a full volume is ENOSPC, and works again when something was removed', { timeout: 120_000 }, async () => {
    for (const directory of place.disks) await place.sh(`mount -t tmpfs -o size=200m none ${directory}`);
    try {
      await place.mustSdfs('init', ...disks(), '--copies', '2', place.volume);
      await place.mount();
      const filled = await place.run('dd', ['if=/dev/zero', `of=${place.path('filler')}`, 'bs=1M', 'count=1000'], { timeoutMs: 60_000 });
      expect(filled.code).not.toBe(0);
      expect(filled.stderr).toContain('No space left on device');
      await place.sh('echo small >small || true; rm filler', { timeoutMs: 60_000 });
      await place.sh('for try in $(seq 60); do dd if=/dev/urandom of=again bs=1M count=20 status=none && exit 0; sleep 0.5; done; exit 1', { timeoutMs: 60_000 });
    } finally {
      await place.takeAway();
      for (const directory of place.disks) await place.run('umount', ['-l', directory]);
    }
  });
});
