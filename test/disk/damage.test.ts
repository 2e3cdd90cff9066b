// What a disk makes of damage to the files that LMDB believes, and of copies that are not what was put there.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { Checkpoint } from '../../src/disk/checkpoint.ts';
import { DiskSpace } from '../../src/disk/disk-space.ts';
import { DiskState } from '../../src/disk/disk-state.ts';
import { MetadataCopy } from '../../src/disk/metadata-copy.ts';
import { NO_ROWS, RowsDigester, sameDigest } from '../../src/ipc/rows-digest.ts';
import { DISK_VOLUME, keepingLog, makeBlock, makeDisk } from '../support/temporary-disk.ts';

let parent: string;
let directory: string;
const { log, lines } = keepingLog();

beforeEach(() => {
  ({ parent, directory } = makeDisk());
  lines.length = 0;
});
afterEach(() => fs.rmSync(parent, { recursive: true }));

function overwrite(file: string, at: number, bytes: Buffer): void {
  const fd = fs.openSync(file, 'r+');
  fs.writeSync(fd, bytes, 0, bytes.length, at);
  fs.closeSync(fd);
}

describe('the block index', () => {
  const index = (name: string) => join(directory, 'index', name);
  const open = () => BlockStore.open({ directory, volume: DISK_VOLUME, space: new DiskSpace(directory), trusted: true, log, segmentBytes: 1024 * 1024 });

  async function closedWithBlocks(): Promise<void> {
    const store = await open();
    await store.put([makeBlock(1, 100), makeBlock(2, 70_000), makeBlock(3, 5_000)]);
    await store.close();
  }

  async function expectAllBlocks(): Promise<void> {
    const store = await open();
    expect([...store.has([makeBlock(1, 1).id, makeBlock(2, 1).id, makeBlock(3, 1).id])]).toEqual([1, 1, 1]);
    await store.close();
  }

  it.each([
    ['has other bytes than it was closed with', () => overwrite(index('data.mdb'), 9000, Buffer.alloc(4096, 0x5a))],
    ['was cut short', () => fs.truncateSync(index('data.mdb'), 10_000)],
    ['is empty', () => fs.truncateSync(index('data.mdb'), 0)],
    ['is gone, and its seal with it', () => fs.rmSync(join(directory, 'index'), { recursive: true })],
    ['was found damaged by the last process', () => fs.writeFileSync(index('DAMAGED'), '')],
  ])('is made anew from the segments when it %s', async (_what, damage) => {
    await closedWithBlocks();
    damage();
    await expectAllBlocks();
    expect(lines.join()).toContain('the block index is made');
    await expectAllBlocks();
  });

  it('is taken as it is when it was not closed', async () => {
    const store = await open();
    await store.put([makeBlock(1, 100), makeBlock(2, 70_000), makeBlock(3, 5_000)]);
    await store.sync();
    expect(fs.existsSync(index('SEAL'))).toBe(false);
    await store.close();
    fs.rmSync(index('SEAL'));
    await expectAllBlocks();
    expect(lines.join()).not.toContain('the block index is made');
  });
});

describe('the checkpoint', () => {
  const open = (checkpointIsWhole?: () => Promise<boolean>) => MetadataCopy.open({ directory, log, logSegmentBytes: 64 * 1024, checkpointIsWhole });
  const database = () => join(directory, 'checkpoint', 'g00000002', 'data.mdb');

  async function closedWithRows(): Promise<void> {
    const copy = await open();
    await copy.beginCheckpoint();
    await copy.loadCheckpoint([[Buffer.from('a'), Buffer.from('first value')], [Buffer.from('b'), Buffer.from('second value')]]);
    await copy.commitCheckpoint(5 as Sequence, 1 as DriverEpoch);
    await copy.close();
  }

  it('is whole as it was put', async () => {
    await closedWithRows();
    expect(Checkpoint.isWhole(join(directory, 'checkpoint'))).toBe(true);
  });

  it('with a flipped bit in a row does not add up to its digest', async () => {
    await closedWithRows();
    const at = fs.readFileSync(database()).indexOf('second value');
    overwrite(database(), at, Buffer.from('t'));
    expect(Checkpoint.isWhole(join(directory, 'checkpoint'))).toBe(false);
    const copy = await open();
    const { rows, digest } = await copy.rows(null, 1000);
    const digester = new RowsDigester();
    for (const [key, value] of rows) digester.add(key, value);
    expect(rows).toHaveLength(2);
    expect(sameDigest(digest!, digester.digest)).toBe(false);
    await copy.close();
  });

  it.each([
    ['is named by a file that is no JSON', () => fs.writeFileSync(join(directory, 'checkpoint', 'current'), '{')],
    ['is named by a file with a flipped digit', () => {
      const file = join(directory, 'checkpoint', 'current');
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"generation":2', '"generation":3'));
    }],
    ['has a place in the log that does not fit its checksum', () => {
      const bytes = fs.readFileSync(database());
      const applied = Buffer.alloc(16);
      applied.writeUInt8(1, 0);
      applied.writeUInt32LE(1, 4);
      applied.writeUInt32LE(5, 8);
      for (let at = bytes.indexOf(applied); at >= 0; at = bytes.indexOf(applied, at + 1)) overwrite(database(), at + 8, Buffer.of(4));
    }],
  ])('that %s is set aside, and the disk says that it has nothing', async (_what, damage) => {
    await closedWithRows();
    damage();
    const copy = await open();
    expect(copy.state).toEqual({ checkpointSequence: 0, lastSequence: 0, lastEpoch: 0 });
    expect(fs.existsSync(join(directory, 'checkpoint.damaged'))).toBe(true);
    await copy.close();
  });

  it('that ended the last process is looked at in another one first', async () => {
    await closedWithRows();
    const good = await open(() => Promise.resolve(true));
    expect(good.state.lastSequence).toBe(5);
    await good.close();
    const bad = await open(() => Promise.resolve(false));
    expect(bad.state.lastSequence).toBe(0);
    await bad.close();
  });
});

it('a digest does not depend on the order of the rows, and is that of no rows when all are gone', () => {
  const one = new RowsDigester();
  const other = new RowsDigester();
  one.add(Buffer.from('a'), Buffer.from('1'));
  one.add(Buffer.from('b'), Buffer.from('2'));
  other.add(Buffer.from('b'), Buffer.from('2'));
  other.add(Buffer.from('a'), Buffer.from('1'));
  expect(one.digest).toEqual(other.digest);
  const swapped = new RowsDigester();
  swapped.add(Buffer.from('a'), Buffer.from('2'));
  swapped.add(Buffer.from('b'), Buffer.from('1'));
  expect(swapped.digest).not.toEqual(one.digest);
  one.remove(Buffer.from('a'), Buffer.from('1'));
  one.remove(Buffer.from('b'), Buffer.from('2'));
  expect(one.digest).toEqual(NO_ROWS);
});

it('a state file with a flipped digit is not believed', () => {
  DiskState.open(directory, { bootId: 'boot' }).raiseEpoch(12 as DriverEpoch);
  const file = join(directory, 'state.json');
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"epoch":12', '"epoch":92'));
  const state = DiskState.open(directory, { bootId: 'boot' });
  expect({ epoch: state.epoch, trusted: state.sameBootOrClean }).toEqual({ epoch: 0, trusted: false });
});
