// The redo log: what a crash, a trim and a recycled segment may and may not do to it.
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { LogFile } from '../../src/log/log-file.ts';
import { decodeOperations, decodeRecord, encodeRecord } from '../../src/log/record.ts';
import { SEGMENT_HEADER_BYTES } from '../../src/log/segment.ts';

const SEGMENT = 16 * 1024;
let directory: string;
let open: LogFile[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-log-'));
});
afterEach(async () => {
  for (const log of open) await log.close();
  open = [];
  fs.rmSync(directory, { recursive: true });
});

function openLog(segmentBytes = SEGMENT): LogFile {
  const log = LogFile.open(directory, { segmentBytes });
  open.push(log);
  return log;
}

function record(sequence: number, options: { bytes?: number; epoch?: number; fill?: string } = {}): Buffer {
  const value = Buffer.alloc(options.bytes ?? 500, options.fill ?? String(sequence));
  return encodeRecord(
    { sequence: sequence as Sequence, epoch: (options.epoch ?? 1) as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 },
    [{ kind: 'put', key: Buffer.from(`k${sequence}`), value }],
  );
}

function append(log: LogFile, from: number, to: number, options: { bytes?: number; epoch?: number; fill?: string } = {}): void {
  for (let sequence = from; sequence <= to; sequence++) {
    log.append([record(sequence, options)], sequence as Sequence, sequence as Sequence, (options.epoch ?? 1) as DriverEpoch);
  }
}

function sequences(log: LogFile, from: number = log.firstSequence): number[] {
  return [...log.scan(from as Sequence)].map(({ header }) => header.sequence);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function files(): string[] {
  return fs.readdirSync(directory).toSorted();
}

async function reopen(log: LogFile): Promise<LogFile> {
  await log.close();
  return openLog();
}

test('a new log is empty and begins with sequence 1', () => {
  const log = openLog();
  expect([log.firstSequence, log.lastSequence, log.lastEpoch, log.bytes]).toEqual([1, 0, 0, 0]);
  expect(log.read(1 as Sequence, 1000).length).toBe(0);
});

test('records come back whole and in order over several segments and a reopen', async () => {
  let log = openLog();
  append(log, 1, 100);
  await log.sync();
  expect(sequences(log)).toEqual(range(1, 100));
  log = await reopen(log);
  expect([log.firstSequence, log.lastSequence, log.lastEpoch]).toEqual([1, 100, 1]);
  const found = [...log.scan(57 as Sequence)];
  expect(found[0]!.header.sequence).toBe(57);
  const operations = [...decodeOperations(found[0]!.bytes, found[0]!.offset)];
  expect(operations).toMatchObject([{ kind: 'put', key: Buffer.from('k57') }]);
});

test('a batch of records in one append is found record by record', () => {
  const log = openLog(1024 * 1024);
  const batch = Buffer.concat(range(1, 300).map((sequence) => record(sequence)));
  log.append([batch.subarray(0, 555), batch.subarray(555)].map((piece, index) => (index === 0 ? record(1) : batch.subarray(record(1).length))), 1 as Sequence, 300 as Sequence, 1 as DriverEpoch);
  expect(sequences(log, 250)).toEqual(range(250, 300));
  expect(decodeRecord(log.read(299 as Sequence, 1), 0)!.sequence).toBe(299);
});

test('read gives at least one record and otherwise no more than asked for', () => {
  const log = openLog();
  append(log, 1, 10);
  const one = record(1).length;
  expect(log.read(1 as Sequence, 1).length).toBe(one);
  expect(log.read(1 as Sequence, 3 * one + 7).length).toBe(3 * one);
  expect(log.read(4 as Sequence, 3 * one).equals(Buffer.concat([record(4), record(5), record(6)]))).toBe(true);
});

test('a record larger than a segment gets a segment of its own', async () => {
  let log = openLog();
  append(log, 1, 3);
  append(log, 4, 4, { bytes: 5 * SEGMENT });
  append(log, 5, 6);
  log = await reopen(log);
  expect(sequences(log)).toEqual(range(1, 6));
});

test('a first record larger than a segment is found again', async () => {
  let log = openLog();
  append(log, 1, 1, { bytes: 5 * SEGMENT });
  append(log, 2, 3);
  for (let times = 0; times < 2; times++) {
    log = await reopen(log);
    expect(sequences(log)).toEqual([1, 2, 3]);
  }
});

test('a torn tail ends the log, and what lay behind it never comes back', async () => {
  let log = openLog();
  append(log, 1, 5);
  await log.close();
  const path = join(directory, files()[0]!);
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, Buffer.from([0xff]), 0, 1, SEGMENT_HEADER_BYTES + 3 * record(1).length + 60);
  fs.closeSync(fd);
  log = openLog();
  expect(log.lastSequence).toBe(3);
  append(log, 4, 4, { fill: 'x' });
  log = await reopen(log);
  expect(sequences(log)).toEqual([1, 2, 3, 4]);
});

