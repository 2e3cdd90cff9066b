// Disks that are full: what is refused, what goes on, and how the space comes back. On small file systems of their own.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { DriverEpoch, Sequence, WorkerId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { BlockIndex } from '../../src/disk/block-index.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { Checkpoint } from '../../src/disk/checkpoint.ts';
import { Disk } from '../../src/disk/disk.ts';
import { reserveFor, sizesFor } from '../../src/disk/disk-sizes.ts';
import { countSharing, DiskSpace } from '../../src/disk/disk-space.ts';
import { initDisk } from '../../src/disk/identity.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { encodeRecord } from '../../src/log/record.ts';
import { blockId, DISK_VOLUME, diskDescription, makeBlock, silentLog } from '../support/temporary-disk.ts';

const MiB = 2 ** 20;
const asRoot = process.getuid?.() === 0;
let parent: string;
let mounts: string[] = [];
let closing: { close(): Promise<unknown> }[] = [];

beforeEach(() => {
  parent = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-full-'));
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const each of closing) await each.close().catch(() => undefined);
  closing = [];
  for (const path of mounts) execFileSync('umount', ['-l', path]);
  mounts = [];
  fs.rmSync(parent, { recursive: true });
});

function mountSmall(bytes: number): string {
  const path = fs.mkdtempSync(join(parent, 'm-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  mounts.push(path);
  return path;
}

function makeDiskOn(path: string): string {
  const directory = join(path, 'disk');
  initDisk(directory, { worker: 0 as WorkerId, description: diskDescription(directory) });
  return directory;
}

async function openDisk(directory: string): Promise<Disk> {
  const disk = await Disk.open({ directory, log: silentLog });
  closing.push(disk);
  return disk;
}

async function openStore(directory: string, segmentBytes: number): Promise<BlockStore> {
  const store = await BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: true, log: silentLog, segmentBytes });
  closing.push(store);
  return store;
}

function freeBytes(path: string): number {
  const { bavail, bsize } = fs.statfsSync(path);
  return bavail * bsize;
}

/** Takes all space but `leave` bytes, in a file. */
function fill(path: string, leave = 0): string {
  const file = join(path, 'filler');
  const fd = fs.openSync(file, 'w');
  for (let piece = MiB; piece >= 4096;) {
    const bytes = Math.min(piece, freeBytes(path) - leave);
    if (bytes < 4096) break;
    try {
      fs.writeSync(fd, Buffer.alloc(bytes, 1));
    } catch {
      piece /= 2;
    }
  }
  fs.closeSync(fd);
  return file;
}

/** Puts small blocks until the disk refuses; the ids of those that it took. */
async function putUntilFull(disk: Disk, bytes: number): Promise<BlockPut[]> {
  const taken: BlockPut[] = [];
  for (let lo = 1; lo < 100_000; lo += 16) {
    const puts = Array.from({ length: 16 }, (_, index) => makeBlock(lo + index, bytes));
    try {
      await disk.blocks.put(puts);
    } catch (error) {
      expect(error).toMatchObject({ code: 'noSpace' });
      return taken;
    }
    taken.push(...puts);
  }
  throw new Error('the disk is never full');
}

async function expectBlock(disk: { blocks: BlockStore }, put: BlockPut): Promise<void> {
  const { data } = await disk.blocks.read(put.id, 0, put.checksums.length);
  expect(Buffer.from(data).equals(Buffer.concat(put.data))).toBe(true);
}

function records(first: number, last: number, valueBytes: number): Buffer {
  return Buffer.concat(Array.from({ length: last - first + 1 }, (_, index) => {
    const key = Buffer.from(`row ${first + index}`);
    return encodeRecord({ sequence: (first + index) as Sequence, epoch: 1 as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 }, [{ kind: 'put', key, value: Buffer.alloc(valueBytes, key) }]);
  }));
}

test('files of a disk are a share of its file system, within bounds', () => {
  expect(sizesFor(200 * MiB)).toEqual({ segmentBytes: 8 * MiB, logSegmentBytes: 8 * MiB, logSparesMax: 1, growAheadBytes: 4 * MiB });
  expect(sizesFor(1000.5 * MiB)).toEqual({ segmentBytes: 15 * MiB, logSegmentBytes: 8 * MiB, logSparesMax: 1, growAheadBytes: 15 * MiB });
  expect(sizesFor(2 ** 40)).toEqual({ segmentBytes: LIMITS.segmentBytes, logSegmentBytes: LIMITS.logSegmentBytes, logSparesMax: 2, growAheadBytes: 16 * MiB });
});

