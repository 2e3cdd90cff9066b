// Blocks on a real disk directory: put, read, replaced, deleted, compacted, and what a crash leaves of them.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { decodeBlockHeader, encodeBlockHeader, layoutOf, SEGMENT_HEADER_BYTES } from '../../src/disk/block-format.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { DiskSpace } from '../../src/disk/disk-space.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { blockId, DISK_VOLUME, keepingLog, makeBlock, makeDisk } from '../support/temporary-disk.ts';

const KiB = 1024;
let parent: string;
let directory: string;
let stores: BlockStore[] = [];
const { log, lines } = keepingLog();

beforeEach(() => {
  ({ parent, directory } = makeDisk());
  lines.length = 0;
});
afterEach(async () => {
  for (const store of stores) await store.close().catch(() => undefined);
  stores = [];
  fs.rmSync(parent, { recursive: true });
});

async function openStore(options: { trusted?: boolean; segmentBytes?: number } = {}): Promise<BlockStore> {
  const store = await BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: options.trusted ?? true, log, segmentBytes: options.segmentBytes ?? 1024 * KiB });
  stores.push(store);
  return store;
}

async function close(store: BlockStore): Promise<void> {
  stores = stores.filter((each) => each !== store);
  await store.close();
}

async function expectBlock(store: BlockStore, put: BlockPut): Promise<void> {
  const reply = store.read(put.id, 0, put.checksums.length);
  // What is returned at once is valid until the next read.
  const { blockBytes, checksums, data } = reply instanceof Promise ? await reply : { ...reply, data: Buffer.from(reply.data) };
  const wanted = Buffer.concat(put.data);
  expect({ blockBytes, checksums }).toEqual({ blockBytes: wanted.length, checksums: put.checksums });
  expect(data.equals(wanted), `the bytes of block ${put.id.lo}`).toBe(true);
}

function segmentFiles(): string[] {
  return fs.readdirSync(join(directory, 'blocks')).toSorted();
}

function bytesOnDisk(): number {
  return segmentFiles().reduce((sum, name) => sum + fs.statSync(join(directory, 'blocks', name)).blocks * 512, 0);
}

/** Drops the page cache of the segments, so that reads go to the disk. */
async function makeCold(store: BlockStore): Promise<void> {
  await store.sync();
  fs.writeFileSync('/proc/sys/vm/drop_caches', '1');
}

const SIZES = [1, 7, 8, 100, 16 * KiB - 1, 16 * KiB, 16 * KiB + 1, 20_000, 128 * KiB, LIMITS.blockBytesMax - 1, LIMITS.blockBytesMax];

test('the header of a block survives encoding, and damage to any byte of it is noticed', () => {
  const out = Buffer.alloc(5000, 0xff);
  const checksums = Uint32Array.of(1, 2, 0xffff_ffff);
  encodeBlockHeader(out, 8, { volume: Buffer.from(DISK_VOLUME, 'hex'), id: blockId(9), blockBytes: 40_000, checksums, number: 2 ** 40 });
  expect(decodeBlockHeader(out, 8)).toEqual({ volume: Buffer.from(DISK_VOLUME, 'hex'), id: blockId(9), blockBytes: 40_000, checksums, number: 2 ** 40, dead: false, ...layoutOf(40_000) });
  for (let at = 8; at < 8 + 64 + 12; at++) {
    if (at === 8 + 7) continue;
    const copy = Buffer.from(out);
    copy[at]! ^= 1;
    expect(decodeBlockHeader(copy, 8)).toBeUndefined();
  }
});

test.each(SIZES)('a block of %i bytes comes back, whole and in pieces', async (bytes) => {
  const store = await openStore({ segmentBytes: LIMITS.segmentBytes });
  const put = makeBlock(5, bytes);
  await store.put([put]);
  await expectBlock(store, put);
  const last = put.checksums.length - 1;
  const piece = await store.read(put.id, last, 1);
  expect(piece.checksums).toEqual(put.checksums.subarray(last));
  expect(Buffer.from(piece.data).equals(Buffer.concat(put.data).subarray(last * LIMITS.checksumBytes))).toBe(true);
  expect(() => store.read(put.id, 0, put.checksums.length + 1)).toThrow(/no pieces/);
});