test('a gap of sequences ends the log', async () => {
  let log = openLog();
  append(log, 1, 2);
  await log.close();
  const fd = fs.openSync(join(directory, files()[0]!), 'r+');
  const stray = record(4);
  fs.writeSync(fd, stray, 0, stray.length, SEGMENT_HEADER_BYTES + 2 * record(1).length);
  fs.closeSync(fd);
  log = openLog();
  expect(log.lastSequence).toBe(2);
});

test('trim retires whole segments, keeps a bounded number of them, and uses them again', async () => {
  let log = openLog();
  append(log, 1, 200);
  const before = files().length;
  log.trim(150 as Sequence);
  expect(log.firstSequence).toBeGreaterThan(100);
  expect(log.firstSequence).toBeLessThanOrEqual(151);
  append(log, 201, 201);
  expect(() => log.read(1 as Sequence, 1)).toThrow(RangeError);
  log = await reopen(log);
  expect(log.lastSequence).toBe(201);
  expect(files().length).toBeLessThan(before);
  for (let round = 0; round < 10; round++) {
    append(log, log.lastSequence + 1, log.lastSequence + 60, { bytes: 300 + round * 37 });
    await log.sync();
    log.trim((log.lastSequence - 20) as Sequence);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const first = log.firstSequence;
  await log.sync();
  // What was retired goes in the background.
  await vi.waitFor(() => expect(files().length).toBeLessThan(12), { timeout: 20_000 });
  log = await reopen(log);
  expect(log.lastSequence).toBe(801);
  expect(sequences(log)).toEqual(range(log.firstSequence, 801));
  expect(log.firstSequence).toBeLessThanOrEqual(first);
});

test('a recycled segment whose new header is lost does not bring old records back', async () => {
  const log = openLog();
  append(log, 1, 60);
  await log.sync();
  log.trim(60 as Sequence);
  await new Promise((resolve) => setTimeout(resolve, 20));
  append(log, 61, 140);
  await log.close();
  // Every header torn but the one of the segment that holds the last records.
  const names = files();
  const firsts = names.map((name) => Number(fs.readFileSync(join(directory, name)).readBigUInt64LE(8)));
  const newest = Math.max(...firsts);
  for (const [index, name] of names.entries()) {
    if (firsts[index] === newest) continue;
    const fd = fs.openSync(join(directory, name), 'r+');
    fs.writeSync(fd, Buffer.alloc(8, 0xee), 0, 8, 0);
    fs.closeSync(fd);
  }
  const again = openLog();
  expect(again.firstSequence).toBe(newest);
  expect(sequences(again)).toEqual(range(newest, 140));
  expect(files()).toHaveLength(1);
});

test('truncateAfter forgets the tail, over segments, and for good', async () => {
  let log = openLog();
  append(log, 1, 100);
  await log.truncateAfter(42 as Sequence);
  expect(log.lastSequence).toBe(42);
  append(log, 43, 44, { epoch: 1, fill: 'n' });
  log = await reopen(log);
  expect(sequences(log)).toEqual(range(1, 44));
  await log.truncateAfter(0 as Sequence);
  expect([log.firstSequence, log.lastSequence]).toEqual([1, 0]);
});

test('reset drops all and goes on where it is told', async () => {
  let log = openLog();
  append(log, 1, 100);
  await log.reset(500 as Sequence, 7 as DriverEpoch);
  expect([log.firstSequence, log.lastSequence, log.lastEpoch, log.bytes]).toEqual([501, 500, 7, 0]);
  log = await reopen(log);
  expect([log.firstSequence, log.lastSequence, log.lastEpoch]).toEqual([501, 500, 7]);
  append(log, 501, 510, { epoch: 7 });
  log = await reopen(log);
  expect(sequences(log)).toEqual(range(501, 510));
});

test('an append that leaves a gap or goes back in epochs is refused', () => {
  const log = openLog();
  append(log, 1, 2, { epoch: 3 });
  expect(() => append(log, 4, 4, { epoch: 3 })).toThrow(/without a gap/);
  expect(() => append(log, 3, 3, { epoch: 2 })).toThrow(/does not fall/);
});

test('concurrent syncs share, and each covers what was appended before it', async () => {
  const log = openLog();
  append(log, 1, 3);
  const first = log.sync();
  append(log, 4, 5);
  const second = log.sync();
  expect(log.sync()).toBe(second);
  await Promise.all([first, second]);
  await log.sync();
  expect(log.lastSequence).toBe(5);
});

test('a segment of a newer version is refused, not taken for the end', async () => {
  const log = openLog();
  append(log, 1, 1);
  await log.close();
  const path = join(directory, files()[0]!);
  const bytes = fs.readFileSync(path);
  bytes[4] = 9;
  const { crc32 } = await import('node:zlib');
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 20)), 20);
  fs.writeFileSync(path, bytes);
  expect(() => openLog()).toThrow(/version 9/);
});
