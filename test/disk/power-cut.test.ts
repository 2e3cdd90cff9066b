// Blocks on a disk that forgets, at a power cut, what was not synced: ext4 that is shut down without a flush, and mounted anew.
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockOf } from '../support/block-data.ts';
import { DEAD, SEGMENT_HEADER_BYTES, STATE_OFFSET } from '../../src/disk/block-format.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { DiskSpace } from '../../src/disk/disk-space.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import { LoopDisk } from '../support/loop-disk.ts';
import { hasProgram, until } from '../support/programs.ts';
import { DISK_VOLUME, silentLog } from '../support/temporary-disk.ts';

const MiB = 1024 * 1024;
const missing = process.getuid?.() === 0 ? ['mkfs.ext4', 'python3', 'losetup'].find((name) => !hasProgram(name)) : 'root';

let parent: string;
let disk: LoopDisk;
let store: BlockStore | undefined;

async function openStore(options: { trusted: boolean; directory?: string }): Promise<BlockStore> {
  const directory = options.directory ?? disk.mountpoint;
  store = await BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: options.trusted, log: silentLog, segmentBytes: 8 * MiB });
  return store;
}

async function closeStore(): Promise<void> {
  await store?.close().catch(() => undefined);
  store = undefined;
}

const segments = (directory = disk.mountpoint): string[] => fs.readdirSync(join(directory, 'blocks')).toSorted();

async function expectBlocks(from: BlockStore, blocks: readonly BlockPut[]): Promise<void> {
  for (const { id, checksums, data } of blocks) {
    const pieces = await from.read(id, 0, checksums.length);
    expect(Buffer.concat(data).equals(pieces.data), `block ${id.lo}`).toBe(true);
  }
}

/** What the file system commits now, it would have committed some seconds later by itself: names and lengths, not data. */
function commitMetadata(): void {
  const fd = fs.openSync(join(disk.mountpoint, 'another'), 'w');
  fs.writeSync(fd, 'file');
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}

async function cutPower(): Promise<BlockStore> {
  await disk.fail();
  await closeStore();
  await disk.comeBack();
  return openStore({ trusted: false });
}

describe.skipIf(missing !== undefined)('blocks that were synced, after a power cut', { timeout: 60_000 }, () => {
  beforeEach(async () => {
    parent = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-power-'));
    disk = await LoopDisk.create(join(parent, 'image'), join(parent, 'disk'), 128 * MiB);
  });
  afterEach(async () => {
    await closeStore();
    await disk.remove();
    fs.rmSync(parent, { recursive: true });
  });

  it('are there when they had been moved, and the segment that they were in was removed', async () => {
    const before = await openStore({ trusted: true });
    const blocks = Array.from({ length: 640 }, (_, number) => blockOf(number, 10_000));
    await before.put(blocks);
    await before.sync();
    const [segment] = segments();
    const kept = blocks.slice(0, 40);
    await before.delete(blocks.slice(40).map(({ id }) => id));
    await until('the segment is gone', () => !segments().includes(segment!));
    commitMetadata();
    await expectBlocks(await cutPower(), kept);
  });

  it('are there when they had been put anew, and the first copy was cleared away', async () => {
    const before = await openStore({ trusted: true });
    const block = blockOf(1, 300_000);
    await before.put([block]);
    await before.sync();
    const path = join(disk.mountpoint, 'blocks', segments()[0]!);
    await before.put([block]);
    await until('the first copy is marked dead', () => {
      const state = Buffer.alloc(1);
      const fd = fs.openSync(path, 'r');
      fs.readSync(fd, state, 0, 1, SEGMENT_HEADER_BYTES + STATE_OFFSET);
      fs.closeSync(fd);
      return state[0] === DEAD;
    });
    commitMetadata();
    await expectBlocks(await cutPower(), [block]);
  });

  it('are there when of the copy that was to replace one only the header reached the disk', async () => {
    const before = await openStore({ trusted: true });
    const block = blockOf(1, 300_000);
    await before.put([block]);
    const [name] = segments();
    const { size } = fs.statSync(join(disk.mountpoint, 'blocks', name!));
    await before.put([block]);
    const directory = join(parent, 'as after a cut');
    fs.cpSync(join(disk.mountpoint, 'blocks'), join(directory, 'blocks'), { recursive: true });
    await closeStore();
    const fd = fs.openSync(join(directory, 'blocks', name!), 'r+');
    fs.writeSync(fd, Buffer.alloc(100_000), 0, 100_000, size + 100_000);
    fs.closeSync(fd);
    await expectBlocks(await openStore({ trusted: false, directory }), [block]);
  });
});
