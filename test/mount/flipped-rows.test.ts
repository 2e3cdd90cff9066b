// Bits that flip in the metadata, where LMDB itself notices nothing: in the driver's database, while nobody has it open after
// everything was killed and under a driver that uses it, and in the copy on a disk.
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DriverUpkeep } from '../../src/control/api.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

const rowsOf = (mount: TestMount): string => join(mount.volume, 'driver', 'rows', 'data.mdb');

/** Flips a bit of every copy of these bytes in a file. The kernel shows it at once to who has mapped the file. */
async function flip(path: string, text: string): Promise<number> {
  const file = await open(path, 'r+');
  const bytes = await file.readFile();
  let found = 0;
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
    await file.write(Buffer.of(bytes[at + 3]! ^ 1), 0, 1, at + 3);
    found++;
  }
  await file.close();
  return found;
}

const names = async (mount: TestMount): Promise<string[]> => (await readdir(mount.mountpoint)).toSorted();

describeOnMount('a bit that flips in the rows', { disks: 2, faults: true }, (mount) => {
  it('is found by the mount after everything was killed, and the disks have the row', { timeout: 90_000 }, async () => {
    for (const name of ['first-name', 'second-name', 'third-name']) await writeFile(mount().path(name), name);
    await mount().mustSdfs('sync', mount().mountpoint);
    await writeFile(mount().path('not-synced'), 'but acknowledged');
    await until('the row is in the file', async () => (await readFile(rowsOf(mount()))).includes('second-name'));
    await mount().killEverything();
    expect(await flip(rowsOf(mount()), 'second-name')).toBeGreaterThan(0);
    await mount().mount();
    expect(await names(mount())).toEqual(['first-name', 'not-synced', 'second-name', 'third-name']);
    expect(await readFile(mount().path('second-name'), 'utf8')).toBe('second-name');
    expect(await readFile(mount().path('not-synced'), 'utf8')).toBe('but acknowledged');
  });

  it('under a living driver is found by who reads the row, and a successor answers', { timeout: 90_000 }, async () => {
    await writeFile(mount().path('last-name'), 'is safe');
    await mount().mustSdfs('sync', mount().mountpoint);
    const [driver] = await mount().pids('driver');
    await until('another driver', async () => {
      // All rows here share a page: while a change of any of them waits to be committed, the driver reads its own copy of it.
      await new Promise((resolve) => { setTimeout(resolve, 2500); });
      await flip(rowsOf(mount()), 'last-name');
      // The kernel has the listing.
      await mount().sh('echo 2 > /proc/sys/vm/drop_caches');
      expect(await names(mount())).toContain('last-name');
      return (await mount().pids('driver')).some((pid) => pid !== driver);
    }, 60_000);
    expect(await names(mount())).toEqual(['first-name', 'last-name', 'not-synced', 'second-name', 'third-name']);
    await mount().untilReady();
    await mount().mustSdfs('fsck', mount().mountpoint);
  });
});

describeOnMount('a bit that flips in the copy of the metadata on a disk', { disks: 2, faults: true }, (mount) => {
  it('is found by a scrub, which has it made anew', { timeout: 120_000 }, async () => {
    await writeFile(mount().path('name-on-a-disk'), 'as well');
    await mount().mustSdfs('sync', mount().mountpoint);
    const checkpoint = join(mount().disks[1]!, 'checkpoint');
    const database = async (): Promise<string> => join(checkpoint, (await readdir(checkpoint)).find((name) => name.startsWith('g'))!, 'data.mdb');
    const scrub = async (): Promise<DriverUpkeep['scrub']['last']> => (JSON.parse(await mount().mustSdfs('scrub', '--wait', '--json', mount().mountpoint)) as DriverUpkeep['scrub']).last;
    let found = await scrub();
    // A page that the disk writes anew just then has the row as it was.
    for (let round = 0; round < 10 && found?.damagedMetadataCopies === 0; round++) {
      await until('the disk has the row in its checkpoint', async () => (await flip(await database(), 'name-on-a-disk')) > 0);
      found = await scrub();
    }
    expect(found).toMatchObject({ metadataCopies: 2, damagedMetadataCopies: 1 });
    await mount().untilReady();
    expect(await scrub()).toMatchObject({ metadataCopies: 2, damagedMetadataCopies: 0 });
    expect((await readFile(await database())).includes('name-on-a-disk')).toBe(true);
    await mount().mustSdfs('fsck', mount().mountpoint);
  });
});