test('the reserve is 2 % of a large file system, 64 MiB for each directory on a small one, and at most half', () => {
  expect(reserveFor(10 ** 12, 4)).toBe(2 * 10 ** 10);
  expect(reserveFor(1000 * MiB, 1)).toBe(64 * MiB);
  expect(reserveFor(1000 * MiB, 4)).toBe(256 * MiB);
  expect(reserveFor(400 * MiB, 4)).toBe(200 * MiB);
});

test('disks of a volume on one file system are counted once each, and only those that are there', async () => {
  const directories = [0, 1, 2].map((worker) => join(parent, `d${worker}`));
  for (const directory of directories.slice(0, 2)) initDisk(directory, { worker: 0 as WorkerId, description: diskDescription(directory) });
  fs.mkdirSync(directories[2]!);
  fs.symlinkSync(directories[0]!, join(parent, 'same'));
  expect(await countSharing(directories[0]!, [...directories, join(parent, 'same'), '/nowhere', '/proc'])).toBe(2);
});

test.runIf(asRoot)('workers that share a file system leave the reserve free together', () => {
  const path = mountSmall(300 * MiB);
  const spaces = ['a', 'b', 'c'].map((name) => {
    fs.mkdirSync(join(path, name));
    return { space: new DiskSpace(join(path, name), { directories: 3 }), fd: fs.openSync(join(path, name, 'file'), 'w') };
  });
  const piece = Buffer.alloc(MiB, 1);
  let refused = 0;
  for (let turn = 0; refused < 30; turn++) {
    const { space, fd } = spaces[turn % 3]!;
    try {
      space.take(piece.length);
      fs.writeSync(fd, piece);
    } catch (error) {
      expect(error).toMatchObject({ code: 'noSpace' });
      refused++;
    }
  }
  for (const { fd } of spaces) fs.closeSync(fd);
  expect(freeBytes(path)).toBeGreaterThanOrEqual(150 * MiB);
  expect(freeBytes(path)).toBeLessThan(152 * MiB);
  expect(spaces.map(({ space }) => space.availableBytes < MiB)).toEqual([true, true, true]);
});

test.runIf(asRoot)('a disk filled with small blocks gives their space back, whether all are deleted or nearly all', async () => {
  const path = mountSmall(180 * MiB);
  const disk = await openDisk(makeDiskOn(path));
  const before = disk.statistics().availableBytes;
  const puts = await putUntilFull(disk, 16_000);
  expect(freeBytes(path)).toBeGreaterThan(60 * MiB);
  const kept = puts.filter((_, index) => index % 20 === 0);
  await disk.blocks.delete(puts.filter((_, index) => index % 20 !== 0).map(({ id }) => id));
  await expect.poll(() => disk.statistics().availableBytes, { timeout: 20_000 }).toBeGreaterThan(before - 16 * MiB);
  for (const put of kept) await expectBlock(disk, put);
  await disk.blocks.delete(kept.map(({ id }) => id));
  await expect.poll(() => disk.statistics().availableBytes, { timeout: 20_000 }).toBeGreaterThan(before - 4 * MiB);
  await disk.blocks.put(puts.slice(0, 16));
  await expectBlock(disk, puts[3]!);
}, 60_000);

test('a segment that takes appends is left for a new one when all that it holds is dead', async () => {
  const directory = makeDiskOn(parent);
  const store = await openStore(directory, 16 * MiB);
  const puts = Array.from({ length: 300 }, (_, index) => makeBlock(index, index % 2 === 0 ? 12_000 : 20_000));
  await store.put(puts);
  await store.delete(puts.map(({ id }) => id));
  await expect.poll(() => fs.readdirSync(join(directory, 'blocks'))).toEqual([]);
  await store.put([makeBlock(1000, 100)]);
  await expectBlock({ blocks: store }, makeBlock(1000, 100));
});

test('large blocks move together when little is left but the headers of dead ones', async () => {
  const directory = makeDiskOn(parent);
  const store = await openStore(directory, 16 * MiB);
  const puts = Array.from({ length: 400 }, (_, index) => makeBlock(index, 20_000));
  for (let at = 0; at < 400; at += 100) await store.put(puts.slice(at, at + 100));
  const kept = puts.filter((_, index) => index % 40 === 0);
  await store.delete(puts.filter((_, index) => index % 40 !== 0).map(({ id }) => id));
  await expect.poll(() => store.blockBytes, { timeout: 10_000 }).toBeLessThan(kept.length * 24_576 + 8192);
  for (const put of kept) await expectBlock({ blocks: store }, put);
  await store.close();
  closing = [];
  const again = await BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: false, log: silentLog, segmentBytes: 16 * MiB });
  closing.push(again);
  expect(again.list(null, 400).map(({ id }) => id.lo)).toEqual(kept.map(({ id }) => id.lo));
  for (const put of kept) await expectBlock({ blocks: again }, put);
}, 20_000);

