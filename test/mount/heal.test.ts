// Copies on a living mount: disks that go away and come back, bits that rot, drivers that are killed in the middle of writes.
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { DriverUpkeep, StatusReport, UpkeepAnswer } from '../../src/control/api.ts';
import type { DriverUpkeepRun } from '../../src/ipc/process-messages.ts';
import { flipWhereFound } from '../support/flip-blocks.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { delay, until } from '../support/programs.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function writeFileSynced(mount: TestMount, name: string, bytes: Buffer): Promise<void> {
  const file = await open(mount.path(name), 'w');
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
}

async function gc(mount: TestMount, ...options: string[]): Promise<DriverUpkeepRun> {
  return JSON.parse(await mount.mustSdfs('gc', '--json', ...options, mount.mountpoint)) as DriverUpkeepRun;
}

async function scrub(mount: TestMount): Promise<NonNullable<DriverUpkeep['scrub']['last']>> {
  const { stdout } = await mount.sdfs('scrub', '--wait', '--json', mount.mountpoint);
  return (JSON.parse(stdout) as DriverUpkeep['scrub']).last!;
}

function untilWhole(mount: TestMount): Promise<void> {
  return until('all copies are whole', async () => {
    const status = await mount.status().catch((): StatusReport | undefined => undefined);
    const reconcile = status?.upkeep?.reconcile;
    return reconcile !== undefined && reconcile.state === 'idle' && reconcile.incompleteDisks.length === 0 && reconcile.endangeredBlocks === 0 && status!.disks.every(({ state }) => state === 'ready');
  }, 60_000);
}

/** Flips bits all over the segments of a disk, behind their headers. */
async function rot(disk: string, every: number): Promise<void> {
  const blocks = join(disk, 'blocks');
  for (const name of await readdir(blocks)) {
    const file = await open(join(blocks, name), 'r+');
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    for (let at = 8 * KiB; at < size; at += every) {
      await file.read(byte, 0, 1, at);
      byte[0]! ^= 0x40;
      await file.write(byte, 0, 1, at);
    }
    await file.sync();
    await file.close();
  }
}

describeOnMount('a disk that is taken away', { faults: true }, (mount) => {
  it('catches up when it is back: writes, deletes and all', { timeout: 180_000 }, async () => {
    const disk = mount().disks[1]!;
    const before = randomBytes(4 * MiB);
    await writeFileSynced(mount(), 'before', before);
    for (let number = 0; number < 20; number++) await writeFileSynced(mount(), `doomed${number}`, randomBytes(300 * KiB));
    await untilWhole(mount());
    const worker = (await mount().status()).processes.find((entry) => entry.worker === 1)!;
    await rename(disk, `${disk}.away`);
    process.kill(worker.pid!, 'SIGKILL');
    await until('the worker is gone', async () => (await mount().status()).disks[1]!.state !== 'ready');
    const during = randomBytes(6 * MiB);
    await writeFileSynced(mount(), 'during', during);
    for (let number = 0; number < 20; number++) await rm(mount().path(`doomed${number}`));
    await mount().mustSdfs('sync', mount().mountpoint);
    await delay(2000);
    await rename(`${disk}.away`, disk);
    await mount().untilReady(60_000);
    await untilWhole(mount());
    expect(await gc(mount(), '--dry-run')).toMatchObject({ garbageCopies: 0, misplaced: 0, endangered: 0, unreadableBlocks: 0 });
    expect(await scrub(mount())).toMatchObject({ damagedCopies: 0, missingCopies: 0, unreadableBlocks: 0 });
    expect(sha(await readFile(mount().path('before')))).toBe(sha(before));
    expect(sha(await readFile(mount().path('during')))).toBe(sha(during));
    const blockBytes = (await mount().status()).disks.reduce((sum, { blockBytes: bytes }) => sum + (bytes ?? 0), 0);
    // Two copies of what is left, and the headers of what is not.
    expect(blockBytes).toBeLessThan(2 * (10 * MiB) + 4 * MiB);
  });

  it('and loses all its blocks gets them back', { timeout: 120_000 }, async () => {
    const disk = mount().disks[2]!;
    const worker = (await mount().status()).processes.find((entry) => entry.worker === 2)!;
    process.kill(worker.pid!, 'SIGSTOP');
    for (const name of await readdir(join(disk, 'blocks'))) await rm(join(disk, 'blocks', name));
    process.kill(worker.pid!, 'SIGKILL');
    await mount().untilReady(60_000);
    const run = await gc(mount());
    expect(run.copiedCopies).toBeGreaterThan(0);
    expect(await scrub(mount())).toMatchObject({ damagedCopies: 0, missingCopies: 0, unreadableBlocks: 0 });
  });
});

