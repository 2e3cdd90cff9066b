// sdfs fsck on real volumes: mounted under load, not mounted, damaged, and in use by somebody else.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { FsckAnswer } from '../../src/control/api.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { BOOKKEEPING, TYPE, decodeEntry, decodeExtents, decodeInode, encodeInode, keys, numberOfKey } from '../../src/metadata/schema.ts';
import { damageVolume } from '../support/damage.ts';
import { CLI, describeOnMount } from '../support/mount.ts';
import { delay, until } from '../support/programs.ts';
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

  it('runs, and the volume mounts, when the bookkeeping of the metadata is damaged', { timeout: 180_000 }, async () => {
    await mount().umount();
    await damageVolume(mount().volume, (tx) => {
      for (const name of Object.values(BOOKKEEPING)) tx.put(keys.bookkeeping(name), Buffer.from('not what it was'));
    });
    const { code, answer } = await fsck(mount(), mount().volume, '--repair');
    expect(answer.left.filter(({ note }) => !note)).toEqual([]);
    expect([0, 11]).toContain(code);
    expect(answer.sums.setAside).toBeGreaterThanOrEqual(3);
    await mount().mount();
    const before = new Set(await Promise.all((await readdir(mount().mountpoint)).map(async (entry) => (await stat(mount().path(entry))).ino)));
    await writeFile(mount().path('made-after'), randomBytes(300_000));
    expect(before.has((await stat(mount().path('made-after'))).ino)).toBe(false);
    expect((await mount().status()).upkeep?.reconcile.garbageHeld).toBe(true);
    expect((await mount().sdfs('fsck', mount().mountpoint)).code).toBe(0);
  });

  it('killed in the middle of a repair leaves nothing that the next one does not repair', { timeout: 180_000 }, async () => {
    await mount().sh('mkdir many; for n in $(seq 300); do echo $n > many/$n; done');
    await mount().umount();
    await damageVolume(mount().volume, (tx, reader) => {
      for (const [key, value] of reader.range(Buffer.of(TYPE.inode), Buffer.of(TYPE.inode + 1), 1000)) {
        const inode = decodeInode(numberOfKey(key) as InodeNumber, value);
        if (inode.mode >>> 12 === 8) tx.put(key, encodeInode({ ...inode, links: 5, allocatedBytes: 77 }));
      }
    });
    for (const afterMs of [600, 900, 1200]) {
      const running = spawn(process.execPath, [CLI, 'fsck', '--repair', mount().volume], { env: { ...process.env, ...mount().env }, stdio: 'ignore', detached: true });
      const ended = new Promise((resolve) => { running.once('exit', resolve); });
      await delay(afterMs);
      if (running.exitCode === null) process.kill(-running.pid!, 'SIGKILL');
      await ended;
    }
    await until('the volume is free', async () => (await mount().sdfs('fsck', '--repair', '--no-copies', mount().volume)).code !== 4, 60_000);
    // Workers that were forked and had no orders yet do not see their keeper go, and wait for orders for a while.
    await until('the workers of those that were killed have ended', () => mount().serving().length === 0, 2 * LIMITS.workerOrdersMs);
    expect((await fsck(mount(), mount().volume)).code).toBe(0);
    await mount().mount();
    expect(await mount().sh('cat many/* | sort -n | tail -1')).toMatch(/^300\s*$/);
  });

  it('repairs on a mount under load, and the load finds its files', { timeout: 180_000 }, async () => {
    await mount().umount();
    await damageVolume(mount().volume, (tx, reader) => {
      for (const [key, value] of reader.range(Buffer.of(TYPE.inode), Buffer.of(TYPE.inode + 1), 1000)) {
        const inode = decodeInode(numberOfKey(key) as InodeNumber, value);
        if (inode.mode >>> 12 === 8) tx.put(key, encodeInode({ ...inode, links: 3 }));
      }
    });
    await mount().mount();
    let going = true;
    const load = (async () => {
      for (let round = 0; going; round++) {
        const bytes = randomBytes(9_000);
        await writeFile(mount().path(`load${round}`), bytes);
        await mount().sh(`ln load${round} link${round}; mv load${round} moved${round}; rm -f link${round - 3}`);
        expect((await readFile(mount().path(`moved${round}`))).equals(bytes)).toBe(true);
      }
    })();
    try {
      const { code, answer } = await fsck(mount(), mount().mountpoint, '--repair', '--no-copies');
      expect(answer.left.filter(({ note }) => !note)).toEqual([]);
      expect(code).toBe(11);
    } finally {
      going = false;
      await load;
    }
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
