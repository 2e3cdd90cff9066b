// When a disk counts as failed, and when not.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FormatError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { diskErrno, DiskHealth, openFailure, PROBE_FILE } from '../../src/disk/disk-health.ts';
import { WorkerError } from '../../src/ipc/messages.ts';
import { UnsyncedError } from '../../src/log/unsynced-error.ts';
import { SystemCallError } from '../../src/os/libc.ts';
import { until } from '../support/programs.ts';
import { keepingLog, makeDisk } from '../support/temporary-disk.ts';

let parent: string;
let directory: string;
let health: DiskHealth;
let failures: string[];
const eio = Object.assign(new Error('i/o error'), { code: 'EIO' });
const { log, lines } = keepingLog();
/** A probe that was begun has ended: it was told that the disk failed, or that it is well. */
const probed = (): Promise<void> => until('the end of a probe', () => failures.length > 0 || lines.some((line) => line.includes('a probe of it went well')));

beforeEach(() => {
  ({ parent, directory } = makeDisk());
  failures = [];
  lines.length = 0;
  health = new DiskHealth({ directory, log, onFailed: (reason) => failures.push(reason) });
});
afterEach(() => {
  health.close();
  fs.rmSync(parent, { recursive: true });
});

test('one write that fails on a disk that can be written is no failure, and the third one is', async () => {
  health.failed('write', eio);
  health.failed('write', eio);
  await probed();
  expect(failures).toEqual([]);
  expect(fs.existsSync(join(directory, PROBE_FILE))).toBe(true);
  health.failed('write', eio);
  expect(failures).toEqual([expect.stringContaining(directory)]);
  expect(failures[0]).toContain('EIO');
});

test('a sync that failed ends the process, though the disk can be written again, and whatever the reason was', async () => {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  health.failed('write', new WorkerError('diskFailure', 'blocks cannot be synced', { cause: new UnsyncedError(directory, full) }));
  await probed();
  expect(failures).toEqual([expect.stringContaining('writes it anew')]);
});

test('reads that fail, and a disk that can be written, are bad sectors', async () => {
  for (let count = 0; count < 10 * LIMITS.diskFailuresMax; count++) health.failed('read', new WorkerError('diskFailure', 'cannot be read', { cause: eio }));
  await probed();
  expect(failures).toEqual([]);
});

test('a failure on a disk whose directory is gone is one of the disk, said once', async () => {
  fs.renameSync(directory, `${directory}.away`);
  for (let count = 0; count < 5; count++) health.failed('write', eio);
  await probed();
  expect(failures).toHaveLength(1);
  expect(failures[0]).toContain(directory);
});

test('a full disk and damaged bytes say nothing of the disk', async () => {
  fs.renameSync(directory, `${directory}.away`);
  for (let count = 0; count < 10; count++) {
    health.failed('write', Object.assign(new Error('full'), { code: 'ENOSPC' }));
    health.failed('read', new FormatError('a block', { wanted: 'this', found: 'that' }));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(failures).toEqual([]);
});

test('the errno of an error is found wherever it lies', () => {
  expect(diskErrno(new Error('above', { cause: new SystemCallError('write', 'a file', 30) }))).toBe('EROFS');
  expect(diskErrno(Object.assign(new Error('of LMDB'), { code: 5 }))).toBe('EIO');
  expect(diskErrno(Object.assign(new Error('of LMDB'), { code: -30792 }))).toBeUndefined();
  expect(diskErrno('nothing')).toBeUndefined();
});

test('an error at opening says what to do when it is one of the disk', () => {
  expect(openFailure('/disk', eio)).toMatch(/^the disk \/disk has failed: .*EIO.*mount it there again/);
  expect(openFailure('/disk', new FormatError('a file', { wanted: 'this', found: 'that' }))).toBeUndefined();
});