describeOnMount('bits that rot', { faults: true }, (mount) => {
  it('on one disk are found by a scrub and repaired from another', { timeout: 120_000 }, async () => {
    const bytes = randomBytes(8 * MiB);
    await writeFileSynced(mount(), 'file', bytes);
    await mount().sh('for i in $(seq 200); do head -c 3000 /dev/urandom > small$i; done; sha256sum small* > ../sums');
    await mount().mustSdfs('sync', mount().mountpoint);
    // Small data reaches the segments a few seconds later.
    await until('nothing is on the way', async () => (await mount().status()).pendingBytes === 0, 30_000);
    await rot(mount().disks[0]!, 200 * KiB);
    const found = await scrub(mount());
    expect(found.damagedCopies).toBeGreaterThan(5);
    expect(found).toMatchObject({ repairedCopies: found.damagedCopies, unreadableBlocks: 0 });
    expect(await scrub(mount())).toMatchObject({ damagedCopies: 0, missingCopies: 0 });
    await mount().sh('echo 3 > /proc/sys/vm/drop_caches; sha256sum --quiet -c ../sums');
    expect(sha(await readFile(mount().path('file')))).toBe(sha(bytes));
  });

  it('on all disks cost the bytes that they hit and no others, and the file is named', { timeout: 120_000 }, async () => {
    const bytes = randomBytes(4 * MiB);
    await mount().sh('mkdir -p deep/er');
    await writeFileSynced(mount(), 'deep/er/victim', bytes);
    const hit = MiB + 300 * KiB;
    expect(await flipWhereFound(mount().disks, bytes.subarray(hit, hit + 64))).toBe(2);
    expect(await scrub(mount())).toMatchObject({ damagedCopies: 2, unreadableBlocks: 1 });
    const { code, stdout } = await mount().sdfs('scrub', '--files', '--json', mount().mountpoint);
    expect({ code, ...(JSON.parse(stdout) as UpkeepAnswer['damaged']) }).toMatchObject({ code: 8, files: [{ paths: ['/deep/er/victim'] }] });
    await mount().sh('echo 3 > /proc/sys/vm/drop_caches');
    const file = await open(mount().path('deep/er/victim'), 'r');
    try {
      const piece = Buffer.alloc(16 * KiB);
      for (let at = 0; at < bytes.length; at += piece.length) {
        const isHit = at <= hit && hit < at + piece.length;
        const read = await file.read(piece, 0, piece.length, at).then(() => sha(piece), (error: NodeJS.ErrnoException) => error.code);
        expect(read, `bytes at ${at}`).toBe(isHit ? 'EIO' : sha(bytes.subarray(at, at + piece.length)));
      }
    } finally {
      await file.close();
    }
  });
});

describeOnMount('drivers that are killed in the middle of writes', { faults: true }, (mount) => {
  it('leave nothing on the disks that nobody needs', { timeout: 180_000 }, async () => {
    const load = mount().run('sh', ['-c', 'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=load$i bs=1M count=30 status=none || exit 1; rm -f load$((i-1)); done'], { cwd: mount().mountpoint, timeoutMs: 120_000 });
    for (let count = 0; count < 4; count++) {
      await delay(700);
      await mount().kill('driver');
      await mount().untilReady();
    }
    expect((await load).code).toBe(0);
    await mount().mustSdfs('sync', mount().mountpoint);
    await delay(2500);
    await untilWhole(mount());
    await gc(mount());
    expect(await gc(mount(), '--dry-run')).toMatchObject({ garbageCopies: 0, misplaced: 0, endangered: 0 });
  });
});
