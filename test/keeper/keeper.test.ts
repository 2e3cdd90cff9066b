// The keeper with stand-in children: order of start and end, takeover, restarts, refusals. No real mount.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { ControlClient } from '../../src/control/client.ts';
import { identifyProcess, isAlive } from '../../src/control/process-identity.ts';
import { listRunningMounts } from '../../src/control/running-mounts.ts';
import { READ_AHEAD_KIB } from '../../src/keeper/kernel-edge.ts';
import { volumePaths } from '../../src/keeper/volume.ts';
import { KeeperFixture, MODULES, until } from './fixture.ts';

let fixture: KeeperFixture;
beforeEach(() => {
  fixture = new KeeperFixture();
});
afterEach(() => fixture.dispose());

const state = () => JSON.parse(readFileSync(volumePaths(fixture.volumeDirectory).state, 'utf8')) as { epoch: number; clean: boolean };

async function startedKeeper() {
  await fixture.createVolume();
  const keeper = fixture.keeper();
  await keeper.start();
  return keeper;
}

describe('a keeper', () => {
  it('starts workers and driver, and reports them', async () => {
    const keeper = await startedKeeper();
    const report = await keeper.status();
    expect(report.health).toBe('good');
    expect(report.mount).toMatchObject({ mountpoint: fixture.mountpoint, state: 'serving' });
    expect(report.processes.map(({ role, state: name }) => `${role} ${name}`)).toEqual(['keeper ready', 'driver ready', 'worker ready', 'worker ready']);
    expect(report.capacity).toEqual({ totalBytes: 1000, usedBytes: 600, availableBytes: 400 });
    expect(report.sharedDevices).toEqual([[0, 1]]);
    expect(fixture.kernel.calls).toEqual(['mount', `read-ahead ${READ_AHEAD_KIB}`]);
  });

  it('ends everything in order on a clean unmount, and leaves the volume marked clean and unlocked', async () => {
    const keeper = await startedKeeper();
    const [registered] = listRunningMounts();
    expect(await keeper.unmount('clean')).toEqual({ result: 'unmounted' });
    expect(await keeper.finished).toBe(EXIT.ok);
    expect(state()).toMatchObject({ epoch: 1, clean: true });
    expect(registered?.children.filter(isAlive)).toEqual([]);
    expect(listRunningMounts()).toEqual([]);
    expect(existsSync(`${volumePaths(fixture.volumeDirectory).lock}.held`)).toBe(false);
  });

  it('can be followed by another on the same volume, with the next epoch', async () => {
    const first = await startedKeeper();
    await first.unmount('clean');
    await first.finished;
    await fixture.keeper().start();
    expect(fixture.driverStarts().map(({ epoch, mountEpoch, session }) => ({ epoch, mountEpoch, session }))).toEqual([
      { epoch: 1, mountEpoch: 1, session: undefined },
      { epoch: 2, mountEpoch: 2, session: undefined },
    ]);
  });

  it('refuses a second mount of the volume and says who holds it', async () => {
    await startedKeeper();
    await expect(fixture.keeper().start()).rejects.toThrow(new RegExp(`mounted already, by process ${process.pid} on .* at ${fixture.mountpoint}`));
    expect(listRunningMounts()).toHaveLength(1);
  });

  it('replaces a killed driver by one that gets the session and a higher epoch', async () => {
    const keeper = await startedKeeper();
    const pid = (await keeper.status()).processes[1]?.pid;
    process.kill(pid as number, 'SIGKILL');
    await until(() => fixture.driverStarts().length === 2);
    await keeper.sync();
    expect(fixture.driverStarts()[1]).toMatchObject({ epoch: 2, mountEpoch: 1, session: 'negotiated' });
    expect((await keeper.status()).processes[1]).toMatchObject({ role: 'driver', state: 'ready', restarts: 1 });
    expect(fixture.kernel.calls.filter((call) => call === 'mount')).toHaveLength(1);
  });

  it('replaces workers and driver for an upgrade, without an unmount and without a death', async () => {
    const keeper = await startedKeeper();
    const before = (await keeper.status()).processes.map(({ pid }) => pid);
    await new ControlClient(listRunningMounts()[0]!.controlSocket).upgrade(MODULES);
    const after = (await keeper.status()).processes;
    expect(after.map(({ state: name }) => name)).toEqual(['ready', 'ready', 'ready', 'ready']);
    expect(after.filter(({ pid }) => before.includes(pid)).map(({ role }) => role)).toEqual(['keeper']);
    expect(fixture.driverStarts()[1]).toMatchObject({ epoch: 2, mountEpoch: 1, session: 'negotiated' });
    expect(fixture.kernel.calls.filter((call) => call !== `read-ahead ${READ_AHEAD_KIB}`)).toEqual(['mount']);
  });

  it('goes back to the code it had when the new one cannot be used', async () => {
    const keeper = await startedKeeper();
    const broken = join(fixture.root, 'broken.mjs');
    writeFileSync(broken, "process.send({ type: 'unusable', reason: 'made for another kernel', exitCode: 9 }, () => process.exit(9));");
    await expect(keeper.upgrade({ ...MODULES, driver: broken })).rejects.toThrow('made for another kernel');
    expect((await keeper.status()).processes.map(({ state: name }) => name)).toEqual(['ready', 'ready', 'ready', 'ready']);
    expect(fixture.driverStarts().at(-1)).toMatchObject({ session: 'negotiated' });
  });

  it('replaces a killed worker and registers the new process', async () => {
    const keeper = await startedKeeper();
    const pid = (await keeper.status()).processes[2]?.pid as number;
    process.kill(pid, 'SIGKILL');
    await until(async () => (await keeper.status()).processes[2]?.restarts === 1 && (await keeper.status()).health === 'good');
    const replaced = (await keeper.status()).processes[2]?.pid;
    expect(replaced).not.toBe(pid);
    expect(listRunningMounts()[0]?.children.map((child) => child.pid)).toContain(replaced);
  });

  it('answers EXIT.busy and goes on serving when the mount is in use', async () => {
    const keeper = await startedKeeper();
    fixture.kernel.busy = true;
    await expect(keeper.unmount('clean')).rejects.toMatchObject({ exitCode: EXIT.busy });
    expect((await keeper.status()).mount?.state).toBe('serving');
  });

  it('stays until the last user leaves after a lazy unmount', async () => {
    const keeper = await startedKeeper();
    fixture.kernel.busy = true;
    expect(await keeper.unmount('lazy')).toEqual({ result: 'detached' });
    expect((await keeper.status()).mount?.state).toBe('detached');
    fixture.kernel.busy = false;
    await fixture.kernel.unmount(fixture.mountpoint, 'detach');
    expect(await keeper.finished).toBe(EXIT.ok);
  });

  it('ends on a shutdown even when the mount is busy, and a second one cuts the grace', async () => {
    const keeper = await startedKeeper();
    fixture.kernel.busy = true;
    const ended = keeper.shutdown('test');
    await until(async () => (await keeper.status()).mount?.state === 'detached');
    await keeper.shutdown('test');
    await ended;
    expect(await keeper.finished).toBe(EXIT.ok);
    expect(state().clean).toBe(true);
    expect(fixture.kernel.calls).toEqual(expect.arrayContaining(['unmount wait', 'unmount detach']));
  });

  it('ends everything at once when forced, and does not call that clean', async () => {
    const keeper = await startedKeeper();
    const children = listRunningMounts()[0]?.children ?? [];
    expect(await keeper.unmount('force')).toEqual({ result: 'killed' });
    await keeper.finished;
    expect(fixture.kernel.calls).toEqual(expect.arrayContaining(['abort', 'unmount detach']));
    expect(children.filter(isAlive)).toEqual([]);
    expect(state().clean).toBe(false);
  });

  it('ends when somebody else unmounts', async () => {
    const keeper = await startedKeeper();
    await fixture.kernel.unmount(fixture.mountpoint, 'wait');
    expect(await keeper.finished).toBe(EXIT.ok);
    expect(state().clean).toBe(true);
  });

  it('serves its control socket to its owner only', async () => {
    await startedKeeper();
    const mount = listRunningMounts()[0];
    const client = new ControlClient(mount?.controlSocket ?? '');
    expect((await client.status()).health).toBe('good');
    await client.sync();
    await expect(client.info(77)).rejects.toThrow('no such inode 77');
    await expect(client.unmount('gently' as 'clean')).rejects.toMatchObject({ exitCode: EXIT.usage });
  });
});

