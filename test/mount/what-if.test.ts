// sdfs disk what-if on a real mount: what it says would be lost is what is on no other disk, with drained and failed disks too.
import { rename, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import type { DriverFileInfo, WhatIfAnswer } from '../../src/control/api.ts';
import { EXIT } from '../../src/base/errors.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

const MiB = 2 ** 20;

async function whatIf(mount: TestMount, ...lose: number[]): Promise<{ code: number | null; answer: WhatIfAnswer }> {
  const { code, stdout, stderr } = await mount.sdfs('disk', 'what-if', '--json', '--volume', mount.mountpoint, '--lose', ...lose.map(String));
  if (stdout === '') throw new Error(stderr);
  return { code, answer: JSON.parse(stdout) as WhatIfAnswer };
}

/** Bytes of a file that these disks alone have. */
async function onlyOn(mount: TestMount, name: string, disks: readonly number[]): Promise<number> {
  const info = JSON.parse(await mount.mustSdfs('info', '--json', mount.path(name))) as DriverFileInfo;
  const lost = info.extents.filter(({ copies }) => copies.every(({ worker, state }) => state !== 'good' || disks.includes(worker)));
  return lost.reduce((sum, { bytes }) => sum + bytes, 0);
}

describeOnMount('sdfs disk what-if', { disks: 4, faults: true }, (mount) => {
  it('says that nothing is lost with one disk, and names the files that are lost with two', { timeout: 120_000 }, async () => {
    await writeFile(mount().path('large'), randomBytes(12 * MiB));
    await mount().mustSdfs('sync', mount().mountpoint);
    const one = await whatIf(mount(), 1);
    expect(one.code).toBe(EXIT.ok);
    expect(one.answer).toMatchObject({ lost: { blocks: 0, files: [] }, unreadable: { blocks: 0 }, mountRefusal: null, room: { disks: 3, enough: true } });
    expect(one.answer.fewer.blocks).toBeGreaterThan(0);
    expect(one.answer.room.neededBytes).toBe(one.answer.fewer.bytes);
    let lostSomewhere = 0;
    for (const pair of [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] as const) {
      const { code, answer } = await whatIf(mount(), ...pair);
      const bytes = await onlyOn(mount(), 'large', pair);
      lostSomewhere += bytes;
      const told = answer.lost.files.flatMap(({ ranges }) => ranges).reduce((sum, range) => sum + range.bytes, 0);
      expect({ pair, told, named: answer.lost.files.map(({ paths }) => paths[0]) }).toEqual({ pair, told: bytes, named: bytes > 0 ? ['/large'] : [] });
      expect(answer.mountRefusal).toMatch(/disk/);
      expect(code).toBe(bytes > 0 || answer.metadata.left.length === 0 ? EXIT.damaged : EXIT.incomplete);
    }
    expect(lostSomewhere).toBe(12 * MiB);
  });

  it('knows that a drained disk is not missed', { timeout: 120_000 }, async () => {
    await mount().mustSdfs('disk', 'drain', '--wait', '--volume', mount().mountpoint, '0');
    const { code, answer } = await whatIf(mount(), 0);
    expect(answer).toMatchObject({ lost: { blocks: 0 }, fewer: { blocks: 0 } });
    expect(answer.metadata.left).toEqual(answer.metadata.disks);
    expect(code).toBe(EXIT.ok);
  });

  it('does not count on what a disk has that cannot be asked', { timeout: 120_000 }, async () => {
    await rename(mount().disks[1]!, `${mount().disks[1]!}.away`);
    await mount().kill('worker', 1);
    try {
      await until('the disk is given up', async () => (await mount().status()).disks[1]?.state === 'unusable');
      const { code, answer } = await whatIf(mount(), 2);
      expect(answer.unknown).toEqual([1]);
      expect(answer.lost.bytes).toBe(await onlyOn(mount(), 'large', [1, 2]));
      expect(code).not.toBe(EXIT.ok);
    } finally {
      await rename(`${mount().disks[1]!}.away`, mount().disks[1]!);
    }
    await until('it is back', async () => (await mount().status()).disks[1]?.state === 'ready', 60_000);
  });

  it('refuses a disk that the volume does not have', async () => {
    expect((await mount().sdfs('disk', 'what-if', '--volume', mount().mountpoint, '--lose', '9')).code).toBe(EXIT.notFound);
  });
});
