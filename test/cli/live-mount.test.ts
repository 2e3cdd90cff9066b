// The command on real mounts, in every state that a mount can be in. Root and /dev/fuse only; private directories.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { DriverFileInfo, ProcessReport, StatusReport } from '../../src/control/api.ts';
import { identifyProcess, waitForEnd } from '../../src/control/process-identity.ts';
import { findMount } from '../../src/kernel/mount-table.ts';
import { BuiltCommand, expectFailure, runProgram } from './command.ts';

let command: BuiltCommand;
beforeAll(() => {
  command = new BuiltCommand('live');
}, 120_000);

let root: string;
let volume: string;
let mountpoint: string;
const sdfs = (...words: string[]) => command.run(join(root, 'run'), words);
const shell = (script: string) => runProgram('sh', ['-c', script]);

async function status(): Promise<StatusReport> {
  return JSON.parse((await sdfs('status', volume, '--json')).stdout) as StatusReport;
}

async function pidOf(role: ProcessReport['role']): Promise<number> {
  return (await status()).processes.find((process) => process.role === role)?.pid as number;
}

async function mount(): Promise<void> {
  expect(await sdfs('mount', '-d', volume, mountpoint)).toMatchObject({ code: 0, stderr: '' });
}

describe.runIf(process.getuid?.() === 0 && existsSync('/dev/fuse'))('a mounted volume', () => {
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'sdfs-live-'));
    volume = join(root, 'volume');
    mountpoint = join(root, 'mnt');
    mkdirSync(mountpoint);
    await sdfs('init', volume);
    await mount();
  });
  afterEach(async () => {
    await sdfs('umount', '--force', mountpoint);
    rmSync(root, { recursive: true, force: true });
  });

  it('shows its processes, its files and their blocks', async () => {
    await shell(`dd if=/dev/urandom of=${mountpoint}/file bs=1500000 count=1 iflag=fullblock status=none`);
    expect(await sdfs('sync', mountpoint)).toMatchObject({ code: 0 });
    const report = await status();
    expect(report).toMatchObject({ health: 'good', mount: { mountpoint, state: 'serving' } });
    expect(report.processes.map(({ role, state }) => `${role} ${state}`)).toEqual(['keeper ready', 'driver ready', ...Array<string>(4).fill('worker ready')]);
    const info = JSON.parse((await sdfs('info', join(mountpoint, 'file'), '--json')).stdout) as DriverFileInfo;
    expect(info.size).toBe(1_500_000);
    expect(info.extents[0]?.copies.map((copy) => copy.state)).toEqual(['good', 'good']);
  });

  it('keeps its files over a clean unmount, after which nothing runs', async () => {
    await shell(`echo kept > ${mountpoint}/file`);
    const processes = (await status()).processes.map(({ pid }) => identifyProcess(pid as number));
    expect(await sdfs('umount', mountpoint)).toMatchObject({ code: 0, stderr: '' });
    expect(await waitForEnd(processes.filter((identity) => identity !== undefined), 0)).toBe(true);
    expect(findMount(mountpoint)).toBeUndefined();
    await mount();
    expect((await shell(`cat ${mountpoint}/file`)).stdout).toBe('kept\n');
  });

  it('is not unmounted while a program uses it, and names the program', async () => {
    const user = spawn('sleep', ['60'], { cwd: mountpoint, stdio: 'ignore' });
    try {
      expectFailure(await sdfs('umount', mountpoint), EXIT.busy, new RegExp(`in use by sleep \\(process ${user.pid}, working directory`));
      expect((await status()).mount?.state).toBe('serving');
      expect(await sdfs('umount', '--lazy', mountpoint)).toMatchObject({ code: 0 });
      expect(findMount(mountpoint)).toBeUndefined();
      expect((await status()).mount?.state).toBe('detached');
    } finally {
      user.kill('SIGKILL');
    }
  });

  it('is refused a second time, there and elsewhere', async () => {
    expectFailure(await sdfs('mount', '-d', volume, mountpoint), EXIT.busy, /mounted at .* already/);
    expectFailure(await sdfs('mount', '-d', volume, join(root, 'run')), EXIT.busy, /mounted already, by process \d+ on /);
  });

  it('goes on after its driver was killed', async () => {
    await shell(`echo kept > ${mountpoint}/file`);
    process.kill(await pidOf('driver'), 'SIGKILL');
    expect(await shell(`stat ${mountpoint}/none; echo more >> ${mountpoint}/file && cat ${mountpoint}/file`)).toMatchObject({ stdout: 'kept\nmore\n' });
    expect((await status()).processes[1]).toMatchObject({ state: 'ready', restarts: 1 });
  });

  it.each([
    ['its keeper is stopped', 'keeper', 'SIGSTOP'],
    ['its keeper is dead', 'keeper', 'SIGKILL'],
    ['its driver is stopped', 'driver', 'SIGSTOP'],
  ] as const)('can be ended by force when %s', async (_state, role, signal) => {
    process.kill(await pidOf(role), signal);
    const waiting = shell(`stat ${mountpoint}/none`);
    expect(await sdfs('umount', '--force', mountpoint)).toMatchObject({ code: 0 });
    expect(findMount(mountpoint)).toBeUndefined();
    expect((await waiting).code).not.toBe(0);
  });

  it('can be mounted again right after everything was killed', async () => {
    await shell(`echo kept > ${mountpoint}/file`);
    for (const { pid } of (await status()).processes) process.kill(pid as number, 'SIGKILL');
    await mount();
    expect((await shell(`cat ${mountpoint}/file`)).stdout).toBe('kept\n');
  });

  it('ends when its keeper gets SIGTERM', async () => {
    const keeper = identifyProcess(await pidOf('keeper'));
    process.kill(keeper?.pid as number, 'SIGTERM');
    expect(keeper && (await waitForEnd([keeper], 20_000))).toBe(true);
    expect(findMount(mountpoint)).toBeUndefined();
    expect(JSON.parse(readFileSync(join(volume, 'state.json'), 'utf8'))).toMatchObject({ clean: true });
  });
});