test('blocks of one request and of many share segments and turns', async () => {
  const store = await openStore();
  const puts = Array.from({ length: 200 }, (_, index) => makeBlock(index, 1 + ((index * 7919) % (60 * KiB))));
  await Promise.all([store.put(puts.slice(0, 50)), ...puts.slice(50).map((put) => store.put([put]))]);
  for (const put of puts) await expectBlock(store, put);
  expect(store.blockCount).toBe(200);
  expect(segmentFiles().length).toBeGreaterThan(3);
});

test('what is not in the page cache is read too, alone and side by side', async () => {
  const store = await openStore();
  const puts = Array.from({ length: 40 }, (_, index) => makeBlock(index, 1 + ((index * 7919) % (60 * KiB))));
  await store.put(puts);
  await makeCold(store);
  await expectBlock(store, puts[0]!);
  await makeCold(store);
  await Promise.all(puts.map((put) => expectBlock(store, put)));
});

test('a block that is not here is notFound, and hasBlocks and listBlocks know what is', async () => {
  const store = await openStore();
  await store.put([3, 1, 2, 900].map((lo) => makeBlock(lo, 1000 + lo)));
  expect(() => store.read(blockId(7), 0, 1)).toThrow(expect.objectContaining({ code: 'notFound' }));
  expect([...store.has([1, 7, 900].map(blockId))]).toEqual([1, 0, 1]);
  expect(store.list(null, 3)).toEqual([1, 2, 3].map((lo) => ({ id: blockId(lo), bytes: 1000 + lo })));
  expect(store.list(blockId(2), 10).map(({ id }) => id.lo)).toEqual([3, 900]);
});

test('a put of an id that is there replaces it, in the same turn and later, and after a reopen', async () => {
  let store = await openStore();
  const [first, second, third] = [makeBlock(1, 5000, 1), makeBlock(1, 100 * KiB, 2), makeBlock(1, 70, 3)];
  await Promise.all([store.put([first]), store.put([second])]);
  await expectBlock(store, second);
  await store.put([third]);
  expect(store.blockCount).toBe(1);
  await close(store);
  store = await openStore();
  await expectBlock(store, third);
  await close(store);
  store = await openStore({ trusted: false });
  expect(store.blockCount).toBe(1);
  await expectBlock(store, third);
});

test('requests of one turn take effect in their order', async () => {
  const store = await openStore();
  const put = makeBlock(1, 500);
  const [, , again] = [store.put([put]), store.delete([put.id]), store.put([put]), store.delete([blockId(2)])];
  await again;
  await expectBlock(store, put);
  const gone = store.delete([put.id]);
  expect([...store.has([put.id])]).toEqual([0]);
  await gone;
});

test('the index is made anew from the segments when it is not to be trusted', async () => {
  let store = await openStore();
  const puts = Array.from({ length: 60 }, (_, index) => makeBlock(index, 1 + ((index * 7919) % (60 * KiB))));
  await store.put(puts);
  const before = store.blockBytes;
  await store.delete(puts.slice(0, 10).map((put) => put.id));
  await expect.poll(() => store.blockBytes).toBeLessThan(before);
  await close(store);
  fs.rmSync(join(directory, 'index'), { recursive: true });
  store = await openStore({ trusted: false });
  expect(store.list(null, 100).map(({ id }) => id.lo)).toEqual(puts.slice(10).map((put) => put.id.lo));
  for (const put of puts.slice(10)) await expectBlock(store, put);
  const more = makeBlock(1000, 30_000);
  await store.put([more]);
  await expectBlock(store, more);
});

test('a torn block costs itself and no other when the index is made anew', async () => {
  let store = await openStore();
  const puts = [1, 2, 3].map((lo) => makeBlock(lo, 40 * KiB));
  await store.put(puts);
  await close(store);
  const path = join(directory, 'blocks', segmentFiles()[0]!);
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, Buffer.alloc(100, 0xee), 0, 100, SEGMENT_HEADER_BYTES + layoutOf(40 * KiB).recordBytes);
  fs.closeSync(fd);
  store = await openStore({ trusted: false });
  expect(store.list(null, 10).map(({ id }) => id.lo)).toEqual([1, 3]);
});

test('bytes behind the last acknowledged block are cut off at open', async () => {
  let store = await openStore();
  await store.put([makeBlock(1, 40 * KiB)]);
  await close(store);
  const path = join(directory, 'blocks', segmentFiles()[0]!);
  const size = fs.statSync(path).size;
  fs.appendFileSync(path, Buffer.alloc(100_000, 1));
  fs.writeFileSync(join(directory, 'blocks', 'l00000099'), 'of a process that died');
  store = await openStore();
  expect(fs.statSync(path).size).toBe(size);
  expect(segmentFiles()).not.toContain('l00000099');
  await store.put([makeBlock(2, 40 * KiB)]);
  await expectBlock(store, makeBlock(2, 40 * KiB));
});