describe('a mount that fails', () => {
  it.each([
    ['because of a worker', { disks: ['a', 'unusable'] }, EXIT.foreign, /another volume's/],
    ['because a worker crashes', { disks: ['a', 'crashing'] }, EXIT.incomplete, /disk 1 .* cannot be used.*worker 1 process ended with code 3.*--force-degraded/],
    ['because of the driver', { name: 'unusable' }, EXIT.unsupported, /newer sdfs/],
  ])('%s gives the reason and leaves nothing', async (_why, volume, exitCode, message) => {
    await fixture.createVolume(volume);
    const keeper = fixture.keeper();
    await expect(keeper.start()).rejects.toMatchObject({ exitCode, message: expect.stringMatching(message) });
    expect(listRunningMounts()).toEqual([]);
    expect(fixture.kernel.isMounted(fixture.mountpoint)).toBe(false);
    expect(existsSync(`${volumePaths(fixture.volumeDirectory).lock}.held`)).toBe(false);
  });

  it('because the mountpoint is missing touches nothing', async () => {
    await fixture.createVolume();
    const keeper = fixture.keeper();
    const { rmdirSync } = await import('node:fs');
    rmdirSync(fixture.mountpoint);
    await expect(keeper.start()).rejects.toMatchObject({ exitCode: EXIT.notFound });
    expect(existsSync(join(fixture.root, 'run'))).toBe(false);
  });

  it('because it is interrupted leaves nothing', async () => {
    await fixture.createVolume();
    const keeper = fixture.keeper();
    const started = keeper.start();
    void keeper.shutdown('SIGINT');
    await expect(started).rejects.toThrow(/interrupted/);
    await keeper.finished;
    expect(listRunningMounts()).toEqual([]);
  });
});

describe('a process identity', () => {
  it('tells a living process from one that had its pid before', () => {
    const own = identifyProcess(process.pid);
    expect(own && isAlive(own)).toBe(true);
    expect(isAlive({ pid: process.pid, startTime: '1' })).toBe(false);
  });
});
