// Disks that come and go while programs use the volume.
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { DiskReport } from '../../src/control/api.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

async function disk(mount: TestMount, worker: number): Promise<DiskReport | undefined> {
  return (await mount.status()).disks.find((candidate) => candidate.worker === worker);
}

async function numbers(mount: TestMount): Promise<number[]> {
  return (await mount.status()).disks.map(({ worker }) => worker);
}

function newDirectory(mount: TestMount, name: string): string {
  const directory = join(mount.root, name);
  mkdirSync(directory);
  return directory;
}

const sums = (mount: TestMount): Promise<string> => mount.sh('md5sum big*', { timeoutMs: 60_000 });

describeOnMount('the disks of a mounted volume', { disks: 3, faults: true }, (mount) => {
  let before = '';

  it('are listed, mounted or not', async () => {
    await mount().sh('for i in 1 2 3 4 5 6; do head -c 3000000 /dev/urandom > big$i; done; sync big6', { timeoutMs: 60_000 });
    before = await sums(mount());
    expect(await mount().mustSdfs('disk', 'list')).toMatch(/0 +ready .*\n1 +ready .*\n2 +ready /);
  });

  it('take a new one in, which gets its share', { timeout: 60_000 }, async () => {
    await mount().mustSdfs('disk', 'add', newDirectory(mount(), 'disk3'));
    await until('blocks on the new disk', async () => ((await disk(mount(), 3))?.blockCount ?? 0) > 0, 40_000);
    await until('the new disk counts', async () => (await disk(mount(), 3))?.member === true, 40_000);
    expect(await sums(mount())).toBe(before);
  });

  it('refuse a directory that is a disk already, lies in one, or is not empty', async () => {
    for (const directory of [mount().disks[0]!, join(mount().disks[0]!, 'blocks'), mount().volume]) {
      expect([EXIT.foreign, EXIT.usage]).toContain((await mount().sdfs('disk', 'add', directory)).code);
    }
    expect(await numbers(mount())).toEqual([0, 1, 2, 3]);
  });

  it('do not let one go that is needed', async () => {
    const { code, stderr } = await mount().sdfs('disk', 'remove', '0');
    expect({ code, stderr }).toEqual({ code: EXIT.busy, stderr: expect.stringMatching(/still needed: \d+ blocks are on it/) });
  });

  it('let one go that was drained, under load, and no program sees it', { timeout: 120_000 }, async () => {
    const script = new URL('../support/load.mjs', import.meta.url).pathname;
    const journal = join(mount().root, 'journal');
    const load = mount().run(process.execPath, [script, 'run', mount().path('load'), journal, '15', '1'], { timeoutMs: 120_000 });
    await until('the load has begun', async () => (await readdir(mount().mountpoint)).includes('load'));
    await mount().mustSdfs('disk', 'drain', '--wait', mount().disks[0]!);
    await mount().mustSdfs('disk', 'remove', '0');
    rmSync(mount().disks[0]!, { recursive: true });
    const { code, stderr } = await load;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await numbers(mount())).toEqual([1, 2, 3]);
    expect(await sums(mount())).toBe(before);
    await mount().script('load.mjs', ['verify', mount().path('load'), journal], { timeoutMs: 60_000 });
  });

  it('do not let so many go that copies have no place', async () => {
    await mount().mustSdfs('disk', 'drain', '1');
    const { code, stderr } = await mount().sdfs('disk', 'drain', '2');
    expect({ code, stderr }).toEqual({ code: EXIT.usage, stderr: expect.stringContaining('add another disk first') });
    await mount().mustSdfs('disk', 'drain', '--undo', '1');
  });

  it('can be replaced', { timeout: 90_000 }, async () => {
    await mount().mustSdfs('disk', 'replace', '--wait', '2', newDirectory(mount(), 'disk4'));
    await mount().mustSdfs('disk', 'remove', '2');
    expect(await numbers(mount())).toEqual([1, 3, 4]);
    expect(await sums(mount())).toBe(before);
  });

  it('can be replaced when one is lost', { timeout: 150_000 }, async () => {
    const lost = (await disk(mount(), 4))!;
    const pid = (await mount().status()).processes.find(({ worker }) => worker === 4)!.pid!;
    renameSync(lost.directory, `${lost.directory}.broken`);
    process.kill(pid, 'SIGKILL');
    await until('it is away', async () => (await disk(mount(), 4))?.state !== 'ready', 20_000);
    await mount().mustSdfs('disk', 'replace', '4', newDirectory(mount(), 'disk5'));
    await until('it is not needed any more', async () => (await mount().sdfs('disk', 'remove', '4')).code === 0, 120_000);
    await until('all is well again', async () => (await mount().status()).health === 'good', 60_000);
    expect(await numbers(mount())).toEqual([1, 3, 5]);
    expect(await sums(mount())).toBe(before);
  });

  it('are known to a volume file that is out of date, since each of them knows the others', { timeout: 60_000 }, async () => {
    await mount().umount();
    const file = join(mount().volume, 'sdfs-volume.json');
    const { crc: _crc, ...description } = JSON.parse(readFileSync(file, 'utf8')) as { crc: unknown; generation: number; disks: { worker: number }[] };
    await mount().sh(`cat > ${file}`, { cwd: mount().root, input: JSON.stringify({ ...description, generation: description.generation - 1, disks: description.disks.slice(0, 2) }) });
    await rm(join(mount().volume, 'driver'), { recursive: true });
    await mount().mount();
    expect(await numbers(mount())).toEqual([1, 3, 5]);
    expect(await sums(mount())).toBe(before);
  });
});
