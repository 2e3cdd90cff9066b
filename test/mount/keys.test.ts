// The keys of a mounted volume, beside its files: kept through kills and remounts, checked, dumped, and named when they are lost.
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { FsckAnswer, UpkeepAnswer } from '../../src/control/api.ts';
import { KEY_AREAS, decodeKeyRecord, expiryRowKey, keyCountName, keyRowKey } from '../../src/metadata/key-rows.ts';
import { encodeNumber, keys } from '../../src/metadata/schema.ts';
import { damageVolume } from '../support/damage.ts';
import { flipWhereFound } from '../support/flip-blocks.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

const MiB = 2 ** 20;
const RIDING = randomBytes(4000).toString('hex');

const kv = (mount: TestMount, command: string, ...words: string[]): Promise<string> => mount.mustSdfs('kv', command, '--mount', mount.mountpoint, ...words);

/** One key of each kind: in its row, riding in the log, in blocks, and one that expires. Resolves with the large value. */
async function setKeys(mount: TestMount): Promise<Buffer> {
  const large = randomBytes(2 * MiB + 5000);
  await writeFile(join(mount.root, 'large'), large);
  await kv(mount, 'set', 'small', 'value');
  await kv(mount, 'set', 'riding', RIDING);
  await kv(mount, 'set', 'large', '--file', join(mount.root, 'large'));
  await kv(mount, 'set', 'later', 'value', '--ttl', '1h');
  return large;
}

async function expectKeys(mount: TestMount, large: Buffer): Promise<void> {
  expect(await kv(mount, 'ls')).toBe('large\nlater\nriding\nsmall\n');
  expect(await kv(mount, 'get', 'riding')).toBe(RIDING);
  await kv(mount, 'get', 'large', '-o', join(mount.root, 'copy'));
  expect((await readFile(join(mount.root, 'copy'))).equals(large)).toBe(true);
}

async function expectNothingWrong(mount: TestMount): Promise<void> {
  await mount.mustSdfs('sync', mount.mountpoint);
  await until('nothing is on the way', async () => (await mount.status()).pendingBytes === 0, 30_000);
  expect(JSON.parse(await mount.mustSdfs('gc', '--dry-run', '--json', mount.mountpoint))).toMatchObject({ garbageCopies: 0, unreadableBlocks: 0 });
  const { code, stdout } = await mount.sdfs('fsck', mount.mountpoint);
  expect([code, stdout]).toEqual([0, expect.stringMatching(/files and directories, 4 keys, \d+ blocks/)]);
}

async function loseAllMetadata(mount: TestMount): Promise<void> {
  await rm(join(mount.volume, 'driver'), { recursive: true, force: true });
  for (const disk of mount.disks) for (const name of ['checkpoint', 'log']) await rm(join(disk, name), { recursive: true, force: true });
}

describeOnMount('keys of a mounted volume', { faults: true }, (mount) => {
  it('lie beside its files, survive kills of the driver and remounts, and are no garbage', { timeout: 240_000 }, async () => {
    const large = await setKeys(mount());
    await writeFile(mount().path('file'), large);
    await mount().kill('driver');
    expect(await kv(mount(), 'get', 'small')).toBe('value');
    await expectKeys(mount(), large);
    expect(await readdir(mount().mountpoint)).toEqual(['file']);
    await expectNothingWrong(mount());
    // The directory of the volume leads to the process that has it open, and opens it when there is none.
    expect(await mount().mustSdfs('kv', 'get', '--store', mount().volume, 'small')).toBe('value');
    await mount().umount();
    expect(await mount().mustSdfs('kv', 'get', '--store', mount().volume, 'small')).toBe('value');
    await mount().mount();
    await expectKeys(mount(), large);
    expect((await readFile(mount().path('file'))).equals(large)).toBe(true);
    await expectNothingWrong(mount());
  });

  it('are checked and repaired by fsck, and nothing of them is forgotten', { timeout: 240_000 }, async () => {
    const large = await setKeys(mount());
    await mount().umount();
    await damageVolume(mount().volume, (tx) => {
      const row = (name: string) => keyRowKey(KEY_AREAS.keys, Buffer.from(name));
      const [first] = decodeKeyRecord(tx.get(row('large'))!).blocks;
      tx.delete(keys.block(first!.block));
      const { expiresMs } = decodeKeyRecord(tx.get(row('later'))!);
      tx.delete(expiryRowKey(KEY_AREAS.keys, expiresMs, Buffer.from('later')));
      tx.put(keys.bookkeeping(keyCountName(KEY_AREAS.keys)), encodeNumber(99));
    });
    const found = await mount().sdfs('fsck', '--json', '--no-copies', mount().volume);
    expect(found.code).toBe(8);
    const { findings } = JSON.parse(found.stdout) as FsckAnswer;
    expect(findings.map(({ kind }) => kind).toSorted()).toEqual(['blockMissing', 'keyCount', 'keyExpiry']);
    expect(findings.find(({ kind }) => kind === 'blockMissing')!.examples[0]!.detail).toContain('the key "large"');
    expect((await mount().sdfs('fsck', '--repair', mount().volume)).code).toBe(11);
    await mount().mount();
    await expectKeys(mount(), large);
    expect(JSON.parse(await kv(mount(), 'stat', '--json'))).toMatchObject({ keys: 4 });
    await expectNothingWrong(mount());
  });

  it('come back from a dump, and no version of after it comes twice', { timeout: 240_000 }, async () => {
    const large = await setKeys(mount());
    const dump = join(mount().root, 'dump.gz');
    await mount().mustSdfs('dump', '-o', dump, mount().mountpoint);
    const { version } = JSON.parse(await kv(mount(), 'set', 'after', 'value', '--json')) as { version: number };
    await mount().umount();
    await loseAllMetadata(mount());
    await mount().mustSdfs('load', dump, mount().volume);
    await mount().mount();
    await expectKeys(mount(), large);
    expect((JSON.parse(await kv(mount(), 'set', 'after', 'value', '--json')) as { version: number }).version).toBeGreaterThan(version);
    await kv(mount(), 'del', 'after');
    await mount().mustSdfs('gc', mount().mountpoint);
    await expectNothingWrong(mount());
    await expectKeys(mount(), large);
  });

  it('are named when their bytes are lost, and the other bytes are there', { timeout: 240_000 }, async () => {
    const large = await setKeys(mount());
    await mount().mustSdfs('sync', mount().mountpoint);
    expect(await flipWhereFound(mount().disks, large.subarray(MiB + 100_000, MiB + 100_064))).toBe(2);
    await mount().sdfs('scrub', '--wait', mount().mountpoint);
    const { code, stdout } = await mount().sdfs('scrub', '--files', '--json', mount().mountpoint);
    expect({ code, ...(JSON.parse(stdout) as UpkeepAnswer['damaged']) }).toMatchObject({ code: 8, files: [{ key: 'large', ranges: [{ offset: MiB, bytes: MiB }] }] });
    expect((await mount().sdfs('scrub', '--files', mount().mountpoint)).stdout).toContain('key "large"');
    await mount().sh('echo 3 > /proc/sys/vm/drop_caches');
    expect(await mount().sdfs('kv', 'get', '--mount', mount().mountpoint, 'large', '-o', join(mount().root, 'copy'))).toMatchObject({ code: 10 });
    expect(await kv(mount(), 'get', 'riding')).toBe(RIDING);
    await kv(mount(), 'del', 'large');
  });
});
