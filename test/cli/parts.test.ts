// The parts of the command that need no process: sizes, tables, mount options, holders, the log view.
import { appendFileSync, mkdtempSync, openSync, closeSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT, UserError } from '../../src/base/errors.ts';
import { reportFailure } from '../../src/cli/failure.ts';
import { findHolders } from '../../src/cli/holders.ts';
import { formatInfo } from '../../src/cli/info.ts';
import { LogView } from '../../src/cli/log-view.ts';
import { mountOptions } from '../../src/cli/mount.ts';
import { formatBytes, formatTable } from '../../src/cli/terminal.ts';
import { parseSize } from '../../src/cli/values.ts';

describe('sizes', () => {
  it.each([['65536', 65536], ['64K', 65536], ['1MiB', 1048576], ['1m', 1048576], ['2 GB', 2 ** 31]])('%s is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });
  it.each(['', 'K', '1.5M', '-1', '1X', '99999999T'])('%j is none', (text) => {
    expect(() => parseSize(text)).toThrow(UserError);
  });
  it('are printed in the unit that fits', () => {
    expect([0, 1023, 1536, 2 ** 20, 150 * 2 ** 30, null].map(formatBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '1.0 MiB', '150 GiB', '-']);
  });
});

describe('a table', () => {
  it('has columns and no ruled lines', () => {
    expect(formatTable(['A', 'LONG'], [['1', 'x'], ['22', 'y']])).toBe('A   LONG\n1   x\n22  y');
  });
});

describe('mount options', () => {
  it('leave out what an fstab line says to others, and allow other users', () => {
    expect(mountOptions('/v', ['defaults,_netdev,noauto', 'x-systemd.automount,ro,comment=mine'], 'direct', true)).toMatchObject({ readOnly: true, allowOther: true, fsname: '/v' });
  });
  it('of an ordinary user keep others, set-uid programs and devices out', () => {
    expect(mountOptions('/v', [], 'direct', false)).toMatchObject({ allowOther: false, noSuid: true, noDev: true });
    expect(mountOptions('/v', ['allow_other'], 'direct', false)).toMatchObject({ allowOther: true });
    expect(() => mountOptions('/v', ['suid'], 'direct', false)).toThrow(/for root/);
  });
  it('refuse what nobody knows', () => {
    expect(() => mountOptions('/v', ['sideways'])).toThrow(/sideways/);
  });
});

describe('the processes that hold a directory', () => {
  it('are named with what they hold it by', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sdfs-holders-'));
    const { spawn } = await import('node:child_process');
    const child = spawn('sleep', ['60'], { cwd: directory, stdio: 'ignore' });
    try {
      await new Promise((resolve) => child.once('spawn', resolve));
      expect(await findHolders(directory)).toEqual([{ pid: child.pid, command: 'sleep', use: 'working directory', path: directory }]);
      expect(await findHolders(directory.slice(0, -1))).toEqual([]);
    } finally {
      child.kill('SIGKILL');
      rmSync(directory, { recursive: true });
    }
  });
});

describe('a failure', () => {
  const report = (error: unknown, debug = false) => {
    const lines: string[] = [];
    const code = reportFailure(error, { debug, write: (text) => lines.push(text) });
    return { code, lines };
  };
  it('that a person can mend is one line and its exit code', () => {
    expect(report(new UserError('no\nspace', EXIT.space))).toEqual({ code: EXIT.space, lines: ['sdfs: no; space\n'] });
  });
  it('that nobody expected is called a defect', () => {
    expect(report(new TypeError('x is not a function'))).toEqual({ code: EXIT.failure, lines: [expect.stringContaining('this is a defect in sdfs')] });
  });
});

describe('the picture of a file', () => {
  it('names the disks of each block and counts the good copies', () => {
    const text = formatInfo('/mnt/f', {
      inode: 9, mode: 0o100644, size: 2 ** 20 + 5,
      extents: [
        { offset: 0, bytes: 2 ** 20, block: '00000001000000ff', copies: [{ worker: 2 as never, state: 'good' }, { worker: 0 as never, state: 'missing' }] },
        { offset: 2 ** 20, bytes: 5, copies: [] },
      ],
    }, 2);
    expect(text).toMatch(/inode 9, 1\.0 MiB, 2 extents, 2 copies wanted/);
    expect(text).toMatch(/00000001000000ff +1 +2, 0 \(missing\)/);
    expect(text).toMatch(/in the metadata log/);
  });
});

describe('the log view', () => {
  it('shows what is written after it was opened, for people', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sdfs-log-'));
    const file = join(directory, 'log');
    writeFileSync(file, '{"level":30,"time":0,"role":"keeper","msg":"before"}\n');
    closeSync(openSync(file, 'a'));
    const shown: string[] = [];
    const view = new LogView(file, { colour: false, write: (text) => shown.push(text) });
    appendFileSync(file, '{"level":50,"time":0,"role":"worker","msg":"after"}\nnot json\n');
    view.close();
    rmSync(directory, { recursive: true });
    expect(shown.join('')).toMatch(/^\[.*\] ERROR: worker: after.*\nnot json\n$/);
  });
});
