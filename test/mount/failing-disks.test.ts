// Disks that fail while they are in use: errors on every write, read-only, unmounted, hanging; and processes that hang.
import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { afterAll, expect, it } from 'vitest';
import type { StatusReport } from '../../src/control/api.ts';
import { LoopDisk } from '../support/loop-disk.ts';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { hasProgram, until } from '../support/programs.ts';

const MiB = 1024 * 1024;
const missing = ['mkfs.ext4', 'python3', 'fsfreeze', 'losetup'].find((name) => !hasProgram(name));
const LOOPS = { loopBytes: 512 * MiB, faults: true, missing: missing && `no ${missing}` };

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const written = new Map<string, string>();

/** Some files, each synced; resolves with the longest that one took, in ms. */
async function writeSome(mount: TestMount, prefix: string, count = 8): Promise<number> {
  let longestMs = 0;
  for (let index = 0; index < count; index++) {
    const started = performance.now();
    const bytes = randomBytes(index % 2 === 0 ? 300_000 : 3_000);
    const file = await open(mount.path(`${prefix}${index}`), 'w');
    await file.writeFile(bytes);
    await file.sync();
    await file.close();
    written.set(`${mount.root} ${prefix}${index}`, sha(bytes));
    longestMs = Math.max(longestMs, performance.now() - started);
  }
  return longestMs;
}

async function checkAll(mount: TestMount): Promise<void> {
  for (const [key, wanted] of written) {
    const [root, name] = key.split(' ') as [string, string];
    if (root === mount.root) expect(sha(await readFile(mount.path(name))), name).toBe(wanted);
  }
}

async function untilState(mount: TestMount, worker: number, states: readonly string[]): Promise<StatusReport> {
  let status = await mount.status();
  await until(`worker ${worker} is ${states.join(' or ')}`, async () => {
    status = await mount.status();
    return states.includes(status.disks[worker]!.state);
  }, 40_000);
  return status;
}

function untilWhole(mount: TestMount): Promise<void> {
  return until('all copies are whole', async () => {
    const { upkeep, disks } = await mount.status();
    return upkeep !== null && upkeep.reconcile.state === 'idle' && upkeep.reconcile.incompleteDisks.length === 0 && upkeep.reconcile.endangeredBlocks === 0 && disks.every(({ state, member }) => state === 'ready' && member === true);
  }, 60_000);
}

describeOnMount('a disk of three that fails in use', { ...LOOPS, disks: 3 }, (mount) => {
  const faults: readonly [string, RegExp, (mount: TestMount) => Promise<void>][] = [
    ['with EIO for everything', /EIO/, (each) => each.loops[1]!.fail()],
    ['by turning read-only', /EROFS/, (each) => each.loops[1]!.turnReadOnly()],
    ['by being unmounted', /unmounted/, (each) => each.loops[1]!.detach()],
  ];
  it.each(faults)('%s is given up, said, and used again when it is back', { timeout: 180_000 }, async (name, reason, fault) => {
    const label = name.replaceAll(' ', '-');
    await writeSome(mount(), `before-${label}-`);
    await fault(mount());
    await writeSome(mount(), `during-${label}-`);
    const { problems, health } = await untilState(mount(), 1, ['unusable']);
    expect(health).toBe('degraded');
    expect(problems.join('\n')).toMatch(reason);
    expect(problems.join('\n')).toContain(mount().disks[1]);
    await checkAll(mount());
    await mount().loops[1]!.comeBack();
    await untilState(mount(), 1, ['ready']);
    await untilWhole(mount());
    await checkAll(mount());
  });

  it('leaves few lines in the log', async () => {
    expect((await mount().errorsInLog()).length).toBeLessThan(60);
  });
});

describeOnMount('a disk of three that hangs', { ...LOOPS, disks: 3 }, (mount) => {
  it('is worked around, and goes on when it answers again', { timeout: 120_000 }, async () => {
    await writeSome(mount(), 'before-', 20);
    await mount().loops[0]!.freeze();
    await writeSome(mount(), 'during-', 20);
    const { problems } = await untilState(mount(), 0, ['leaving', 'ready', 'restarting']);
    expect(problems.join('\n')).toMatch(/worker 0/);
    await checkAll(mount());
    await mount().loops[0]!.thaw();
    await untilState(mount(), 0, ['ready']);
    await untilWhole(mount());
    await checkAll(mount());
  });

  it('does not keep the mount from being ended by force, nor the next one from being made when it is back', { timeout: 120_000 }, async () => {
    await mount().loops[0]!.freeze();
    await writeSome(mount(), 'again-', 6);
    await mount().mustSdfs('umount', '--force', mount().mountpoint);
    expect(mount().isMounted()).toBe(false);
    await mount().loops[0]!.thaw();
    await until('all processes have ended', () => mount().serving().length === 0);
    await mount().mount();
    await mount().untilReady();
    await checkAll(mount());
  });
});

