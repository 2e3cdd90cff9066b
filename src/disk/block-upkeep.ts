// Gives the space of dead blocks back, in the background and in small steps: holes in segments of large blocks,
// segments without live blocks unlinked, segments that are more than half dead written anew, the deadest first.
//
// A record that was replaced, by a copy that was put again or moved, may be the one that a sync was acknowledged for: it
// is touched only when what took its place is synced.
//
// All of it works on a full disk: it uses the reserve, and gives back more than it takes.
import fs from 'node:fs';
import { AssertionError } from '../base/assert.ts';
import type { Logger } from '../base/log.ts';
import { errno, fallocate, SystemCallError } from '../os/libc.ts';
import { DEAD, decodeBlockHeader, layoutOf, STATE_OFFSET } from './block-format.ts';
import type { BlockIndex, BlockLocation } from './block-index.ts';
import { moveRecords, readWhole, rowOf } from './block-move.ts';
import type { MovedRecord } from './block-move.ts';
import type { ScannedBlock } from './block-scan.ts';
import { scanSegment } from './block-scan.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

/** Dead records handled in one step. */
const DEAD_MAX = 64;
/** Live bytes moved in one step. */
const MOVE_BYTES = 512 * 1024;
/** Bytes read in one step in search of live ones; a record counts as a page at least. */
const LOOK_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 4096;
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
  /** Called after each step that failed. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

/** A segment whose live blocks are being moved. */
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
  /** Records took the place of others since the last sync; so they may have in the process before this one. */
  #replaced = true;
  /** Steps in a row that failed: the first is said aloud. */
  #failures = 0;
  /** Segments in which records were not found again: left alone. */
  readonly #stuck = new Set<number>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** There may be something to do. */
  poke(): void {
    this.#schedule(PAUSE_MS);
  }

  /** A record took the place of another one of the same block. */
  replaced(): void {
    this.#replaced = true;
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
      this.#sealEmpty();
      if ((await this.#clear()) || this.#compact()) again = PAUSE_MS;
      this.#failures = 0;
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      this.#parts.log[this.#failures++ === 0 ? 'warn' : 'debug']({ err: error }, 'dead blocks could not be cleared away; trying again every few seconds');
      this.#parts.onFailure?.(error);
      this.#compaction = undefined;
      again = RETRY_MS;
    }
    this.#step = undefined;
    if (again !== undefined) this.#schedule(again);
  }

  /** Segments that take appends, and of which everything so far is dead: the next blocks go to a new one. */
  #sealEmpty(): void {
    const { segments } = this.#parts;
    for (const segment of segments.all()) if (segment.liveBytes === 0 && segments.isCurrent(segment) && !segments.isSlight(segment)) segments.seal(segment);
  }

  /** Dead records, and segments that nobody needs. True when there may be more. */
  async #clear(): Promise<boolean> {
    const { index, segments } = this.#parts;
    const dead = index.dead(DEAD_MAX);
    const emptied = new Set([...segments.all()].filter((segment) => segment.liveBytes === 0 && !segments.isCurrent(segment)));
    if (dead.length === 0 && emptied.size === 0) return false;
    // Both stay as they are meanwhile: what is dead was so before the sync began.
    await this.#syncReplaced();
    const punched = new Map<BlockSegment, number>();
    for (const location of dead) {
      const segment = segments.find(location.segment);
      if (segment === undefined || emptied.has(segment)) continue;
      punched.set(segment, (punched.get(segment) ?? segment.punchedBytes) + this.#bury(segment, location));
    }
    index.transactAgain(() => {
      for (const location of dead) index.removeDead(location);
      for (const segment of emptied) index.removeSegment(segment.number);
      for (const [segment, punchedBytes] of punched) index.putSegment({ ...rowOf(segment), punchedBytes });
    });
    for (const [segment, punchedBytes] of punched) segment.punchedBytes = punchedBytes;
    for (const segment of emptied) this.#remove(segment);
    return true;
  }

  async #syncReplaced(): Promise<void> {
    if (!this.#replaced) return;
    this.#replaced = false;
    try {
      await this.#parts.segments.sync();
    } catch (error) {
      this.#replaced = true;
      throw error;
    }
  }

  /** Marks the record dead and, if it is worth it, gives its data back. Returns the bytes given back. */
  #bury(segment: BlockSegment, { offset, blockBytes }: BlockLocation): number {
    const fd = this.#parts.segments.fdOf(segment);
    if (!this.#isDead(segment, fd, { offset, blockBytes })) return 0;
    fs.writeSync(fd, Buffer.of(DEAD), 0, 1, offset + STATE_OFFSET);
    if (segment.class === 'small') return 0;
    const { dataOffset, recordBytes } = layoutOf(blockBytes);
    const bytes = recordBytes - dataOffset;
    if (fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset + dataOffset, bytes) === 0) return bytes;
    // A file system without holes keeps the space until the segment is empty.
    this.#parts.log.debug({ err: new SystemCallError('fallocate', segment.path, errno()) }, 'no hole was punched');
    return 0;
  }

  /** Whether the record is there and no block lies in it: a damaged index may lead into a living one. */
  #isDead(segment: BlockSegment, fd: number, { offset, blockBytes }: Omit<BlockLocation, 'segment'>): boolean {
    const bytes = Buffer.alloc(layoutOf(blockBytes).dataOffset);
    const read = fs.readSync(fd, bytes, 0, bytes.length, offset);
    const header = decodeBlockHeader(bytes.subarray(0, read), 0);
    if (header === undefined || header.blockBytes !== blockBytes) return false;
    const living = this.#parts.index.get(header.id);
    return living === undefined || living.segment !== segment.number || living.offset !== offset;
  }

  #remove(segment: BlockSegment): void {
    this.#parts.segments.remove(segment);
    if (this.#compaction?.segment === segment) this.#compaction = undefined;
  }

  /** True when there is more to move. */
  #compact(): boolean {
    const { log } = this.#parts;
    this.#compaction ??= this.#begin();
    if (this.#compaction === undefined) return false;
    const { segment, records } = this.#compaction;
    if (this.#moveSome(segment, records)) return true;
    // What is empty now is removed by the next step.
    if (segment.liveBytes > 0) {
      this.#stuck.add(segment.number);
      log.error({ segment: segment.path, bytes: segment.liveBytes }, 'a segment holds blocks that its headers do not show; it is left as it is');
    }
    this.#compaction = undefined;
    return true;
  }

  #begin(): Compaction | undefined {
    const { segments } = this.#parts;
    let deadest: BlockSegment | undefined;
    let least = 0.5;
    for (const segment of segments.all()) {
      const live = segment.liveBytes / segments.keptBytes(segment);
      if (!(live < least) || this.#stuck.has(segment.number) || (segments.isCurrent(segment) && segments.isSlight(segment))) continue;
      deadest = segment;
      least = live;
    }
    if (deadest === undefined) return undefined;
    segments.seal(deadest);
    return { segment: deadest, records: scanSegment(segments.fdOf(deadest), deadest.class, deadest.end, segments.volume) };
  }

  /** Moves some live records into the current segment. False when there are no more. */
  #moveSome(segment: BlockSegment, records: Generator<ScannedBlock>): boolean {
    const { index } = this.#parts;
    const moved: MovedRecord[] = [];
    let bytes = 0;
    let looked = 0;
    while (bytes < MOVE_BYTES && looked < LOOK_BYTES) {
      const next = records.next();
      if (next.done === true) {
        this.#move(segment, moved);
        return false;
      }
      const record = next.value;
      looked += Math.max(PAGE_BYTES, record.bytes.length);
      const location = index.get(record.id);
      if (location?.segment !== segment.number || location.offset !== record.offset) continue;
      moved.push({ record, bytes: segment.class === 'small' ? Buffer.from(record.bytes) : readWhole(this.#parts.segments, segment, record) });
      bytes += record.recordBytes;
    }
    this.#move(segment, moved);
    return true;
  }

  #move(segment: BlockSegment, moved: readonly MovedRecord[]): void {
    moveRecords(this.#parts.index, this.#parts.segments, segment, moved);
    if (moved.length > 0) this.replaced();
  }
}
