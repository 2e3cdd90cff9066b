// The sdfs command as a process: output, one-line errors, exit codes. Nothing is mounted here but small tmpfs disks.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { StatusReport } from '../../src/control/api.ts';
import { BuiltCommand, PROJECT, expectFailure, runProgram } from './command.ts';

const ROOT = process.getuid?.() === 0;

let command: BuiltCommand;
beforeAll(() => {
  command = new BuiltCommand('command');
}, 120_000);

let root: string;
let volume: string;
const mounted: string[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'sdfs-cli-'));
  volume = join(root, 'volume');
});
afterEach(() => {
  for (const path of mounted.splice(0)) execFileSync('umount', [path]);
  rmSync(root, { recursive: true, force: true });
});

const sdfs = (...words: string[]) => command.run(join(root, 'run'), words);

function tmpfs(name: string, options: string): string {
  const path = join(root, name);
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
  mounted.push(path);
  return path;
}

describe('sdfs', () => {
  it('has help with the exit codes for every subcommand', async () => {
    const help = await sdfs('--help');
    expect(help.code).toBe(0);
    for (const name of ['init', 'mount', 'umount', 'sync', 'status', 'info']) {
      const { code, stdout } = await sdfs(name, '--help');
      expect([name, code, /Exit codes:\n  0  done/.test(stdout)]).toEqual([name, 0, true]);
    }
  });

  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { version: string };
    expect(await sdfs('version')).toMatchObject({ code: 0, stdout: `${version}\n` });
    expect(await sdfs('--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it.each([
    ['an unknown command', ['frobnicate'], /unknown command 'frobnicate'/],
    ['an unknown option', ['status', '--colour'], /unknown option '--colour'/],
    ['a missing argument', ['init'], /missing required argument 'volume'/],
    ['too many arguments', ['sync', 'a', 'b'], /too many arguments/],
    ['a log level that is none', ['--log-level', 'loud', 'status'], /--log-level/],
  ])('refuses %s', async (_what, words, message) => {
    expectFailure(await sdfs(...words), EXIT.usage, message);
  });

  it('shows where an error comes from with --log-level debug', async () => {
    const { code, stderr } = await sdfs('--log-level', 'debug', 'status', join(root, 'none'));
    expect(code).toBe(EXIT.notFound);
    expect(stderr).toMatch(/\n\s+at .*readVolume/);
  });
});

describe('sdfs init', () => {
  it('says what it made, and that disks share a device', async () => {
    const { code, stdout, stderr } = await sdfs('init', '--name', 'photos', '--block-size', '256K', volume);
    expect(code).toBe(0);
    expect(stdout).toMatch(/made volume photos .*\n2 copies of every block, blocks of up to 256 KiB, on 4 disks:/);
    expect(stderr).toMatch(/disks 0, 1, 2, 3 lie on one device/);
  });

  it.each([
    ['a size that is none', ['--block-size', 'large'], EXIT.usage, /"large" is not a size/],
    ['a count that is none', ['--copies', 'two'], EXIT.usage, /"two" is not a whole number/],
    ['more copies than disks', ['--copies', '5'], EXIT.usage, /5 copies need 5 disks/],
    ['a disk that is missing', ['--disk', '/nonexistent/disk'], EXIT.notFound, /does not exist/],
  ])('refuses %s and makes nothing', async (_what, words, code, message) => {
    expectFailure(await sdfs('init', ...words, volume), code, message);
    expect(existsSync(volume)).toBe(false);
  });

  it.runIf(ROOT)('refuses a read-only disk', async () => {
    expectFailure(await sdfs('init', '--disk', tmpfs('ro', 'ro,size=128m'), volume), EXIT.denied, /read-only/);
  });

  it.runIf(ROOT)('refuses a full disk', async () => {
    expectFailure(await sdfs('init', '--disk', tmpfs('small', 'size=1m'), volume), EXIT.space, /bytes free and needs/);
  });
});

