// A disk's copy of the metadata: appended, applied, trimmed, replaced, and reopened after any of these.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { MetadataCopy } from '../../src/disk/metadata-copy.ts';
import type { Row } from '../../src/ipc/messages.ts';
import { decodeRecord, encodeRecord } from '../../src/log/record.ts';
import type { Operation } from '../../src/log/record.ts';
import { keepingLog, makeDisk } from '../support/temporary-disk.ts';

let parent: string;
let directory: string;
let copies: MetadataCopy[] = [];
const { log, lines } = keepingLog();

beforeEach(() => {
  ({ parent, directory } = makeDisk());
  lines.length = 0;
});
afterEach(async () => {
  for (const copy of copies) await copy.close().catch(() => undefined);
  copies = [];
  fs.rmSync(parent, { recursive: true });
});

async function open(): Promise<MetadataCopy> {
  const copy = await MetadataCopy.open({ directory, log, logSegmentBytes: 64 * 1024 });
  copies.push(copy);
  return copy;
}

async function reopen(copy: MetadataCopy): Promise<MetadataCopy> {
  copies = copies.filter((each) => each !== copy);
  await copy.close();
  return open();
}

function record(sequence: number, operations: Operation[], epoch = 1): Buffer {
  return encodeRecord({ sequence: sequence as Sequence, epoch: epoch as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 }, operations);
}

function put(key: string, value: string): Operation {
  return { kind: 'put', key: Buffer.from(key), value: Buffer.from(value) };
}

/** Record n puts a row of its own and one that all share, and deletes the own row of record n - 2. */
function numbered(sequence: number, epoch = 1): Buffer {
  return record(sequence, [
    put(`row${String(sequence).padStart(6, '0')}`, `value ${sequence}`.padEnd(200, '.')),
    put('shared', String(sequence)),
    { kind: 'delete', key: Buffer.from(`row${String(sequence - 2).padStart(6, '0')}`) },
    { kind: 'data', id: { hi: 1, lo: sequence }, data: Buffer.alloc(50) },
  ], epoch);
}

async function append(copy: MetadataCopy, from: number, to: number, epoch = 1): Promise<void> {
  const records = Array.from({ length: to - from + 1 }, (_, index) => numbered(from + index, epoch));
  for (let at = 0; at < records.length; at += 100) {
    const batch = records.slice(at, at + 100);
    expect(await copy.append((from + at) as Sequence, (from + at + batch.length - 1) as Sequence, Buffer.concat(batch))).toBe(from + at + batch.length - 1);
  }
}

async function applied(copy: MetadataCopy, through: number): Promise<void> {
  copy.trim(through as Sequence);
  await expect.poll(() => copy.state.checkpointSequence, { timeout: 10_000 }).toBe(through);
}

async function rows(copy: MetadataCopy, bytesMax = 500): Promise<string[]> {
  const out: string[] = [];
  let after: Buffer | null = null;
  for (;;) {
    const { rows: page }: { rows: Row[] } = await copy.rows(after, bytesMax);
    if (page.length === 0) return out;
    for (const [key, value] of page) out.push(`${key}=${value.toString().replace(/\.+$/, '')}`);
    after = page.at(-1)![0];
  }
}

async function sequencesFrom(copy: MetadataCopy, from: number): Promise<number[]> {
  const out: number[] = [];
  for (let next = from; ;) {
    const bytes = await copy.read(next as Sequence, 3000);
    if (bytes.length === 0) return out;
    for (let at = 0; at < bytes.length;) {
      const header = decodeRecord(bytes, at)!;
      out.push(header.sequence);
      next = header.sequence + 1;
      at += header.recordBytes;
    }
  }
}

test('a new copy is empty, and its log begins with record 1', async () => {
  const copy = await open();
  expect(copy.state).toEqual({ checkpointSequence: 0, lastSequence: 0, lastEpoch: 0 });
  expect(await rows(copy)).toEqual([]);
  await expect(copy.append(2 as Sequence, 2 as Sequence, numbered(2))).rejects.toMatchObject({ code: 'gap' });
  await append(copy, 1, 1);
});

