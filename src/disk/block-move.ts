// Moves records of living blocks to where appends go, with one write and one transaction.
import fs from 'node:fs';
import { FormatError } from '../base/errors.ts';
import type { BlockIndex, SegmentRow } from './block-index.ts';
import type { ScannedBlock } from './block-scan.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

export interface MovedRecord {
  readonly record: ScannedBlock;
  /** The whole record. */
  readonly bytes: Buffer;
}

/** All of them are moved, or none when it throws. They are process-proof then, and not synced where they are now. */
export function moveRecords(index: BlockIndex, segments: SegmentSet, segment: BlockSegment, moved: readonly MovedRecord[]): void {
  if (moved.length === 0) return;
  const bytes = moved.reduce((sum, each) => sum + each.bytes.length, 0);
  const target = segments.roomFor(segment.class, bytes);
  const start = target.end;
  segments.append(target, moved.map((each) => each.bytes), bytes);
  try {
    index.transactAgain(() => {
      let offset = start;
      for (const { record } of moved) {
        index.move(record.id, { segment: target.number, offset });
        offset += record.recordBytes;
      }
      index.putSegment({ ...rowOf(target), liveBytes: target.liveBytes + bytes });
      index.putSegment({ ...rowOf(segment), liveBytes: segment.liveBytes - bytes });
    });
  } catch (error) {
    segments.cut(target, start);
    throw error;
  }
  target.liveBytes += bytes;
  segment.liveBytes -= bytes;
}

export function readWhole(segments: SegmentSet, segment: BlockSegment, { offset, recordBytes }: ScannedBlock): Buffer {
  const whole = Buffer.allocUnsafe(recordBytes);
  const count = fs.readSync(segments.fdOf(segment), whole, 0, recordBytes, offset);
  if (count !== recordBytes) throw new FormatError(`segment ${segment.path}`, { wanted: `${recordBytes} bytes at ${offset}`, found: `${count}` });
  return whole;
}

export function rowOf({ number, class: blockClass, end, liveBytes, punchedBytes, synced }: BlockSegment): SegmentRow {
  return { number, class: blockClass, end, liveBytes, punchedBytes, synced };
}
