// sdfs fsck on real volumes: mounted under load, not mounted, damaged, and in use by somebody else.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { FsckAnswer } from '../../src/control/api.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { decodeEntry, decodeExtents, decodeInode, encodeInode, keys } from '../../src/metadata/schema.ts';
import { damageVolume } from '../support/damage.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';

const ROOT = 1 as InodeNumber;

async function fsck(mount: TestMount, target: string, ...options: string[]): Promise<{ code: number | null; answer: FsckAnswer }> {
  const { code, stdout, stderr } = await mount.sdfs('fsck', '--json', ...options, target);
  if (stdout === '') throw new Error(stderr);
  return { code, answer: JSON.parse(stdout) as FsckAnswer };
}

describeOnMount('sdfs fsck', { faults: true }, (mount) => {
  it('finds nothing wrong on a mount while programs make, change and remove files', { timeout: 120_000 }, async () => {
    let going = true;
    const load = (async () => {
      for (let round = 0; going; round++) {
        await mkdir(mount().path(`busy${round}`));
        for (let number = 0; number < 20; number++) await writeFile(mount().path(`busy${round}`, `file${number}`), randomBytes(10_000));
        await mount().sh(`rm -rf busy${round - 2}`);
      }
    })();
    try {
      for (let look = 0; look < 3; look++) {
        const { answer } = await fsck(mount(), mount().mountpoint, '--no-copies');
        expect(answer.findings).toEqual([]);
      }
    } finally {
      going = false;
      await load;
    }
    expect((await mount().sdfs('fsck', mount().mountpoint)).code).toBe(0);
  });

  it('finds damage in a volume that is not mounted, changes nothing unless asked to, and repairs it', { timeout: 180_000 }, async () => {
    const content = randomBytes(3 * 2 ** 20);
    await writeFile(mount().path('kept'), content);
    await writeFile(mount().path('nameless'), content);
    await mount().sh('mkdir -p a/b && echo deep > a/b/file');
    await mount().umount();
    let nameless = 0;
    await damageVolume(mount().volume, (tx) => {
      const at = (name: string) => ({ key: keys.entry(ROOT, Buffer.from(name)), entry: decodeEntry(tx.get(keys.entry(ROOT, Buffer.from(name)))!) });
      const { key, entry } = at('nameless');
      nameless = entry.inode;
      tx.delete(key);
      tx.delete(keys.listing(ROOT, entry.cookie));
      const kept = at('kept').entry.inode;
      tx.put(keys.inode(kept), encodeInode({ ...decodeInode(kept, tx.get(keys.inode(kept))!), links: 7 }));
      // Its copies are on the disks: it can be known again.
      const [extent] = decodeExtents(tx.get(keys.extents(kept, 1)));
      tx.delete(keys.block(extent!.block));
    });
    for (let look = 0; look < 2; look++) {
      const { code, answer } = await fsck(mount(), mount().volume);
      expect(code).toBe(8);
      expect(answer.findings.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['directorySize', 'unnamed', 'linkCount', 'blockMissing']));
      expect(answer.findings.find(({ kind }) => kind === 'linkCount')!.examples[0]!.paths).toEqual(['/kept']);
      expect(answer.findings.every(({ repaired }) => repaired === 0)).toBe(true);
    }
    const repaired = await fsck(mount(), mount().volume, '--repair');
    expect(repaired.answer.left.filter(({ note }) => !note)).toEqual([]);
    expect(repaired.code).toBe(11);
    expect((await mount().sdfs('fsck', mount().volume)).code).toBe(0);
    await mount().mount();
    expect((await readFile(mount().path('kept'))).equals(content)).toBe(true);
    expect(await readdir(mount().path('lost+found'))).toEqual([String(nameless)]);
    expect((await readFile(mount().path('lost+found', String(nameless)))).equals(content)).toBe(true);
    expect((await mount().sdfs('fsck', mount().mountpoint)).code).toBe(0);
  });

  it('is refused politely while somebody else has the volume', { timeout: 60_000 }, async () => {
    await mount().umount();
    const holder = spawn('flock', [join(mount().volume, 'lock'), 'sh', '-c', 'echo held; sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
    try {
      await new Promise((resolve) => holder.stdout.once('data', resolve));
      const { code, stderr } = await mount().sdfs('fsck', mount().volume);
      expect(stderr).toMatch(/mounted already|in use/);
      expect(code).toBe(4);
    } finally {
      process.kill(-holder.pid!, 'SIGKILL');
    }
    await mount().mount();
  });
});