test('records are kept over a reopen, a gap is refused, and what is there already is skipped', async () => {
  let copy = await open();
  await append(copy, 1, 50, 3);
  copy = await reopen(copy);
  expect(copy.state).toEqual({ checkpointSequence: 0, lastSequence: 50, lastEpoch: 3 });
  expect(await sequencesFrom(copy, 1)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  await expect(copy.append(52 as Sequence, 52 as Sequence, numbered(52, 3))).rejects.toMatchObject({ code: 'gap' });
  expect(await copy.append(49 as Sequence, 52 as Sequence, Buffer.concat([49, 50, 51, 52].map((sequence) => numbered(sequence, 3))))).toBe(52);
  expect(await copy.append(10 as Sequence, 11 as Sequence, Buffer.concat([numbered(10, 3), numbered(11, 3)]))).toBe(52);
  expect((await sequencesFrom(copy, 50))).toEqual([50, 51, 52]);
});

test('records that are not what they are said to be are refused', async () => {
  const copy = await open();
  const torn = numbered(1);
  torn[60]! ^= 1;
  await expect(copy.append(1 as Sequence, 1 as Sequence, torn)).rejects.toMatchObject({ code: 'badRequest' });
  await expect(copy.append(1 as Sequence, 2 as Sequence, numbered(1))).rejects.toMatchObject({ code: 'badRequest' });
  await expect(copy.append(1 as Sequence, 2 as Sequence, Buffer.concat([numbered(1), numbered(3)]))).rejects.toMatchObject({ code: 'badRequest' });
  await append(copy, 1, 1, 5);
  await expect(copy.append(2 as Sequence, 2 as Sequence, numbered(2, 4))).rejects.toMatchObject({ code: 'badRequest' });
  expect(copy.state.lastSequence).toBe(1);
});

test('what is trimmed is in the checkpoint, the rest in the log, over a reopen too', async () => {
  let copy = await open();
  await append(copy, 1, 600);
  const logBytes = copy.logBytes;
  await applied(copy, 400);
  const wanted = ['row000399=value 399', 'row000400=value 400', 'shared=400'];
  expect(await rows(copy)).toEqual(wanted);
  await expect.poll(() => copy.logBytes).toBeLessThan(logBytes);
  await expect(copy.read(1 as Sequence, 1000)).rejects.toMatchObject({ code: 'gap' });
  copy = await reopen(copy);
  expect(copy.state).toEqual({ checkpointSequence: 400, lastSequence: 600, lastEpoch: 1 });
  expect(await rows(copy)).toEqual(wanted);
  expect(await sequencesFrom(copy, 401)).toEqual(Array.from({ length: 200 }, (_, index) => 401 + index));
  await append(copy, 601, 700);
  await applied(copy, 700);
  expect(await rows(copy)).toEqual(['row000699=value 699', 'row000700=value 700', 'shared=700']);
});

test('many rows are applied in batches, and the last word on each counts', async () => {
  const copy = await open();
  let sequence = 0;
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 10; at++) {
      sequence++;
      const operations = Array.from({ length: 1000 }, (_, index) => put(`k${at}-${index}`, `${round}`));
      await copy.append(sequence as Sequence, sequence as Sequence, record(sequence, operations));
    }
  }
  copy.trim(9999 as Sequence);
  await expect.poll(() => copy.state.checkpointSequence, { timeout: 10_000 }).toBe(sequence);
  const found = await rows(copy, 100_000);
  expect(found).toHaveLength(10_000);
  expect(found.every((row) => row.endsWith('=2'))).toBe(true);
});

