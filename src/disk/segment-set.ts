// The segment files of a disk: which there are, which take new blocks, which descriptors are open, what is not synced.
//
// A segment's counts (end, live, punched) belong to the index's row of it; they change here when that row was written.
import fs from 'node:fs';
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Uuid } from '../base/ids.ts';
import { GroupedSync } from '../log/grouped-sync.ts';
import { fdatasync } from '../log/segment.ts';
import { UnsyncedError } from '../log/unsynced-error.ts';
import { syncFileRangeAsync } from '../os/libc.ts';
import type { BlockClass } from './block-format.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES } from './block-format.ts';
import type { SegmentRow } from './block-index.ts';

/** Descriptors kept open; segments in use are not counted out. */
const OPEN_MAX = 512;
/** Large blocks begin their way to the disk when this much of a segment waits, so that the sync that follows finds little left. */
const WRITE_BACK_BYTES = 8 * 1024 * 1024;
const SYNC_FILE_RANGE_WRITE = 2;
const SLIGHT_BYTES_MIN = 1024 * 1024;
const SLIGHT_FRACTION = 1 / 16;
const PREFIX = { large: 'l', small: 's' } as const;

export interface BlockSegment {
  readonly number: number;
  readonly class: BlockClass;
  readonly path: string;
  /** Where the next record goes. */
  end: number;
  liveBytes: number;
  punchedBytes: number;
  /** undefined while closed. */
  fd: number | undefined;
  /** Pool threads that work on the descriptor: it is not closed meanwhile. */
  pins: number;
  /** Up to here write-back was begun. */
  writtenBack: number;
  /** What lies before is power-proof. */
  synced: number;
  /** How often its end was taken back. */
  cuts: number;
}

export class SegmentSet {
  readonly #directory: string;
  /** As it stands in the headers of segments and blocks. */
  readonly volume: Buffer;
  readonly #volume: Uuid;
  readonly #segmentBytes: number;
  readonly #segments = new Map<number, BlockSegment>();
  readonly #current: { [C in BlockClass]: BlockSegment | undefined } = { large: undefined, small: undefined };
  /** Least recently used first. */
  readonly #open = new Set<BlockSegment>();
  readonly #dirty = new Set<BlockSegment>();
  /** Synced further than their rows in the index say. */
  readonly unnoted = new Set<BlockSegment>();
  #directoryDirty = false;
  #nextNumber = 1;
  #failure: Error | undefined;
  readonly #sync = new GroupedSync(() => this.#syncDirty(), () => this.#dirty.size > 0 || this.#directoryDirty);

  constructor(options: { readonly directory: string; readonly volume: Uuid; readonly segmentBytes: number }) {
    this.#directory = options.directory;
    this.#volume = options.volume;
    this.volume = Buffer.from(options.volume, 'hex');
    this.#segmentBytes = options.segmentBytes;
  }

