// Gives the space of dead blocks back, in the background and in small steps: holes in segments of large blocks,
// segments without live blocks unlinked, segments of small blocks that are half dead written anew.
import fs from 'node:fs';
import type { Logger } from '../base/log.ts';
import { errno, fallocate, SystemCallError } from '../os/libc.ts';
import { DEAD, layoutOf, SEGMENT_HEADER_BYTES, STATE_OFFSET } from './block-format.ts';
import type { BlockIndex, BlockLocation } from './block-index.ts';
import type { ScannedBlock } from './block-scan.ts';
import { scanSegment } from './block-scan.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

/** Dead records handled in one step. */
const DEAD_MAX = 64;
/** Live bytes of small blocks moved in one step. */
const MOVE_BYTES = 512 * 1024;
/** Pause between steps, so that requests go first: at most some 50 MB/s are moved. */
const PAUSE_MS = 10;
/** After a step that failed. */
const RETRY_MS = 5_000;
const PUNCH_HOLE_KEEP_SIZE = 3;

interface Parts {
  readonly index: BlockIndex;
  readonly segments: SegmentSet;
  readonly log: Logger;
  /** Commits what is put and not in the index yet. */
  readonly settle: () => void;
}

/** A segment of small blocks whose live ones are being moved. */
interface Compaction {
  readonly segment: BlockSegment;
  readonly records: Generator<ScannedBlock>;
}

export class BlockUpkeep {
  readonly #parts: Parts;
  #timer: NodeJS.Timeout | undefined;
  #step: Promise<void> | undefined;
  #stopped = false;
  #compaction: Compaction | undefined;
  /** Segments in which records were not found again: left alone. */
  readonly #stuck = new Set<number>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** There may be something to do. */
  poke(): void {
    this.#schedule(PAUSE_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#step;
  }

  #schedule(delayMs: number): void {
    if (this.#stopped || this.#timer !== undefined || this.#step !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#step = this.#run();
    }, delayMs);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    let again: number | undefined;
    try {
      this.#parts.settle();
      if (this.#buryDead() || this.#removeEmpty() || (await this.#compact())) again = PAUSE_MS;
    } catch (error) {
      this.#parts.log.warn({ err: error }, 'dead blocks could not be cleared away; trying again later');
      this.#compaction = undefined;
      again = RETRY_MS;
    }
    this.#step = undefined;
    if (again !== undefined) this.#schedule(again);
  }

  /** True when there may be more. */
  #buryDead(): boolean {
    const { index, segments } = this.#parts;
    const dead = index.dead(DEAD_MAX);
    if (dead.length === 0) return false;
    const emptied = new Set<BlockSegment>();
    const punched = new Map<BlockSegment, number>();
    for (const location of dead) {
      const segment = segments.find(location.segment);
      if (segment === undefined) continue;
      if (segment.liveBytes === 0 && !segments.isCurrent(segment)) emptied.add(segment);
      else punched.set(segment, (punched.get(segment) ?? segment.punchedBytes) + this.#bury(segment, location));
    }
    index.transact(() => {
      for (const location of dead) index.removeDead(location);
      for (const segment of emptied) index.removeSegment(segment.number);
      for (const [segment, punchedBytes] of punched) index.putSegment({ ...rowOf(segment), punchedBytes });
    });
    for (const [segment, punchedBytes] of punched) segment.punchedBytes = punchedBytes;
    for (const segment of emptied) this.#remove(segment);
    return true;
  }

  /** Marks the record dead and, if it is worth it, gives its data back. Returns the bytes given back. */
  #bury(segment: BlockSegment, { offset, blockBytes }: BlockLocation): number {
    const fd = this.#parts.segments.fdOf(segment);
    fs.writeSync(fd, Buffer.of(DEAD), 0, 1, offset + STATE_OFFSET);
    if (segment.class === 'small') return 0;
    const { dataOffset, recordBytes } = layoutOf(blockBytes);
    const bytes = recordBytes - dataOffset;
    if (fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset + dataOffset, bytes) === 0) return bytes;
    // A file system without holes keeps the space until the segment is empty.
    this.#parts.log.debug({ err: new SystemCallError('fallocate', segment.path, errno()) }, 'no hole was punched');
    return 0;
  }

  /** A segment that became empty while it took appends. True when there may be more. */
  #removeEmpty(): boolean {
    const { index, segments } = this.#parts;
    for (const segment of segments.all()) {
      if (segment.liveBytes > 0 || segments.isCurrent(segment)) continue;
      index.transact(() => index.removeSegment(segment.number));
      this.#remove(segment);
      return true;
    }
    return false;
  }

  #remove(segment: BlockSegment): void {
    this.#parts.segments.remove(segment);
    if (this.#compaction?.segment === segment) this.#compaction = undefined;
  }

  /** True when there is more to move. */
  async #compact(): Promise<boolean> {
    const { index, segments, log } = this.#parts;
    this.#compaction ??= this.#begin();
    if (this.#compaction === undefined) return false;
    const { segment, records } = this.#compaction;
    if (this.#moveSome(segment, records)) return true;
    // The old copies may have been synced; they go when the new ones are.
    await segments.sync();
    if (segment.liveBytes === 0) {
      index.transact(() => index.removeSegment(segment.number));
      this.#remove(segment);
    } else if (segments.find(segment.number) !== undefined) {
      this.#stuck.add(segment.number);
      log.error({ segment: segment.path, bytes: segment.liveBytes }, 'a segment holds blocks that its headers do not show; it is left as it is');
    }
    this.#compaction = undefined;
    return true;
  }

  #begin(): Compaction | undefined {
    const { segments } = this.#parts;
    for (const segment of segments.all()) {
      if (segment.class !== 'small' || segments.isCurrent(segment) || this.#stuck.has(segment.number)) continue;
      if (segment.liveBytes >= (segment.end - SEGMENT_HEADER_BYTES) / 2) continue;
      return { segment, records: scanSegment(segments.fdOf(segment), 'small', segment.end) };
    }
    return undefined;
  }

  /** Moves some live records into the current segment. False when there are no more. */
  #moveSome(segment: BlockSegment, records: Generator<ScannedBlock>): boolean {
    const { index, segments } = this.#parts;
    const moved: { record: ScannedBlock; bytes: Buffer }[] = [];
    let bytes = 0;
    let more = true;
    while (bytes < MOVE_BYTES) {
      const next = records.next();
      if (next.done === true) {
        more = false;
        break;
      }
      const record = next.value;
      const location = index.get(record.id);
      if (location?.segment !== segment.number || location.offset !== record.offset) continue;
      moved.push({ record, bytes: Buffer.from(record.bytes) });
      bytes += record.recordBytes;
    }
    if (moved.length === 0) return more;
    const target = segments.roomFor('small', bytes);
    const start = target.end;
    segments.append(target, moved.map((each) => each.bytes), bytes);
    index.transact(() => {
      let offset = start;
      for (const { record } of moved) {
        index.move(record.id, { segment: target.number, offset });
        offset += record.recordBytes;
      }
      index.putSegment({ ...rowOf(target), liveBytes: target.liveBytes + bytes });
      index.putSegment({ ...rowOf(segment), liveBytes: segment.liveBytes - bytes });
    });
    target.liveBytes += bytes;
    segment.liveBytes -= bytes;
    return more;
  }
}

function rowOf({ number, class: blockClass, end, liveBytes, punchedBytes }: BlockSegment) {
  return { number, class: blockClass, end, liveBytes, punchedBytes };
}