describe('sdfs status', () => {
  it('of a volume that is not mounted says so, in words and as JSON', async () => {
    await sdfs('init', volume);
    const words = await sdfs('status', volume);
    expect(words).toMatchObject({ code: EXIT.notFound, stderr: '' });
    expect(words.stdout).toMatch(/health +not mounted/);
    const json = await sdfs('status', volume, '--json');
    expect(json.code).toBe(EXIT.notFound);
    expect(JSON.parse(json.stdout) as StatusReport).toMatchObject({ version: 1, mount: null, health: 'notMounted', volume: { directory: volume, copies: 2 } });
  });

  it('uses no colour where no terminal reads', async () => {
    await sdfs('init', volume);
    expect((await sdfs('status', volume)).stdout).not.toContain('\u001b');
  });

  it('without a mount says how to get one', async () => {
    expectFailure(await sdfs('status'), EXIT.notFound, /no sdfs volume is mounted here; mount one with/);
  });
});

describe('a mount that cannot be', () => {
  it.each([
    ['of no volume', (): string[] => [join(root, 'none'), root], EXIT.notFound, /there is no sdfs volume at/],
    ['with an unknown option', () => ['-o', 'sideways', volume, root], EXIT.usage, /unknown mount option "sideways"/],
  ])('%s is refused', async (_what, words, code, message) => {
    await sdfs('init', volume);
    expectFailure(await sdfs('mount', '-d', ...words()), code, message);
  });

  it.runIf(ROOT).each([
    ['at a missing directory', () => join(root, 'none'), EXIT.notFound, /mountpoint .* does not exist/],
    ['at a file', () => join(volume, 'sdfs-volume.json'), EXIT.usage, /is not a directory/],
    ['at a directory that is mounted on', () => tmpfs('busy', 'size=1m'), EXIT.busy, /something is mounted at .* already: tmpfs/],
  ])('%s is refused, and writes nothing', async (_what, mountpoint, code, message) => {
    await sdfs('init', volume);
    expectFailure(await sdfs('mount', '-d', volume, mountpoint()), code, message);
    expect(readdirSync(volume).toSorted()).toEqual(['disks', 'sdfs-volume.json', 'state.json']);
  });

  it.runIf(ROOT)('because the volume is another user\'s is refused', async () => {
    await sdfs('init', volume);
    execFileSync('chmod', ['-R', 'a+rX', root]);
    const script = `process.setgid(65534); process.setuid(65534); import(${JSON.stringify(command.main)});`;
    const outcome = await runProgram(process.execPath, ['-e', script, '--', 'mount', volume, root]);
    expectFailure(outcome, EXIT.denied, /belongs to root: mount it with sudo/);
  });

  it('because the volume file is newer or damaged is refused', async () => {
    await sdfs('init', volume);
    const file = join(volume, 'sdfs-volume.json');
    const good = readFileSync(file, 'utf8');
    const { crc: _crc, ...content } = JSON.parse(good) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...content, version: 3 }));
    expectFailure(await sdfs('mount', '-d', volume, root), EXIT.unsupported, /newer sdfs/);
    writeFileSync(file, good.slice(0, 100));
    expectFailure(await sdfs('mount', '-d', volume, root), EXIT.damaged, /damaged/);
  });
});

describe('sdfs on what is not mounted', () => {
  it.each([
    ['umount', /no sdfs volume is mounted at or from/],
    ['sync', /no sdfs volume is mounted at or from/],
  ])('%s says so', async (name, message) => {
    expectFailure(await sdfs(name, root), EXIT.notFound, message);
  });

  it('umount --force says so too', async () => {
    expectFailure(await sdfs('umount', '--force', root), EXIT.notFound, /no sdfs volume is mounted/);
  });

  it('umount refuses --lazy with --force', async () => {
    expectFailure(await sdfs('umount', '--lazy', '--force', root), EXIT.usage, /exclude each other/);
  });

  it('info of a file elsewhere says so, and of a missing one that it is missing', async () => {
    expectFailure(await sdfs('info', root), EXIT.usage, /is not on an sdfs mount/);
    expectFailure(await sdfs('info', join(root, 'none')), EXIT.notFound, /there is no such file/);
  });
});