test('a new checkpoint replaces rows and log at its commit and not before, and a reopen finds it', async () => {
  let copy = await open();
  await append(copy, 1, 300);
  await applied(copy, 200);
  const before = await rows(copy);
  await copy.beginCheckpoint();
  await copy.loadCheckpoint([[Buffer.from('given up'), Buffer.from('x')]]);
  await copy.beginCheckpoint();
  await copy.loadCheckpoint([[Buffer.from('a'), Buffer.from('1')]]);
  await copy.loadCheckpoint([[Buffer.from('b'), Buffer.alloc(0)], [Buffer.from('c'), Buffer.alloc(5000, '3')]]);
  expect(await rows(copy)).toEqual(before);
  expect(copy.state.lastSequence).toBe(300);
  await copy.commitCheckpoint(5000 as Sequence, 9 as DriverEpoch);
  const check = async (): Promise<void> => {
    expect(copy.state).toEqual({ checkpointSequence: 5000, lastSequence: 5000, lastEpoch: 9 });
    expect(await rows(copy, 10)).toEqual(['a=1', 'b=', `c=${'3'.repeat(5000)}`]);
    expect(await sequencesFrom(copy, 5001)).toEqual([]);
  };
  await check();
  copy = await reopen(copy);
  await check();
  await append(copy, 5001, 5003, 9);
  await applied(copy, 5003);
  expect(await rows(copy)).toContain('shared=5003');
  expect(fs.readdirSync(join(directory, 'checkpoint')).filter((name) => name.startsWith('g'))).toHaveLength(1);
});

test('a checkpoint that was begun and not committed is gone after a reopen', async () => {
  let copy = await open();
  await append(copy, 1, 10);
  await copy.beginCheckpoint();
  await copy.loadCheckpoint([[Buffer.from('a'), Buffer.from('1')]]);
  copy = await reopen(copy);
  expect(copy.state.lastSequence).toBe(10);
  await expect(copy.loadCheckpoint([])).rejects.toMatchObject({ code: 'badRequest' });
  await expect(copy.commitCheckpoint(1 as Sequence, 1 as DriverEpoch)).rejects.toMatchObject({ code: 'badRequest' });
  expect(await rows(copy)).toEqual([]);
});

test('what is sent behind a commit belongs to the new log', async () => {
  const copy = await open();
  await append(copy, 1, 10);
  await copy.beginCheckpoint();
  await copy.loadCheckpoint([[Buffer.from('a'), Buffer.from('1')]]);
  const records = numbered(101, 2);
  const committed = copy.commitCheckpoint(100 as Sequence, 2 as DriverEpoch);
  const appended = copy.append(101 as Sequence, 101 as Sequence, records);
  records.fill(0);
  await committed;
  expect(await appended).toBe(101);
  expect(await sequencesFrom(copy, 101)).toEqual([101]);
});

test('a crash between the commit of a checkpoint and the reset of the log ends in the new checkpoint', async () => {
  let copy = await open();
  await append(copy, 1, 10);
  await copy.beginCheckpoint();
  await copy.loadCheckpoint([[Buffer.from('a'), Buffer.from('1')]]);
  await copy.commitCheckpoint(5 as Sequence, 1 as DriverEpoch);
  await append(copy, 6, 12);
  copies = [];
  await copy.close();
  // The log of before is still there, and the checkpoint says that it does not count.
  const file = join(directory, 'checkpoint', 'current');
  const current = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
  fs.writeFileSync(file, JSON.stringify({ ...current, crc: undefined, resetLog: { sequence: 5, epoch: 1 } }));
  copy = await open();
  expect(copy.state).toEqual({ checkpointSequence: 5, lastSequence: 5, lastEpoch: 1 });
  expect(await rows(copy)).toEqual(['a=1']);
});

test('a copy whose log lost what lies behind the checkpoint is given up, loudly', async () => {
  let copy = await open();
  await append(copy, 1, 600);
  await applied(copy, 300);
  copies = [];
  await copy.close();
  fs.rmSync(join(directory, 'checkpoint'), { recursive: true });
  copy = await open();
  expect(copy.state).toEqual({ checkpointSequence: 0, lastSequence: 0, lastEpoch: 0 });
  expect(lines.join()).toContain('this copy is given up');
});

test('a driver that says hello keeps the log that it was told of', async () => {
  const copy = await open();
  await append(copy, 1, 600);
  copy.trim(600 as Sequence);
  copy.forgetTrim();
  await new Promise((resolve) => setTimeout(resolve, 1300));
  expect(copy.state.checkpointSequence).toBe(0);
  expect((await sequencesFrom(copy, 1)).length).toBe(600);
});
