// What a worker finds when it reads its blocks back: every kind of damage to segment files, and the rebuilt index.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { blockChecksums } from '../../src/blocks/checksum.ts';
import type { Uuid } from '../../src/base/ids.ts';
import { encodeSegmentHeader } from '../../src/disk/block-format.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { DiskSpace } from '../../src/disk/disk-space.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { bytesOf } from '../support/block-data.ts';
import { blockId, DISK_VOLUME, keepingLog, makeDisk } from '../support/temporary-disk.ts';

const GOOD = 1;
const DAMAGED = 2;
const SIZES = [1, 3000, 16_384, 40_000, 200_000];
let parent: string;
let directory: string;
let store: BlockStore | undefined;
const { log } = keepingLog();

const puts: readonly BlockPut[] = SIZES.map((bytes, number) => {
  const id = blockId(number + 1);
  const data = [bytesOf(number, bytes)];
  return { id, checksums: blockChecksums(id, data), data };
});
const ids = puts.map(({ id }) => id);

beforeEach(() => {
  ({ parent, directory } = makeDisk());
});
afterEach(async () => {
  await store?.close().catch(() => undefined);
  store = undefined;
  fs.rmSync(parent, { recursive: true });
});

async function open(options: { trusted?: boolean; volume?: Uuid } = {}): Promise<BlockStore> {
  store = await BlockStore.open({ directory, volume: options.volume ?? DISK_VOLUME, space: new DiskSpace(directory), trusted: options.trusted ?? true, allOnDisk: true, log, segmentBytes: 1024 * 1024 });
  return store;
}

async function filled(): Promise<BlockStore> {
  const opened = await open();
  await opened.put(puts);
  await opened.sync();
  return opened;
}

const segment = (name: string): string => join(directory, 'blocks', name);

/** Of a block's data, by its first bytes; or of its header. */
function offsetOf(name: string, bytes: Uint8Array): number {
  return fs.readFileSync(segment(name)).indexOf(bytes.subarray(0, 64));
}

function flip(name: string, offset: number): void {
  const fd = fs.openSync(segment(name), 'r+');
  const byte = Buffer.alloc(1);
  fs.readSync(fd, byte, 0, 1, offset);
  byte[0]! ^= 0x10;
  fs.writeSync(fd, byte, 0, 1, offset);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}

test('every block is found good as it was put, and one that is not there missing', async () => {
  const opened = await filled();
  expect([...(await opened.verify([...ids, blockId(99)]))]).toEqual([...SIZES.map(() => GOOD), 0]);
});

test('a flipped bit in the data or in the header of a block is found, and its neighbours are good', async () => {
  const opened = await filled();
  flip('l00000001', offsetOf('l00000001', puts[3]!.data[0]!) + 20_000);
  flip('s00000002', offsetOf('s00000002', puts[1]!.data[0]!) - 20);
  expect([...(await opened.verify(ids))]).toEqual([GOOD, DAMAGED, GOOD, DAMAGED, GOOD]);
});

test('blocks behind the end of a truncated segment are damaged, and good again when they are put again', async () => {
  const opened = await filled();
  fs.truncateSync(segment('l00000001'), 10_000);
  expect([...(await opened.verify(ids))]).toEqual([GOOD, GOOD, GOOD, DAMAGED, DAMAGED]);
  await opened.put(puts.slice(3));
  expect([...(await opened.verify(ids))]).toEqual(SIZES.map(() => GOOD));
});

test('blocks of a segment file that is gone are damaged', async () => {
  const opened = await filled();
  await opened.close();
  store = undefined;
  const again = await open();
  fs.unlinkSync(segment('l00000001'));
  expect([...(await again.verify(ids))].slice(3)).toEqual([DAMAGED, DAMAGED]);
});

test('an index made anew finds the blocks behind a damaged segment header, and those of swapped segment files', async () => {
  const opened = await filled();
  await opened.put(Array.from({ length: 8 }, (_, number) => {
    const id = blockId(100 + number);
    const data = [bytesOf(number, 200_000)];
    return { id, checksums: blockChecksums(id, data), data };
  }));
  await opened.close();
  const large = fs.readdirSync(join(directory, 'blocks')).filter((name) => name.startsWith('l'));
  expect(large.length).toBeGreaterThanOrEqual(2);
  fs.renameSync(segment(large[0]!), segment('swap'));
  fs.renameSync(segment(large[1]!), segment(large[0]!));
  fs.renameSync(segment('swap'), segment(large[1]!));
  flip('s00000002', 9);
  const again = await open({ trusted: false });
  expect([...(await again.verify([...ids, ...Array.from({ length: 8 }, (_, number) => blockId(100 + number))]))]).toEqual(Array.from({ length: 13 }, () => GOOD));
});

test('a segment of another volume is set aside when the index is made anew, and the others are used', async () => {
  const opened = await filled();
  await opened.close();
  const other = 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb' as Uuid;
  fs.writeFileSync(segment('l00000009'), Buffer.concat([encodeSegmentHeader(other, { number: 9, class: 'large' }), Buffer.alloc(8192, 1)]));
  const again = await open({ trusted: false });
  expect([...(await again.verify(ids))]).toEqual(SIZES.map(() => GOOD));
  expect(fs.existsSync(segment('l00000009.foreign'))).toBe(true);
});

test('a block that another volume left in a segment is not taken for one of this volume', async () => {
  const other = 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb' as Uuid;
  const stranger = await open({ volume: other });
  await stranger.put(puts);
  await stranger.close();
  // Only the headers of the segments are this volume's.
  for (const [number, name, blockClass] of [[1, 'l00000001', 'large'], [2, 's00000002', 'small']] as const) {
    const fd = fs.openSync(segment(name), 'r+');
    fs.writeSync(fd, encodeSegmentHeader(DISK_VOLUME, { number, class: blockClass }), 0, 32, 0);
    fs.closeSync(fd);
  }
  const opened = await open({ trusted: false });
  expect(opened.blockCount).toBe(0);
});
