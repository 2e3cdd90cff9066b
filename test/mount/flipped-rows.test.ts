// Bits that flip in the driver's database, where LMDB itself notices nothing: while nobody has it open after everything was
// killed, and under a driver that uses it.
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

/** Flips a bit of every copy of these bytes in the file of the rows. The kernel shows it at once to who has mapped the file. */
async function flip(mount: TestMount, text: string): Promise<number> {
  const file = await open(join(mount.volume, 'driver', 'rows', 'data.mdb'), 'r+');
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

describeOnMount('a bit that flips in the rows of the driver', { disks: 2, faults: true }, (mount) => {
  it('is found by the mount after everything was killed, and the disks have the row', { timeout: 90_000 }, async () => {
    for (const name of ['first-name', 'second-name', 'third-name']) await writeFile(mount().path(name), name);
    await mount().mustSdfs('sync', mount().mountpoint);
    await writeFile(mount().path('not-synced'), 'but acknowledged');
    await mount().killEverything();
    expect(await flip(mount(), 'second-name')).toBeGreaterThan(0);
    await mount().mount();
    expect(await names(mount())).toEqual(['first-name', 'not-synced', 'second-name', 'third-name']);
    expect(await readFile(mount().path('second-name'), 'utf8')).toBe('second-name');
    expect(await readFile(mount().path('not-synced'), 'utf8')).toBe('but acknowledged');
  });

  it('under a living driver is found by who reads the row, and a successor answers', { timeout: 90_000 }, async () => {
    await writeFile(mount().path('last-name'), 'is safe');
    await mount().mustSdfs('sync', mount().mountpoint);
    const [driver] = await mount().pids('driver');
    // What is not in the file yet is there within a second.
    await until('the row is in the file', async () => (await flip(mount(), 'last-name')) > 0);
    expect(await names(mount())).toContain('last-name');
    await until('another driver', async () => (await mount().pids('driver')).some((pid) => pid !== driver));
    expect(await names(mount())).toEqual(['first-name', 'last-name', 'not-synced', 'second-name', 'third-name']);
    await mount().untilReady();
    await mount().mustSdfs('fsck', mount().mountpoint);
  });
});