  /** Adds what is there. Segments with room take appends again. */
  add(row: SegmentRow): BlockSegment {
    const segment = this.#make(row);
    this.#segments.set(row.number, segment);
    this.#nextNumber = Math.max(this.#nextNumber, row.number + 1);
    const current = this.#current[row.class];
    if (row.end < this.#segmentBytes && (current === undefined || current.number < row.number)) this.#current[row.class] = segment;
    return segment;
  }

  /** The process that wrote this segment may have been killed before it synced it: the next sync does. */
  markUnsynced(segment: BlockSegment): void {
    this.#dirty.add(segment);
    this.#directoryDirty = true;
  }

  #make(row: SegmentRow): BlockSegment {
    return { ...row, path: segmentPath(this.#directory, row), fd: undefined, pins: 0, cuts: 0, writtenBack: row.end };
  }

  get(number: number): BlockSegment {
    const segment = this.#segments.get(number);
    assert(segment !== undefined, `segment ${number} is there`);
    return segment;
  }

  find(number: number): BlockSegment | undefined {
    return this.#segments.get(number);
  }

  all(): Iterable<BlockSegment> {
    return this.#segments.values();
  }

  isCurrent(segment: BlockSegment): boolean {
    return this.#current[segment.class] === segment;
  }

  /** It takes no more appends: the next one begins another. */
  seal(segment: BlockSegment): void {
    if (this.isCurrent(segment)) this.#current[segment.class] = undefined;
  }

  /** What of a segment lies on the disk beside its header. */
  keptBytes(segment: BlockSegment): number {
    return segment.end - SEGMENT_HEADER_BYTES - segment.punchedBytes;
  }

  /** Whether a segment that takes appends keeps too little for it to matter that most of it may be dead. */
  isSlight(segment: BlockSegment): boolean {
    return this.keptBytes(segment) <= Math.max(SLIGHT_BYTES_MIN, this.#segmentBytes * SLIGHT_FRACTION);
  }

  /** A segment that takes a record of `bytes` more. */
  roomFor(blockClass: BlockClass, bytes: number): BlockSegment {
    const current = this.#current[blockClass];
    if (current !== undefined && (this.fits(current, bytes) || current.end === SEGMENT_HEADER_BYTES)) return current;
    const segment = this.#make({ number: this.#nextNumber++, class: blockClass, end: SEGMENT_HEADER_BYTES, liveBytes: 0, punchedBytes: 0, synced: 0 });
    segment.fd = fs.openSync(segment.path, 'wx+', 0o600);
    this.#open.add(segment);
    fs.writeSync(segment.fd, encodeSegmentHeader(this.#volume, segment), 0, SEGMENT_HEADER_BYTES, 0);
    this.#segments.set(segment.number, segment);
    this.#current[blockClass] = segment;
    this.#dirty.add(segment);
    this.#directoryDirty = true;
    return segment;
  }

  /** Whether `bytes` more still belong into this segment. */
  fits(segment: BlockSegment, bytes: number): boolean {
    return segment.end + bytes <= this.#segmentBytes;
  }

  fdOf(segment: BlockSegment): number {
    if (segment.fd !== undefined) {
      if (this.#open.size > OPEN_MAX / 2) {
        this.#open.delete(segment);
        this.#open.add(segment);
      }
      return segment.fd;
    }
    segment.fd = fs.openSync(segment.path, 'r+');
    this.#open.add(segment);
    if (this.#open.size > OPEN_MAX) this.#closeOne();
    return segment.fd;
  }

  #closeOne(): void {
    for (const segment of this.#open) {
      if (segment.pins > 0 || this.#dirty.has(segment) || this.isCurrent(segment)) continue;
      this.#close(segment);
      return;
    }
  }

  #close(segment: BlockSegment): void {
    if (segment.fd === undefined) return;
    this.#open.delete(segment);
    // In the pool: closing the last descriptor of an unlinked segment frees all its blocks.
    fs.close(segment.fd, () => undefined);
    segment.fd = undefined;
  }

  pin(segment: BlockSegment): number {
    const fd = this.fdOf(segment);
    segment.pins++;
    return fd;
  }

  unpin(segment: BlockSegment): void {
    segment.pins--;
    if (segment.pins === 0 && !this.#segments.has(segment.number)) this.#close(segment);
  }

  /** Appends pieces of `bytes` in all; the process may die afterwards. The segment ends behind them. */
  append(segment: BlockSegment, pieces: readonly Uint8Array[], bytes: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    const fd = this.fdOf(segment);
    try {
      let done = fs.writevSync(fd, pieces as Uint8Array[], segment.end);
      if (done < bytes) {
        const rest = Buffer.concat(pieces);
        while (done < bytes) done += fs.writeSync(fd, rest, done, bytes - done, segment.end + done);
      }
    } catch (error) {
      // A part that was written before the disk was full would keep the space that others need.
      fs.ftruncateSync(fd, segment.end);
      throw error;
    }
    segment.end += bytes;
    this.#dirty.add(segment);
    if (segment.class === 'large' && segment.end - segment.writtenBack >= WRITE_BACK_BYTES) this.#writeBack(segment);
  }

  /** Takes back what was appended from `end` on, and is in no row of the index. */
  cut(segment: BlockSegment, end: number): void {
    if (end >= segment.end) return;
    segment.end = end;
    segment.writtenBack = Math.min(segment.writtenBack, end);
    segment.synced = Math.min(segment.synced, end);
    segment.cuts++;
    fs.ftruncateSync(this.fdOf(segment), end);
  }

  /** Takes a segment out and removes its file; readers that are at it finish. */
  remove(segment: BlockSegment): void {
    assert(!this.isCurrent(segment), 'a segment that takes appends is not removed');
    this.#segments.delete(segment.number);
    this.#dirty.delete(segment);
    this.unnoted.delete(segment);
    fs.unlinkSync(segment.path);
    if (segment.pins === 0) this.#close(segment);
  }

  /** All that was appended before is power-proof when it resolves. After a failure it never does again. */
  sync(): Promise<void> {
    return this.#failure === undefined ? this.#sync.request() : Promise.reject(this.#failure);
  }

  async #syncDirty(): Promise<void> {
    const dirty = [...this.#dirty];
    const began = dirty.map(({ end, cuts }) => ({ end, cuts }));
    const waits = dirty.map((segment) => fdatasync(this.pin(segment)).finally(() => this.unpin(segment)));
    if (this.#directoryDirty) waits.push(this.#syncDirectory());
    this.#dirty.clear();
    this.#directoryDirty = false;
    for (const result of await Promise.allSettled(waits)) {
      if (result.status === 'rejected') throw (this.#failure ??= new UnsyncedError(this.#directory, result.reason as Error));
    }
    for (const [at, segment] of dirty.entries()) {
      const { end, cuts } = began[at]!;
      // What was written anew behind a cut came after the sync began.
      if (segment.cuts !== cuts || segment.synced >= end || this.find(segment.number) !== segment) continue;
      segment.synced = end;
      this.unnoted.add(segment);
    }
  }

  async #syncDirectory(): Promise<void> {
    const directory = await fs.promises.open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  #writeBack(segment: BlockSegment): void {
    const from = segment.writtenBack;
    segment.writtenBack = segment.end;
    // Only a head start: what fails here fails again at the sync, which reports it.
    void syncFileRangeAsync(this.pin(segment), from, segment.end - from, SYNC_FILE_RANGE_WRITE).finally(() => this.unpin(segment));
  }

  /** Closes all files, when nothing works on them any more. Does not sync. */
  async close(): Promise<void> {
    await this.#sync.settled();
    while ([...this.#open].some((segment) => segment.pins > 0)) await new Promise((resolve) => setTimeout(resolve, 1));
    for (const segment of this.#open) {
      fs.closeSync(segment.fd!);
      segment.fd = undefined;
    }
    this.#open.clear();
  }
}

export function segmentPath(directory: string, segment: { readonly number: number; readonly class: BlockClass }): string {
  return join(directory, `${PREFIX[segment.class]}${String(segment.number).padStart(8, '0')}`);
}

/** The segment files in a directory, in the order of their numbers. */
export function listSegments(directory: string): { number: number; class: BlockClass; path: string }[] {
  return fs.readdirSync(directory)
    .flatMap((name) => {
      const match = /^([ls])(\d{8,})$/.exec(name);
      return match === null ? [] : [{ number: Number(match[2]), class: match[1] === 'l' ? 'large' as const : 'small' as const, path: join(directory, name) }];
    })
    .toSorted((a, b) => a.number - b.number);
}
