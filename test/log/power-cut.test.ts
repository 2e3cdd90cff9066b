// The redo log on a disk that, at a power cut, keeps any mixture of old and new pages of what was not synced.
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { LogFile } from '../../src/log/log-file.ts';
import { encodeRecord } from '../../src/log/record.ts';

const PAGE = 4096;
const SEGMENT_BYTES = 24 * 1024;
const RETIRED = 2;

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

type Image = Map<string, Buffer>;

function readFiles(directory: string): Image {
  return new Map(fs.readdirSync(directory).map((name) => [name, fs.readFileSync(join(directory, name))]));
}

/** What a power cut leaves: of each page the durable or the latest version; of files made or removed since, either. */
function tear(durable: Image, latest: Image, pick: (below: number) => number): Image {
  const out: Image = new Map();
  for (const name of new Set([...durable.keys(), ...latest.keys()])) {
    const before = durable.get(name);
    const after = latest.get(name);
    if (before === undefined || after === undefined) {
      if (pick(2) === 0) out.set(name, Buffer.from((before ?? after)!));
      continue;
    }
    const mixed = Buffer.from(before);
    for (let at = 0; at < Math.min(before.length, after.length); at += PAGE) if (pick(2) === 0) after.copy(mixed, at, at, at + PAGE);
    out.set(name, mixed);
  }
  return out;
}

function record(sequence: number, life: number, bytes: number): Buffer {
  const value = Buffer.alloc(bytes, `${life}:${sequence};`);
  return encodeRecord({ sequence: sequence as Sequence, epoch: life as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 }, [{ kind: 'put', key: Buffer.from('k'), value }]);
}

test.each(Array.from({ length: 12 }, (_, index) => index + 1))('what was synced is there after every power cut, and nothing that was cut off comes back (seed %i)', async (seed) => {
  const pick = random(seed * 7919);
  const directory = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-cut-'));
  /** Every record that the log may hold, by sequence; of a life that ended, only what it still had. */
  const records = new Map<number, Buffer>();
  let trimmed = 0;
  try {
    for (let life = 1; life <= 12; life++) {
      const log = LogFile.open(directory, { segmentBytes: SEGMENT_BYTES });
      let durable = readFiles(directory);
      let synced: number = log.lastSequence;
      for (let step = pick(60); step > 0; step--) {
        for (let count = pick(6); count > 0; count--) {
          const sequence = log.lastSequence + 1;
          const bytes = record(sequence, life, [30, 500, 500, 5000][pick(4)]!);
          records.set(sequence, bytes);
          log.append([bytes], sequence as Sequence, sequence as Sequence, life as DriverEpoch);
        }
        if (pick(3) === 0) {
          await log.sync();
          durable = readFiles(directory);
          synced = log.lastSequence;
        }
        if (pick(6) === 0 && synced > trimmed) {
          trimmed += pick(synced - trimmed);
          log.trim(trimmed as Sequence);
          await new Promise((resolve) => setTimeout(resolve, 4));
          // A retired segment was synced by itself before anything else may happen to it.
          const now = readFiles(directory);
          for (const [name, bytes] of now) if (bytes[5] === RETIRED) durable.set(name, bytes);
          for (const [name, bytes] of durable) if (!now.has(name)) bytes.fill(0, 0, PAGE);
        }
      }
      const latest = readFiles(directory);
      await log.close();
      fs.rmSync(directory, { recursive: true });
      fs.mkdirSync(directory);
      for (const [name, bytes] of tear(durable, latest, pick)) fs.writeFileSync(join(directory, name), bytes);

      const successor = LogFile.open(directory, { segmentBytes: SEGMENT_BYTES });
      expect(successor.lastSequence).toBeGreaterThanOrEqual(synced);
      expect(successor.firstSequence).toBeLessThanOrEqual(trimmed + 1);
      for (const { header, bytes, offset } of successor.scan(successor.firstSequence)) {
        expect(bytes.subarray(offset, offset + header.recordBytes).equals(records.get(header.sequence)!), `record ${header.sequence} in life ${life}`).toBe(true);
      }
      for (const sequence of [...records.keys()]) if (sequence > successor.lastSequence) records.delete(sequence);
      await successor.close();
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