describeOnMount('a disk of three that takes writes, and cannot sync them', { ...LOOPS, disks: 3, thin: { disk: 1, poolBytes: 400 * MiB } }, (mount) => {
  it('is given up for as long as that goes on, and then has what it was given', { timeout: 180_000 }, async () => {
    await writeSome(mount(), 'before-');
    mount().pool!.fill();
    await writeSome(mount(), 'during-', 20);
    await until('its worker has noticed', async () => /syncBlocks|could not be synced|has failed/.test((await mount().status()).problems.join('\n')) || (await mount().status()).disks[1]!.member !== true, 60_000);
    mount().pool!.free();
    await untilState(mount(), 1, ['ready']);
    await untilWhole(mount());
    await checkAll(mount());
    // As after a power cut: what the kernel has in memory alone is gone.
    await mount().loops[1]!.fail();
    // A disk that nobody uses fails without being noticed.
    await writeSome(mount(), 'after-');
    await untilState(mount(), 1, ['unusable']);
    await mount().loops[1]!.comeBack();
    await untilState(mount(), 1, ['ready']);
    await untilWhole(mount());
    const scrubbed = JSON.parse(await mount().mustSdfs('scrub', '--wait', '--json', mount().mountpoint)) as { last: { damagedCopies: number; unreadableBlocks: number } };
    expect(scrubbed.last).toMatchObject({ damagedCopies: 0, unreadableBlocks: 0 });
    await checkAll(mount());
  });
});

/** The mount's volume directory on a disk of its own. */
async function moveBelow(mount: TestMount): Promise<LoopDisk> {
  await mount.umount();
  const aside = `${mount.volume}.aside`;
  await rename(mount.volume, aside);
  const below = await LoopDisk.create(`${mount.volume}.image`, mount.volume, 512 * MiB);
  await mount.sh(`cp -a ${aside}/. ${mount.volume}/; sync -f ${mount.volume}`, { cwd: mount.root });
  await mount.mount();
  return below;
}

describeOnMount('a volume whose own directory is on a disk that hangs', { faults: true, missing: LOOPS.missing }, (mount) => {
  let below: LoopDisk | undefined;
  afterAll(() => below?.remove());

  it('goes on with its database on another disk, with all that was acknowledged', { timeout: 150_000 }, async () => {
    below = await moveBelow(mount());
    await writeSome(mount(), 'synced-');
    await mount().sh('for i in $(seq 50); do echo $i > acknowledged$i; done');
    await below.freeze();
    await mount().sh('for i in $(seq 51 100); do echo $i > acknowledged$i; done', { timeoutMs: 90_000 });
    await writeSome(mount(), 'during-');
    expect(await mount().sh('for i in $(seq 100); do [ "$(cat acknowledged$i)" = $i ] || echo $i; done')).toBe('');
    // The driver meets the disk when it commits what it has in memory; until then it answers.
    let problems = '';
    for (let round = 0; round < 60 && !/hangs, or did/.test(problems); round++) {
      await mount().sh(`echo ${round} > round; sleep 1`, { timeoutMs: 90_000 });
      problems = (await mount().status()).problems.join('\n');
    }
    expect(problems).toMatch(/hangs, or did/);
    // Nothing that starts from now on touches that disk.
    await mount().kill('driver');
    await writeSome(mount(), 'after-');
    await checkAll(mount());
    await below.thaw();
    await writeSome(mount(), 'thawed-');
    await checkAll(mount());
    await mount().umount();
  });

  it('mounts again, and has everything', { timeout: 60_000 }, async () => {
    await mount().mount();
    await checkAll(mount());
    expect(await mount().sh('for i in $(seq 100); do [ "$(cat acknowledged$i)" = $i ] || echo $i; done')).toBe('');
    expect((await mount().status()).problems).toEqual([]);
  });
});

describeOnMount('a volume whose own directory is on a disk that fails', { faults: true, missing: LOOPS.missing }, (mount) => {
  let below: LoopDisk | undefined;
  afterAll(() => below?.remove());

  it('goes on with its database on another disk, with all that was acknowledged', { timeout: 120_000 }, async () => {
    below = await moveBelow(mount());
    await writeSome(mount(), 'synced-');
    await mount().sh('for i in $(seq 50); do echo $i > acknowledged$i; done');
    await below.fail();
    await mount().kill('driver');
    await writeSome(mount(), 'after-');
    expect(await mount().sh('for i in $(seq 50); do [ "$(cat acknowledged$i)" = $i ] || echo $i; done')).toBe('');
    // Its successor finds the database where this one left it.
    await mount().kill('driver');
    await writeSome(mount(), 'later-');
    await checkAll(mount());
    expect((await mount().status()).problems).toEqual([]);
    await mount().umount();
  });

  it('mounts again when the directory is back, and has everything', { timeout: 60_000 }, async () => {
    await below!.comeBack();
    await mount().mount();
    await checkAll(mount());
    expect(await mount().sh('for i in $(seq 50); do [ "$(cat acknowledged$i)" = $i ] || echo $i; done')).toBe('');
  });
});
