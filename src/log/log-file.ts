// The redo log of a process: whole records appended to preallocated segment files in one directory.
//
// What a crash may leave, and why it does no harm: a torn record, and whatever lies behind it, ends the log at open
// and is overwritten with zeroes before anything is appended. Segments are retired oldest first, each durably
// before the next and before it is used again, so that live ones never have a gap but at the end.
import fs from 'node:fs';
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import { FormatError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { ERRNO, errno, fallocate, SystemCallError } from '../os/libc.ts';
import { GroupedSync } from './grouped-sync.ts';
import { decodeRecord, type RecordHeader } from './record.ts';
import { UnsyncedError } from './unsynced-error.ts';
import { AdaptiveSync } from './adaptive-sync.ts';
import { COPY_SUFFIX, Segment, SEGMENT_HEADER_BYTES } from './segment.ts';

const SUFFIX = '.log';
const SPARES_MAX = 2;
/** A spare is prepared only where this many times its size is free: a full disk has better use for its last bytes. */
const SPARE_ROOM = 4;
const SCAN_BYTES = 1024 * 1024;

export interface LogFileOptions {
  /** Size of a segment file in bytes; the largest append must fit in one. */
  readonly segmentBytes?: number;
  /** Retired segments kept for use again; the others are unlinked. */
  readonly sparesMax?: number | undefined;
  /** Puts copies in the place of the files at open: the last process may not have synced them, or failed to (unsynced-error.ts). */
  readonly rewrite?: boolean;
}

/** A record in a Buffer that holds others too: `decodeOperations(bytes, offset)`. */
export interface ScannedRecord {
  readonly header: RecordHeader;
  readonly bytes: Buffer;
  readonly offset: number;
}

export class LogFile {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #sparesMax: number;
  readonly #directoryFd: number;
  readonly #fdatasync = new AdaptiveSync();
  /** Live segments, oldest first; the last one takes the appends. Never empty after open. */
  readonly #segments: Segment[] = [];
  /** Retired segments, ready for use. */
  readonly #spares: Segment[] = [];
  #nextName = 1;
  /** Segments written since the last sync began. */
  readonly #dirty = new Set<Segment>();
  #directoryDirty = false;
  readonly #sync = new GroupedSync(() => this.#syncDirty(), () => this.#dirty.size > 0 || this.#directoryDirty);
  /** Background work on segments that are no longer, or not yet, live: one step after the other. */
  #upkeep: Promise<void> = Promise.resolve();
  #preparing = false;
  /** A failed write-back may have dropped pages that a later sync would call clean: no sync after it can be believed. */
  #failure: Error | undefined;
  #closed = false;

  private constructor(directory: string, options: { readonly segmentBytes: number; readonly sparesMax: number }) {
    this.#directory = directory;
    this.#segmentBytes = options.segmentBytes;
    this.#sparesMax = options.sparesMax;
    this.#directoryFd = fs.openSync(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  }

  /**
   * Opens the log in `directory` (made when missing) and finds its end. Throws FormatError when a newer version
   * wrote it, and the errors of `fs`.
   */
  static open(directory: string, options: LogFileOptions = {}): LogFile {
    const segmentBytes = options.segmentBytes ?? LIMITS.logSegmentBytes;
    assert(segmentBytes > SEGMENT_HEADER_BYTES, 'a log segment holds more than its header');
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    const log = new LogFile(directory, { segmentBytes, sparesMax: options.sparesMax ?? SPARES_MAX });
    try {
      log.#recover({ rewrite: options.rewrite ?? false });
    } catch (error) {
      for (const segment of log.#segments) fs.closeSync(segment.fd);
      fs.closeSync(log.#directoryFd);
      throw error;
    }
    return log;
  }

  /** First record that can be read; lastSequence + 1 when there is none. */
  get firstSequence(): Sequence {
    return this.#segments[0]!.first;
  }
  /** Last record appended, or what `reset` said; 0 for a new log. */
  get lastSequence(): Sequence {
    return this.#current.last;
  }
  /** Driver epoch of the last record; 0 for a new log. */
  get lastEpoch(): DriverEpoch {
    return this.#current.lastEpoch;
  }
  /** Bytes of the records in segments that are not retired. */
  get bytes(): number {
    let sum = 0;
    for (const segment of this.#segments) sum += segment.bytes;
    return sum;
  }
  get #current(): Segment {
    return this.#segments[this.#segments.length - 1]!;
  }

  /**
   * Appends the records `first … last`, of which `epoch` is the last one's; each piece holds whole records. They
   * survive the process when this returns, a power cut after `sync`. Throws errors of `fs` (ENOSPC, EIO …), and
   * nothing is appended then.
   */
  append(records: readonly Uint8Array[], first: Sequence, last: Sequence, epoch: DriverEpoch): void {
    this.#assertUsable();
    let segment = this.#current;
    assert(first === segment.last + 1 && last >= first, 'a log grows without a gap');
    assert(epoch >= segment.lastEpoch, 'the driver epoch in a log does not fall');
    let bytes = 0;
    for (const piece of records) bytes += piece.length;
    if (!segment.fits(bytes)) {
      segment = this.#begin(first, segment.lastEpoch, Math.max(this.#segmentBytes, SEGMENT_HEADER_BYTES + bytes));
    }
    segment.append(records, bytes, first, last, epoch);
    this.#dirty.add(segment);
    if (this.#spares.length === 0 && !this.#preparing && segment.bytes > segment.capacity / 4) this.#prepareSpare();
  }

  /**
   * Makes all that was appended before the call power-proof. Callers share: at most one sync runs and one waits.
   * After a failure every later call fails, since the kernel may have dropped what it could not write.
   */
  sync(): Promise<void> {
    return this.#failure === undefined ? this.#sync.request() : Promise.reject(this.#failure);
  }

  async #syncDirty(): Promise<void> {
    const waits: Promise<void>[] = [];
    for (const segment of this.#dirty) waits.push(this.#fdatasync.sync(segment.fd));
    if (this.#directoryDirty) waits.push(fsync(this.#directoryFd));
    this.#dirty.clear();
    this.#directoryDirty = false;
    // allSettled: no descriptor may be closed while the pool still works on it.
    for (const result of await Promise.allSettled(waits)) {
      if (result.status === 'rejected') throw this.#fail(new UnsyncedError(this.#directory, result.reason as Error));
    }
  }

  /** Whole, verified records from `from` on, at least one and otherwise up to `bytesMax`; empty behind the last. RangeError when `from` was trimmed. */
  read(from: Sequence, bytesMax: number): Buffer {
    const bytes = this.#readUnverified(from, bytesMax);
    let sequence: number = from;
    for (let at = 0; at < bytes.length; sequence++) at += this.#verify(bytes, at, sequence).recordBytes;
    return bytes;
  }

  /** Every record from `from` on, verified. Records appended meanwhile are met too. */
  *scan(from: Sequence): Generator<ScannedRecord> {
    let sequence: number = from;
    for (;;) {
      const bytes = this.#readUnverified(sequence as Sequence, SCAN_BYTES);
      if (bytes.length === 0) return;
      for (let offset = 0; offset < bytes.length; sequence++) {
        const header = this.#verify(bytes, offset, sequence);
        yield { header, bytes, offset };
        offset += header.recordBytes;
      }
    }
  }

  #readUnverified(from: Sequence, bytesMax: number): Buffer {
    this.#assertUsable();
    if (from > this.lastSequence) return Buffer.alloc(0);
    if (from < this.firstSequence) throw new RangeError(`log record ${from} is trimmed; the log begins at ${this.firstSequence}`);
    const segment = this.#segments.findLast((candidate) => candidate.first <= from)!;
    return segment.read(from, bytesMax);
  }

  #verify(bytes: Buffer, offset: number, sequence: number): RecordHeader {
    const header = decodeRecord(bytes, offset);
    if (header?.sequence === sequence) return header;
    throw new FormatError(`log in ${this.#directory}`, { wanted: `record ${sequence}`, found: header === undefined ? 'bytes that fail its checksum' : `record ${header.sequence}` });
  }

  /** Records up to `through` are not needed any more: segments that hold no others are retired, in the background. */
  trim(through: Sequence): void {
    this.#assertUsable();
    while (this.#segments.length > 1 && this.#segments[0]!.last <= through) this.#retire(this.#segments.shift()!);
  }

  /** Forgets the records behind `sequence`, durably when it returns. RangeError when `sequence` itself was trimmed. */
  async truncateAfter(sequence: Sequence): Promise<void> {
    this.#assertUsable();
    if (sequence >= this.lastSequence) return;
    if (sequence < this.firstSequence - 1) throw new RangeError(`log record ${sequence} is trimmed; the log begins at ${this.firstSequence}`);
    await this.#settle();
    while (this.#segments.length > 1 && this.#current.first > sequence) this.#drop(this.#segments.pop()!);
    fs.fsyncSync(this.#directoryFd);
    const current = this.#current;
    const epoch = sequence >= current.first ? this.#epochOf(sequence) : current.epochBefore;
    current.cut((sequence + 1) as Sequence, epoch);
    fs.fdatasyncSync(current.fd);
  }

  /** Forgets every record, durably when it returns; the next one must be `sequence + 1`. */
  async reset(sequence: Sequence, epoch: DriverEpoch = 0 as DriverEpoch): Promise<void> {
    this.#assertUsable();
    await this.#settle();
    // Newest first: what a crash in between leaves is the beginning of the old log, not a log with a hole.
    while (this.#segments.length > 0) this.#drop(this.#segments.pop()!);
    while (this.#spares.length > 0) this.#drop(this.#spares.pop()!);
    fs.fsyncSync(this.#directoryFd);
    const segment = this.#begin((sequence + 1) as Sequence, epoch, this.#segmentBytes);
    fs.fdatasyncSync(segment.fd);
    fs.fsyncSync(this.#directoryFd);
  }

  /** Waits for what runs and closes the files. Does not sync. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#settle();
    this.#closed = true;
    for (const segment of [...this.#segments, ...this.#spares]) fs.closeSync(segment.fd);
    fs.closeSync(this.#directoryFd);
  }

  #recover({ rewrite }: { readonly rewrite: boolean }): void {
    const found: Segment[] = [];
    const void_: string[] = [];
    for (const name of fs.readdirSync(this.#directory)) {
      if (name.endsWith(COPY_SUFFIX)) fs.unlinkSync(join(this.#directory, name));
      if (!name.endsWith(SUFFIX)) continue;
      this.#nextName = Math.max(this.#nextName, Number.parseInt(name, 10) + 1);
      const path = join(this.#directory, name);
      const segment = Segment.open(path);
      if (segment === undefined) void_.push(path);
      else found.push(segment);
    }
    found.sort((a, b) => a.first - b.first || a.last - b.last);
    for (const segment of found) {
      const before = this.#segments.at(-1);
      if (before === undefined || segment.first === before.last + 1) {
        this.#segments.push(segment);
      } else {
        fs.closeSync(segment.fd);
        void_.push(segment.path);
      }
    }
    // Void files may hold records of sequences that are still to come: they are not used again.
    for (const path of void_) fs.unlinkSync(path);
    if (this.#segments.length === 0) this.#begin(1 as Sequence, 0 as DriverEpoch, this.#segmentBytes).zeroBehind({ unless: 'never' });
    const current = this.#current;
    current.cut((current.last + 1) as Sequence, current.lastEpoch);
    // A process that was killed may not have synced what it appended; what this one reports as its log has to be safe.
    for (const segment of this.#segments) {
      if (rewrite) replaceFile(segment);
      fs.fdatasyncSync(segment.fd);
    }
    fs.fsyncSync(this.#directoryFd);
  }

  /** Makes a spare, or else a new file, the current segment. */
  #begin(first: Sequence, epochBefore: DriverEpoch, capacity: number): Segment {
    const ready = this.#spares.findIndex((spare) => spare.capacity >= capacity);
    const segment = ready >= 0 ? this.#spares.splice(ready, 1)[0]! : Segment.create(this.#newPath(), capacity, allocate);
    if (ready < 0) this.#directoryDirty = true;
    try {
      segment.begin(first, epochBefore);
    } catch (error) {
      this.#spares.push(segment);
      throw error;
    }
    this.#segments.push(segment);
    this.#dirty.add(segment);
    return segment;
  }

  #newPath(): string {
    return join(this.#directory, `${String(this.#nextName++).padStart(8, '0')}${SUFFIX}`);
  }

  #retire(segment: Segment): void {
    this.#dirty.delete(segment);
    this.#enqueue(async () => {
      await this.#sync.settled();
      // Also before it is unlinked: a power cut may bring some unlinked files back and others not.
      await segment.retire();
      if (this.#spares.length >= this.#sparesMax || segment.capacity !== this.#segmentBytes) this.#drop(segment);
      else this.#spares.push(segment);
    });
  }

  #prepareSpare(): void {
    if (!this.#hasRoomForSpare()) return;
    this.#preparing = true;
    this.#enqueue(async () => {
      const path = this.#newPath();
      try {
        if (this.#spares.length > 0) return;
        this.#spares.push(await Segment.prepare(path, this.#segmentBytes));
        this.#directoryDirty = true;
      } catch (error) {
        fs.rmSync(path, { force: true });
        // A full disk has no room for a spare; the append that needs a segment reports it.
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        this.#preparing = false;
      }
    });
  }

  #hasRoomForSpare(): boolean {
    const { blocks, bavail, bsize } = fs.statfsSync(this.#directory);
    // A tmpfs without a size says 0 of all.
    return blocks === 0 || bavail * bsize >= SPARE_ROOM * this.#segmentBytes;
  }

  #enqueue(step: () => Promise<void>): void {
    this.#upkeep = this.#upkeep.then(step).catch((error: unknown) => void this.#fail(error as Error));
  }

  #drop(segment: Segment): void {
    this.#dirty.delete(segment);
    fs.unlinkSync(segment.path);
    fs.closeSync(segment.fd);
  }

  /** No pool thread works on a descriptor of this log when it returns. */
  async #settle(): Promise<void> {
    await this.#upkeep;
    await this.#sync.settled();
  }

  #epochOf(sequence: Sequence): DriverEpoch {
    return this.#verify(this.#readUnverified(sequence, 1), 0, sequence).epoch;
  }

  #fail(error: Error): Error {
    this.#failure ??= new Error(`the log in ${this.#directory} is not to be trusted after a failed write: ${error.message}`, { cause: error });
    return this.#failure;
  }

  #assertUsable(): void {
    assert(!this.#closed, 'a closed log is not used');
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** A full disk has no room for a copy, and must open: what was synced there stays so. */
function replaceFile(segment: Segment): void {
  try {
    segment.replaceFile(allocate);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  }
}

function allocate(fd: number, bytes: number): void {
  if (fallocate(fd, 0, 0, bytes) !== 0) {
    const number = errno();
    throw Object.assign(new SystemCallError('fallocate', 'log segment', number), number === ERRNO.ENOSPC ? { code: 'ENOSPC' } : {});
  }
}

function fsync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fsync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}
