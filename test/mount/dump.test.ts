// sdfs dump and load on real volumes: a round trip, all metadata lost, newer metadata, and what came after the dump.
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { StatusReport } from '../../src/control/api.ts';
import { describeOnMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';
import type { TestMount } from '../support/mount.ts';

/** Everything that says what the blocks are: of the driver, its journal, and of each disk. */
async function loseAllMetadata(mount: TestMount): Promise<void> {
  await rm(join(mount.volume, 'driver'), { recursive: true, force: true });
  for (const disk of mount.disks) for (const name of ['checkpoint', 'log']) await rm(join(disk, name), { recursive: true, force: true });
}

describeOnMount('sdfs dump and sdfs load', { faults: true }, (mount) => {
  it('bring all files back as of the dump when all metadata is lost, and keep what came later until gc', { timeout: 240_000 }, async () => {
    const large = randomBytes(5 * 2 ** 20);
    await writeFile(mount().path('large'), large);
    await mount().sh('mkdir -p a/b; echo small > a/b/small; ln a/b/small twice; ln -s a/b link; echo x > "$(printf "bad\\377name")"; touch empty; chmod 640 empty');
    const listing = await mount().sh('find . -printf "%p %y %m %n %s %T@\\n" | sort');
    const dump = join(mount().root, 'dump.gz');
    await mount().mustSdfs('dump', '-o', dump, mount().mountpoint);
    await writeFile(mount().path('later'), randomBytes(2 ** 20));
    await mount().umount();

    const refused = await mount().sdfs('load', dump, mount().volume);
    expect(refused.code).toBe(6);
    expect(refused.stderr).toContain('would be lost');

    await loseAllMetadata(mount());
    expect((await mount().sdfs('mount', '-d', mount().volume, mount().mountpoint)).code).toBe(8);
    await mount().mustSdfs('load', dump, mount().volume);
    expect((await mount().sdfs('fsck', mount().volume)).code).toBe(0);
    await mount().mount();
    expect(await mount().sh('find . -printf "%p %y %m %n %s %T@\\n" | sort')).toBe(listing);
    expect((await readFile(mount().path('large'))).equals(large)).toBe(true);
    expect(await mount().sh('cat twice link/small')).toBe('small\nsmall\n');

    // New blocks must not get the ids of those that the dump does not know.
    await writeFile(mount().path('new'), randomBytes(2 ** 20));
    const garbage = async (): Promise<number> => (JSON.parse(await mount().mustSdfs('gc', '--dry-run', '--json', mount().mountpoint)) as { garbageCopies: number }).garbageCopies;
    expect(await garbage()).toBeGreaterThan(0);
    expect(((await mount().status()) as StatusReport).upkeep?.reconcile.garbageHeld).toBe(true);
    await mount().mustSdfs('gc', mount().mountpoint);
    expect(await garbage()).toBe(0);
    expect((await readFile(mount().path('large'))).equals(large)).toBe(true);
    expect((await mount().sdfs('fsck', mount().mountpoint)).code).toBe(0);
  });

  it('restore a volume directory that is lost too', { timeout: 120_000 }, async () => {
    const before = await readdir(mount().mountpoint);
    const dump = join(mount().root, 'whole');
    await mount().mustSdfs('dump', '--output', dump, mount().mountpoint);
    await mount().umount();
    await rm(mount().volume, { recursive: true });
    for (const disk of mount().disks) for (const name of ['checkpoint', 'log']) await rm(join(disk, name), { recursive: true, force: true });
    await mount().mustSdfs('load', dump, mount().volume);
    await mount().mount();
    expect(await readdir(mount().mountpoint)).toEqual(before);
  });

  it('replace newer metadata only by force, and nothing at all by a damaged or newer dump, or under a mount', { timeout: 120_000 }, async () => {
    const dump = join(mount().root, 'first');
    await mount().mustSdfs('dump', '-o', dump, mount().mountpoint);
    const text = await readFile(dump, 'utf8');
    await writeFile(`${dump}.cut`, text.slice(0, text.length / 2));
    await writeFile(`${dump}.newer`, text.replace('"version":1', '"version":7'));
    expect((await mount().sdfs('load', '--force', dump, mount().volume)).code).toBe(4);
    await writeFile(mount().path('later'), 'x');
    await mount().umount();
    expect((await mount().sdfs('load', '--force', `${dump}.cut`, mount().volume)).code).toBe(8);
    expect((await mount().sdfs('load', '--force', `${dump}.newer`, mount().volume)).code).toBe(9);
    expect((await mount().sdfs('load', dump, mount().volume)).code).toBe(6);
    await mount().mount();
    expect(await readdir(mount().mountpoint)).toContain('later');
    await mount().umount();
    await mount().mustSdfs('load', '--force', dump, mount().volume);
    await mount().mount();
    expect(await readdir(mount().mountpoint)).not.toContain('later');
  });

  it('write a dump of one moment while files come and go', { timeout: 120_000 }, async () => {
    let going = true;
    const load = (async () => {
      for (let round = 0; going; round++) await mount().sh(`mkdir -p busy${round}; for i in 1 2 3 4 5 6 7 8 9; do echo $i > busy${round}/$i; done; rm -rf busy${round - 2}`);
    })();
    const dump = join(mount().root, 'busy');
    try {
      await mount().mustSdfs('dump', '-o', dump, mount().mountpoint);
    } finally {
      going = false;
      await load;
    }
    await mount().umount();
    await mount().mustSdfs('load', '--force', dump, mount().volume);
    // Files that were removed after the dump have lost their blocks; the metadata itself is whole.
    expect((await mount().sdfs('fsck', '--no-copies', mount().volume)).code).toBe(0);
    await mount().mount();
  });
});

describeOnMount('backups of the metadata on the disks', { faults: true, mountOptions: 'dumps=1s' }, (mount) => {
  it('are written by themselves when something has changed, are shown, and bring everything back', { timeout: 120_000 }, async () => {
    const dumpOf = async (disk: string): Promise<string | undefined> => (await readdir(join(disk, 'dumps')).catch(() => [])).find((name) => name.endsWith('.jsonl.gz'));
    await mount().sh('mkdir a; echo one > a/one');
    await mount().mustSdfs('sync', mount().mountpoint);
    const status = async () => (await mount().status()).dumps?.last ?? undefined;
    await until('a backup on all disks', async () => ((await status())?.disks.length ?? 0) === 3);
    const before = (await status())!.sequence;
    await mount().sh('echo two > a/two');
    await mount().mustSdfs('sync', mount().mountpoint);
    await until('the next backup', async () => (await status())!.sequence > before && (await mount().status()).pendingBytes === 0);
    // Whatever the last backup missed of the second file is in the next one.
    const seen = (await status())!.sequence;
    await mount().sh('touch a/three');
    await until('another backup', async () => (await status())!.sequence > seen);
    for (const disk of mount().disks) expect((await readdir(join(disk, 'dumps'))).filter((name) => name.endsWith('.gz'))).toHaveLength(1);
    await mount().umount();
    await loseAllMetadata(mount());
    const dump = await dumpOf(mount().disks[1]!);
    await mount().mustSdfs('load', join(mount().disks[1]!, 'dumps', dump!), mount().volume);
    await mount().mount();
    expect(await mount().sh('cat a/one')).toBe('one\n');
    expect(await mount().sh('cat a/two')).toBe('two\n');
  });
});
