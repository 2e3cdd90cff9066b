// Opens the blocks of a disk: takes the index at its word, or makes it anew from the segments.
import fs from 'node:fs';
import { uptime } from 'node:os';
import type { Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { BlockClass, BlockHeader } from './block-format.ts';
import { decodeBlockHeader, judgeSegmentHeader, layoutOf, SEGMENT_HEADER_BYTES } from './block-format.ts';
import { BlockIndex } from './block-index.ts';
import type { BlockLocation } from './block-index.ts';
import { scanSegment } from './block-scan.ts';
import type { ScannedBlock } from './block-scan.ts';
import { rewriteUnsynced } from './block-rewrite.ts';
import { isIntact } from './block-verify.ts';
import { diskErrno } from './disk-health.ts';
import { listSegments, SegmentSet } from './segment-set.ts';

const TRANSACTION_BLOCKS = 4096;

export interface OpenBlocksOptions {
  readonly segmentDirectory: string;
  readonly indexDirectory: string;
  readonly volume: Uuid;
  readonly segmentBytes: number;
  /** Whether the index is as the last process left it. */
  readonly trusted: boolean;
  /** Nothing that it left is in memory only. */
  readonly allOnDisk: boolean;
  readonly log: Logger;
  /** Called again and again while the index is made anew. */
  readonly onProgress?: (() => void) | undefined;
}

/** No process that serves a driver leaves anything unsynced for longer. */
const UNSYNCED_MS_MAX = 2 * LIMITS.workerSyncTimeoutMs;

/** The clock may have been set since the boot; a sync too many costs next to nothing. */
const CLOCK_SLACK_MS = 24 * 60 * 60 * 1000;

export interface OpenedBlocks {
  readonly index: BlockIndex;
  readonly segments: SegmentSet;
  /** Blocks that the last process had put and not synced are gone. */
  readonly lost: boolean;
}

/** FormatError when a segment is of a newer version. */
export async function openBlocks(options: OpenBlocksOptions): Promise<OpenedBlocks> {
  fs.mkdirSync(options.segmentDirectory, { recursive: true, mode: 0o700 });
  const index = (options.trusted ? await openTrusted(options) : undefined) ?? (await openAnew(options));
  const segments = adopt(index, options);
  return { index, segments, lost: !options.allOnDisk && (await rewriteUnsynced(index, segments, options)) };
}

/** Undefined when the index cannot be read, or knows of other segments than those that are there. */
async function openTrusted(options: OpenBlocksOptions): Promise<BlockIndex | undefined> {
  let index: BlockIndex;
  try {
    if (!(await BlockIndex.isAsClosed(options.indexDirectory, options.onProgress))) {
      options.log.error({ index: options.indexDirectory }, 'the block index is not as it was closed; it is made anew from the segments');
      return undefined;
    }
    index = BlockIndex.open(options.indexDirectory, { trusted: true });
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    options.log.error({ err: error }, 'the block index cannot be opened; it is made anew from the segments');
    return undefined;
  }
  const sizes = new Map(listSegments(options.segmentDirectory).map(({ number, path }) => [number, fs.statSync(path).size]));
  const rows = index.segments();
  const missing = rows.find((row) => (sizes.get(row.number) ?? 0) < row.end);
  const unknown = [...sizes].find(([number, size]) => size > SEGMENT_HEADER_BYTES && !rows.some((row) => row.number === number));
  if (missing === undefined && unknown === undefined) return index;
  if (unknown !== undefined) {
    options.log.error({ segment: unknown[0] }, 'the block index does not know a segment of blocks; it is made anew from the segments');
    await index.close();
    return undefined;
  }
  options.log.error({ segment: missing?.number, end: missing?.end, found: sizes.get(missing?.number ?? 0) }, 'a segment of blocks is missing or short; the block index is made anew from what is there');
  await index.close();
  return undefined;
}

function adopt(index: BlockIndex, options: OpenBlocksOptions): SegmentSet {
  const segments = new SegmentSet({ directory: options.segmentDirectory, volume: options.volume, segmentBytes: options.segmentBytes });
  const known = new Set<number>();
  const bootMs = Date.now() - uptime() * 1000 - CLOCK_SLACK_MS;
  for (const row of index.segments()) {
    known.add(row.number);
    const segment = segments.add(row);
    const { size, mtimeMs } = fs.statSync(segment.path);
    // What lies behind was never acknowledged.
    if (size > row.end) fs.truncateSync(segment.path, row.end);
    // What was written before this boot is on the disk or lost; what was written since may be in memory only.
    if (mtimeMs > bootMs) segments.markUnsynced(segment);
  }
  for (const { number, path } of listSegments(options.segmentDirectory)) if (!known.has(number)) fs.unlinkSync(path);
  return segments;
}

async function openAnew(options: OpenBlocksOptions): Promise<BlockIndex> {
  const index = BlockIndex.open(options.indexDirectory, { trusted: false });
  const found = listSegments(options.segmentDirectory);
  if (found.length > 0) await rebuild(index, found, options);
  return index;
}

type FoundSegment = ReturnType<typeof listSegments>[number];

async function rebuild(index: BlockIndex, found: readonly FoundSegment[], options: OpenBlocksOptions): Promise<void> {
  const started = performance.now();
  options.log.info({ segments: found.length }, 'the machine may have lost power: making the block index anew from the segments');
  const isSynced = judgeSynced(found, options);
  const live = new Map<number, number>();
  const newest = { number: 0 };
  const paths = new Map(found.map(({ number, path }) => [number, path]));
  const read = (location: BlockLocation): WholeRecord | undefined => readRecord(paths.get(location.segment)!, location);
  for (const { number, class: blockClass, path } of found) {
    const fd = fs.openSync(path, 'r+');
    try {
      rebuildSegment(index, fd, { number, class: blockClass, path, volume: options.volume, log: options.log, isSynced: isSynced(path), live, newest, read });
    } finally {
      fs.closeSync(fd);
    }
    options.onProgress?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  index.transact(() => {
    index.putNumber = newest.number;
    for (const row of index.segments()) index.putSegment({ ...row, liveBytes: live.get(row.number) ?? 0 });
  });
  options.log.info({ blocks: index.blockCount, ms: Math.round(performance.now() - started) }, 'the block index is made');
}

/** Tells of a segment whether all of it is on the disk. The index that noted it is gone: a driver syncs every second, so what is older is. */
function judgeSynced(found: readonly FoundSegment[], { allOnDisk }: OpenBlocksOptions): (path: string) => boolean {
  if (allOnDisk) return () => true;
  const times = new Map(found.map(({ path }) => [path, fs.statSync(path).mtimeMs]));
  const newestMs = Math.max(...times.values());
  return (path) => times.get(path)! < newestMs - UNSYNCED_MS_MAX;
}

function rebuildBlock(index: BlockIndex, record: ScannedBlock, segment: SegmentToRead): void {
  const { id, offset, blockBytes, recordBytes, checksums } = record;
  const { live } = segment;
  const location = { segment: segment.number, offset, blockBytes };
  const before = record.dead ? undefined : index.get(id);
  if (record.dead || (before !== undefined && !replaces(location, record.number, before, segment))) {
    index.addDead(location);
    return;
  }
  if (before !== undefined) {
    index.addDead(before);
    live.set(before.segment, live.get(before.segment)! - layoutOf(before.blockBytes).recordBytes);
  }
  index.put(id, location, checksums);
  live.set(segment.number, (live.get(segment.number) ?? 0) + recordBytes);
}

/**
 * Which of two records of one block counts: the newer one, if it is whole. Of one that was not synced when the power
 * went, the header may be there and the data not; then the one that it was to replace is still good.
 */
function replaces(location: BlockLocation, number: number, before: BlockLocation, { read }: SegmentToRead): boolean {
  const one = read(before);
  const isNewer = (one?.header.number ?? 0) <= number;
  const newer = isNewer ? read(location) : one;
  if (newer?.isIntact === true) return isNewer;
  const older = isNewer ? one : read(location);
  return older?.isIntact === true ? !isNewer : isNewer;
}

interface SegmentToRead {
  readonly number: number;
  readonly class: BlockClass;
  readonly path: string;
  readonly volume: Uuid;
  readonly log: Logger;
  /** Nothing of it is in memory only. */
  readonly isSynced: boolean;
  /** Live bytes by segment, of all segments so far. */
  readonly live: Map<number, number>;
  /** Highest number of a put so far. */
  readonly newest: { number: number };
  /** A whole record of any segment. */
  readonly read: (location: BlockLocation) => WholeRecord | undefined;
}

interface WholeRecord {
  readonly header: BlockHeader;
  readonly isIntact: boolean;
}

/** Undefined when there is none, or it cannot be read. */
function readRecord(path: string, { offset, blockBytes }: BlockLocation): WholeRecord | undefined {
  const record = Buffer.allocUnsafe(layoutOf(blockBytes).recordBytes);
  const fd = fs.openSync(path, 'r');
  try {
    const bytes = record.subarray(0, fs.readSync(fd, record, 0, record.length, offset));
    const header = decodeBlockHeader(bytes, 0);
    return header === undefined ? undefined : { header, isIntact: bytes.length === record.length && isIntact(header, bytes) };
  } catch (error) {
    if (diskErrno(error) !== 'EIO') throw error;
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}

function rebuildSegment(index: BlockIndex, fd: number, segment: SegmentToRead): void {
  const size = fs.fstatSync(fd).size;
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  fs.readSync(fd, header, 0, header.length, 0);
  // Never synced: it holds nothing that anybody was promised.
  if (size < SEGMENT_HEADER_BYTES || header.every((byte) => byte === 0)) return;
  const judgement = judgeSegmentHeader(header, segment.path, segment);
  if (judgement === 'foreign') {
    // Somebody's blocks: nothing of this volume, and not to be cleared away as dead.
    fs.renameSync(segment.path, `${segment.path}.foreign`);
    segment.log.error({ segment: segment.path }, 'a segment of another volume lies among those of this disk; it is set aside as .foreign');
    return;
  }
  if (judgement === 'damaged') segment.log.error({ segment: segment.path }, 'the header of a segment is damaged, or the file is in the place of another; its blocks are looked at one by one');
  const records = scanSegment(fd, segment.class, size, Buffer.from(segment.volume, 'hex'));
  let end = SEGMENT_HEADER_BYTES;
  for (let more = true; more;) {
    more = index.transact(() => {
      for (let count = 0; count < TRANSACTION_BLOCKS; count++) {
        const next = records.next();
        if (next.done === true) return false;
        end = next.value.offset + next.value.recordBytes;
        segment.newest.number = Math.max(segment.newest.number, next.value.number);
        rebuildBlock(index, next.value, segment);
      }
      return true;
    });
  }
  index.transact(() => index.putSegment({ number: segment.number, class: segment.class, end, liveBytes: 0, punchedBytes: 0, synced: segment.isSynced ? end : 0 }));
}