test('blocks whose rows cannot be written are refused, and take no space', async () => {
  const directory = makeDiskOn(parent);
  const store = await openStore(directory, 16 * MiB);
  await store.put([makeBlock(1, 12_000), makeBlock(2, 40_000)]);
  const sizes = (): number[] => fs.readdirSync(join(directory, 'blocks')).map((name) => fs.statSync(join(directory, 'blocks', name)).size);
  const before = sizes();
  vi.spyOn(BlockIndex.prototype, 'transactAgain').mockImplementationOnce(() => {
    throw Object.assign(new Error('No space left on device'), { code: 28 });
  });
  const refused = [store.put([makeBlock(3, 12_000), makeBlock(4, 40_000)]), store.put([makeBlock(5, 12_000)]), store.delete([blockId(1)])];
  for (const result of await Promise.allSettled(refused)) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'noSpace' } });
  expect(sizes()).toEqual(before);
  await store.put([makeBlock(6, 12_000)]);
  await store.close();
  closing = [];
  const again = await BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: false, log: silentLog });
  closing.push(again);
  expect(again.list(null, 10).map(({ id }) => id.lo)).toEqual([1, 2, 6]);
});

test.runIf(asRoot)('on a disk without a free byte puts are refused, deletes and checkpoints go on, and it opens again', async () => {
  const path = mountSmall(200 * MiB);
  const directory = makeDiskOn(path);
  let disk = await openDisk(directory);
  const puts = Array.from({ length: 600 }, (_, index) => makeBlock(index, 12_000));
  for (let at = 0; at < 600; at += 100) await disk.blocks.put(puts.slice(at, at + 100));
  await disk.metadata.append(1 as Sequence, 500 as Sequence, records(1, 500, 1000));
  const filler = fill(path);
  expect(freeBytes(path)).toBeLessThan(4096);
  await expect((async () => disk.blocks.put([makeBlock(9000, 100)]))()).rejects.toMatchObject({ code: 'noSpace' });
  await disk.metadata.append(501 as Sequence, 600 as Sequence, records(501, 600, 1000));
  disk.metadata.trim(600 as Sequence);
  await expect.poll(() => disk.metadata.state.checkpointSequence, { timeout: 10_000 }).toBe(600);
  disk.raiseEpoch(7 as DriverEpoch);
  await disk.close();
  closing = [];
  disk = await openDisk(directory);
  expect(disk.epoch).toBe(7);
  await disk.blocks.delete(puts.slice(10).map(({ id }) => id));
  // Of 7 MB, behind a segment that is being appended to: they come back without a byte to start with.
  fs.truncateSync(filler, fs.statSync(filler).size - 2 * MiB);
  await expect.poll(() => freeBytes(path), { timeout: 20_000 }).toBeGreaterThan(6 * MiB);
  fs.unlinkSync(filler);
  await disk.blocks.put([makeBlock(9000, 100)]);
  for (const put of [...puts.slice(0, 10), makeBlock(9000, 100)]) await expectBlock(disk, put);
}, 60_000);

test.runIf(asRoot)('a checkpoint that has no room says so, is as it was, and goes on when there is room', async () => {
  const path = mountSmall(64 * MiB);
  const checkpoint = Checkpoint.open(join(path, 'checkpoint'));
  closing.push(checkpoint);
  const rows = (count: number): [Buffer, Buffer][] => Array.from({ length: count }, (_, index) => [Buffer.from(`row ${index}`), Buffer.alloc(1000, index)]);
  await checkpoint.apply(rows(10), { sequence: 1 as Sequence, epoch: 1 as DriverEpoch });
  const filler = fill(path);
  const position = { sequence: 2 as Sequence, epoch: 1 as DriverEpoch };
  // Less than it has ahead, so that only LMDB finds out; once in the middle of a write.
  for (let time = 0; time < 3; time++) await expect(checkpoint.apply(rows(20_000), position)).rejects.toMatchObject({ code: 'noSpace' });
  expect(checkpoint.applied.sequence).toBe(1);
  expect(checkpoint.rows(null, MiB)).toHaveLength(10);
  await checkpoint.apply(rows(11), position);
  expect(checkpoint.rows(null, MiB)).toHaveLength(11);
  fs.unlinkSync(filler);
  await checkpoint.apply(rows(20_000), { ...position, sequence: 3 as Sequence });
  expect(checkpoint.applied.sequence).toBe(3);
  // A rejected promise that nobody has would have ended the process by now.
  await new Promise((resolve) => setTimeout(resolve, 50));
});
