// Whose a disk is: written once, told by any disk, refused to everybody else.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { Uuid, WorkerId } from '../../src/base/ids.ts';
import { Disk } from '../../src/disk/disk.ts';
import { DiskState } from '../../src/disk/disk-state.ts';
import { IDENTITY_FILE, initDisk, lockDisk, readIdentity } from '../../src/disk/identity.ts';
import { DISK_UUID, DISK_VOLUME, diskDescription, keepingLog, makeBlock, makeDisk, silentLog } from '../support/temporary-disk.ts';

let parent: string;
let directory: string;

beforeEach(() => {
  ({ parent, directory } = makeDisk());
});
afterEach(() => {
  fs.rmSync(parent, { recursive: true });
});

function init(path: string): void {
  initDisk(path, { worker: 0 as WorkerId, description: diskDescription(path) });
}

test('a disk alone tells the whole volume', () => {
  expect(readIdentity(directory)).toEqual({ worker: 0, disk: DISK_UUID, description: diskDescription(directory) });
  expect(fs.statSync(join(directory, IDENTITY_FILE)).mode & 0o777).toBe(0o600);
});

test('a fresh ext4 is empty enough for a disk; anything else in the directory is not', () => {
  const fresh = join(parent, 'fresh');
  fs.mkdirSync(join(fresh, 'lost+found'), { recursive: true });
  init(fresh);
  const used = join(parent, 'used');
  fs.mkdirSync(used);
  fs.writeFileSync(join(used, 'thesis.tex'), '');
  expect(() => init(used)).toThrow(expect.objectContaining({ name: 'UserError', exitCode: EXIT.foreign, message: expect.stringContaining('thesis.tex') }));
  expect(() => init(directory)).toThrow(/is disk 0 of the volume "test".*already/);
  const file = join(parent, 'file');
  fs.writeFileSync(file, '');
  expect(() => init(join(file, 'below'))).toThrow(expect.objectContaining({ name: 'UserError' }));
});

test.each([
  ['is not there', undefined, EXIT.notFound],
  ['is not JSON', '{', EXIT.damaged],
  ['lacks a field', '{"format":"sdfs-disk","version":1}', EXIT.damaged],
  ['is of a newer sdfs', '{"format":"sdfs-disk","version":2}', EXIT.unsupported],
])('an identity file that %s is refused with what to do', (_name, content, exitCode) => {
  const file = join(directory, IDENTITY_FILE);
  if (content === undefined) fs.unlinkSync(file);
  else fs.writeFileSync(file, content);
  expect(() => readIdentity(directory)).toThrow(expect.objectContaining({ name: 'UserError', exitCode }));
});

test('a disk serves one process at a time, and the lock ends with its holder', async () => {
  const lock = lockDisk(directory);
  expect(() => lockDisk(directory)).toThrow(expect.objectContaining({ name: 'UserError', exitCode: EXIT.busy }));
  lock.release();
  lockDisk(directory).release();
});

test('a disk notes a newer description of its volume, never an older one, and is held all the time', () => {
  const lock = lockDisk(directory);
  const newer = { ...diskDescription(directory), generation: 2, name: 'newer' };
  lock.describe(newer);
  lock.describe({ ...newer, generation: 1, name: 'older' });
  expect(readIdentity(directory).description).toEqual(newer);
  expect(lock.identity.description.name).toBe('newer');
  expect(() => lockDisk(directory)).toThrow(expect.objectContaining({ exitCode: EXIT.busy }));
  lock.release();
  lockDisk(directory).release();
});

test('a disk in the place of another is refused', async () => {
  const expectation = { volume: DISK_VOLUME, worker: 0 as WorkerId, disk: DISK_UUID };
  const other = '1'.repeat(32) as Uuid;
  for (const expect_ of [{ ...expectation, volume: other }, { ...expectation, disk: other }, { ...expectation, worker: 1 as WorkerId }]) {
    await expect(Disk.open({ directory, log: silentLog, expect: expect_ })).rejects.toMatchObject({ name: 'UserError', exitCode: EXIT.foreign });
  }
  await (await Disk.open({ directory, log: silentLog, expect: expectation })).close();
});

test('after an unclean end the index is made anew on another mount, of the same boot too', async () => {
  const { log, lines } = keepingLog();
  const rebuilt = (): boolean => lines.splice(0).some((line) => line.includes('making the block index anew'));
  const put = makeBlock(1, 1000);
  const state = (mount: string): DiskState => DiskState.open(directory, { bootId: 'one', mount });
  for (const [mount, isAnew] of [['a', false], ['a', false], ['b', true]] as const) {
    const disk = await Disk.open({ directory, log, bootId: 'one', mount });
    expect(rebuilt(), mount).toBe(isAnew);
    await disk.blocks.put([put]);
    await disk.close();
    state(mount).markInUse();
  }
  expect([state('b').sameBootOrClean, state('c').sameBootOrClean, state('b').allOnDisk]).toEqual([true, false, false]);
});

test('the index is trusted after a clean end or on the same boot, and made anew otherwise', async () => {
  const { log, lines } = keepingLog();
  const rebuilt = (): boolean => lines.splice(0).some((line) => line.includes('making the block index anew'));
  const put = makeBlock(1, 1000);
  let disk = await Disk.open({ directory, log, bootId: 'one' });
  await disk.blocks.put([put]);
  await disk.close();
  disk = await Disk.open({ directory, log, bootId: 'two' });
  expect(rebuilt()).toBe(false);
  const trusted = (bootId: string): boolean => DiskState.open(directory, { bootId }).sameBootOrClean;
  expect([trusted('two'), trusted('three')]).toEqual([true, false]);
  await disk.close();
  DiskState.open(directory, { bootId: 'two' }).markInUse();
  disk = await Disk.open({ directory, log, bootId: 'three' });
  expect(rebuilt()).toBe(true);
  expect(disk.blocks.list(null, 10)).toEqual([{ id: put.id, bytes: 1000 }]);
  await disk.close();
});

test('a disk remembers the newest driver, and a state file that cannot be read is not trusted', () => {
  const state = DiskState.open(directory, { bootId: 'one' });
  state.raiseEpoch(7 as never);
  state.raiseEpoch(5 as never);
  expect(DiskState.open(directory, { bootId: 'one' }).epoch).toBe(7);
  fs.writeFileSync(join(directory, 'state.json'), '{"version":1');
  expect(DiskState.open(directory, { bootId: 'one' }).sameBootOrClean).toBe(false);
  fs.writeFileSync(join(directory, 'state.json'), '{"version":2}');
  expect(() => DiskState.open(directory, { bootId: 'one' })).toThrow(/newer sdfs/);
});

test('statistics tell the file system, less the reserve', async () => {
  const disk = await Disk.open({ directory, log: silentLog });
  const found = fs.statfsSync(directory);
  const { totalBytes, availableBytes, device, blockBytes, blockCount } = disk.statistics();
  expect({ totalBytes, device, blockBytes, blockCount }).toEqual({ totalBytes: found.blocks * found.bsize, device: fs.statSync(directory).dev, blockBytes: 0, blockCount: 0 });
  expect(availableBytes).toBeLessThan(found.bavail * found.bsize);
  await disk.close();
});
