// Writes anew what the last process had put and, as far as it noted, not synced, so that the next sync really covers it.
//
// That process may have died of a sync that failed, or before it could hear of it; to the kernel the pages are clean then,
// and a sync does nothing. What it still has in memory is written to another segment: in its old place ext4 may keep the
// extent marked as unwritten, so that it reads as zeroes, whatever is written there later. What the kernel has dropped,
// and did not bring to the disk, is found by its checksums, and forgotten: the disk does not have it.
import { formatBlockId } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { layoutOf, SEGMENT_HEADER_BYTES } from './block-format.ts';
import type { BlockIndex } from './block-index.ts';
import { moveRecords, readWhole, rowOf } from './block-move.ts';
import type { MovedRecord } from './block-move.ts';
import { scanSegment } from './block-scan.ts';
import { isIntact } from './block-verify.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

/** Moved without letting a sign of life in between. */
const BATCH_BYTES = 4 * 1024 * 1024;

interface RewriteOptions {
  readonly log: Logger;
  readonly onProgress?: (() => void) | undefined;
}

/** Resolves whether blocks are lost. Errors of `fs` and LMDB. */
export async function rewriteUnsynced(index: BlockIndex, segments: SegmentSet, options: RewriteOptions): Promise<boolean> {
  const unsynced = [...segments.all()].filter(({ synced, end }) => synced < end);
  // What follows in the last page of one would lie in an extent that may read as zeroes.
  for (const segment of unsynced) segments.seal(segment);
  let lost = 0;
  for (const segment of unsynced) {
    try {
      lost += await rewriteSegment(index, segments, segment, options);
    } catch (error) {
      // A full disk must open, to be emptied.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      options.log.warn({ segment: segment.path }, 'the disk is full: what the last process had not synced is left where it is, and synced with the rest');
    }
  }
  return lost > 0;
}

/** Resolves with the number of blocks that are lost. */
async function rewriteSegment(index: BlockIndex, segments: SegmentSet, segment: BlockSegment, { log, onProgress }: RewriteOptions): Promise<number> {
  const start = Math.max(segment.synced, SEGMENT_HEADER_BYTES);
  let next = start;
  let isWhole = true;
  let batch: MovedRecord[] = [];
  let bytes = 0;
  for (const record of scanSegment(segments.fdOf(segment), segment.class, segment.end, segments.volume, start)) {
    if (record.offset !== next) isWhole = false;
    next = record.offset + record.recordBytes;
    const location = index.get(record.id);
    if (location?.segment !== segment.number || location.offset !== record.offset) continue;
    const whole = readWhole(segments, segment, record);
    if (!isIntact(record, whole)) {
      isWhole = false;
      continue;
    }
    batch.push({ record: { ...record, bytes: whole }, bytes: whole });
    bytes += whole.length;
    if (bytes < BATCH_BYTES) continue;
    moveRecords(index, segments, segment, batch);
    batch = [];
    bytes = 0;
    onProgress?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  moveRecords(index, segments, segment, batch);
  const lost = isWhole && next === segment.end ? [] : [...index.blocksIn(segment.number, start)];
  if (lost.length > 0) log.error({ segment: segment.path, blocks: lost.length, first: formatBlockId(lost[0]!.id) }, 'blocks that the last process put, and had not synced, did not reach the disk');
  forget(index, segment, lost);
  return lost.length;
}

/** All of the segment is old then, or nobody's. */
function forget(index: BlockIndex, segment: BlockSegment, lost: readonly { readonly id: BlockId; readonly offset: number; readonly blockBytes: number }[]): void {
  const liveBytes = lost.reduce((sum, { blockBytes }) => sum - layoutOf(blockBytes).recordBytes, segment.liveBytes);
  index.transactAgain(() => {
    for (const { id, offset, blockBytes } of lost) {
      index.remove(id);
      index.addDead({ segment: segment.number, offset, blockBytes });
    }
    index.putSegment({ ...rowOf(segment), liveBytes, synced: segment.end });
  }, lost.length);
  segment.liveBytes = liveBytes;
  segment.synced = segment.end;
}