test('a missing segment is noticed, said, and the other blocks are served', async () => {
  let store = await openStore();
  await store.put([makeBlock(1, 40 * KiB), makeBlock(2, 100)]);
  await close(store);
  fs.unlinkSync(join(directory, 'blocks', segmentFiles().find((name) => name.startsWith('l'))!));
  store = await openStore();
  expect(store.list(null, 10).map(({ id }) => id.lo)).toEqual([2]);
  expect(lines.join()).toContain('a segment of blocks is missing');
});

test('deleting large blocks gives their space back to the file system', async () => {
  const store = await openStore({ segmentBytes: 64 * 1024 * KiB });
  const puts = Array.from({ length: 20 }, (_, index) => makeBlock(index, LIMITS.blockBytesMax));
  await store.put(puts.slice(0, 10));
  await store.put(puts.slice(10));
  await store.sync();
  const before = bytesOnDisk();
  expect(before).toBeGreaterThan(20 * 1024 * KiB);
  await store.delete(puts.slice(0, 15).map((put) => put.id));
  await expect.poll(() => bytesOnDisk()).toBeLessThan(before - 14 * 1024 * KiB);
  expect(store.blockBytes).toBeLessThan(6 * 1024 * KiB);
  for (const put of puts.slice(15)) await expectBlock(store, put);
});

test('a segment without live blocks is removed when it takes no more', async () => {
  const store = await openStore({ segmentBytes: 256 * KiB });
  const puts = Array.from({ length: 40 }, (_, index) => makeBlock(index, index % 2 === 0 ? 60 * KiB : 12 * KiB));
  await store.put(puts);
  await store.delete(puts.map((put) => put.id));
  await store.put([makeBlock(100, 200 * KiB), makeBlock(101, 16 * KiB)]);
  await store.delete([blockId(100)]);
  await expect.poll(() => segmentFiles().length).toBeLessThanOrEqual(2);
  await expectBlock(store, makeBlock(101, 16 * KiB));
});

test('small segments that are half dead are written anew, and their live blocks stay readable', async () => {
  let store = await openStore({ segmentBytes: 256 * KiB });
  const puts = Array.from({ length: 1000 }, (_, index) => makeBlock(index, 1000 + index));
  for (let at = 0; at < 1000; at += 100) await store.put(puts.slice(at, at + 100));
  const before = segmentFiles().length;
  const kept = puts.filter((put) => put.id.lo % 4 === 0);
  await store.delete(puts.filter((put) => put.id.lo % 4 !== 0).map((put) => put.id));
  await expect.poll(() => segmentFiles().length, { timeout: 10_000 }).toBeLessThanOrEqual(Math.ceil(before / 3));
  for (const put of kept) await expectBlock(store, put);
  await close(store);
  store = await openStore({ segmentBytes: 256 * KiB, trusted: false });
  for (const put of kept) await expectBlock(store, put);
  expect(store.list(null, 2000).filter(({ id }) => id.lo % 4 === 0)).toHaveLength(kept.length);
}, 20_000);

test('a block that does not fit any more is refused, and none of its request is stored', async () => {
  const store = await openStore();
  const space = Reflect.get(DiskSpace.prototype, 'take') as unknown;
  try {
    DiskSpace.prototype.take = function refuse(bytes: number): void {
      if (bytes > 50_000) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    expect(() => store.put([makeBlock(1, 100), makeBlock(2, 100 * KiB)])).toThrow(expect.objectContaining({ code: 'noSpace' }));
    await store.put([makeBlock(3, 100)]);
    expect(store.list(null, 10).map(({ id }) => id.lo)).toEqual([3]);
  } finally {
    DiskSpace.prototype.take = space as typeof DiskSpace.prototype.take;
  }
});

test('a put that contradicts itself is a bad request', async () => {
  const store = await openStore();
  const put = makeBlock(1, 100);
  expect(() => store.put([{ ...put, checksums: new Uint32Array(2) }])).toThrow(expect.objectContaining({ code: 'badRequest' }));
  expect(() => store.put([{ ...put, data: [] }])).toThrow(expect.objectContaining({ code: 'badRequest' }));
});
