// One segment file of a redo log: its header, its preallocation, its records on disk, the search for its end.
//
//   0   u32  magic "SDLS"
//   4   u8   version (1)
//   5   u8   state: 1 live, 2 retired (its records are void)
//   6   u16  zero
//   8   u64  sequence of the first record
//   16  u32  driver epoch of the record before the first, 0 = none
//   20  u32  CRC-32 of bytes 0-19
//   24       zero up to 4096: a record never shares a page with the header
//   4096     records (log/record.ts), back to back, sequences without a gap; after the last one zeroes, or what a
//            recycled segment held before: records with lower sequences, which therefore do not continue the log
//
// Little-endian. Names carry no order; the first sequence does.
import fs from 'node:fs';
import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';
import { FormatError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { decodeRecord, readU64, RECORD_HEADER_BYTES, writeU64 } from './record.ts';

export const SEGMENT_HEADER_BYTES = 4096;
const MAGIC = 0x534c4453;
const VERSION = 1;
const LIVE = 1;
const RETIRED = 2;
/** Distance of the entries of the sparse index: how far a reader has to walk to find a sequence. */
const INDEX_BYTES = 64 * 1024;
const REWRITE_BYTES = 1024 * 1024;
/** Of a file that is to take the place of another. */
export const COPY_SUFFIX = '.new';

export class Segment {
  readonly path: string;
  fd: number;
  /** Bytes of the file, header included. */
  readonly capacity: number;
  first = 0 as Sequence;
  /** `first - 1` while it holds no record. */
  last = 0 as Sequence;
  /** Epoch of the record before `first`. */
  epochBefore = 0 as DriverEpoch;
  /** Epoch of `last`. */
  lastEpoch = 0 as DriverEpoch;
  /** Where the next record goes. */
  end = SEGMENT_HEADER_BYTES;
  /** Sparse index: sequences and offsets by turns, both ascending. */
  #index: number[] = [];
  #indexedTo = 0;
  /** Where the last reader stopped: readers come back for what follows. */
  #cursor = { sequence: 0, offset: 0 };
  readonly #scratch = Buffer.alloc(RECORD_HEADER_BYTES);

  constructor(path: string, fd: number, capacity: number) {
    this.path = path;
    this.fd = fd;
    this.capacity = capacity;
  }

  get bytes(): number {
    return this.end - SEGMENT_HEADER_BYTES;
  }

  /** Makes it the segment that begins with `first`; what it held before is void. Not synced. */
  begin(first: Sequence, epochBefore: DriverEpoch): void {
    writeAll(this.fd, [encodeHeader(LIVE, first, epochBefore)], 0);
    this.first = first;
    this.last = (first - 1) as Sequence;
    this.epochBefore = epochBefore;
    this.lastEpoch = epochBefore;
    this.end = SEGMENT_HEADER_BYTES;
    this.#forgetIndex();
  }

  #forgetIndex(): void {
    this.#index = [];
    this.#indexedTo = 0;
    this.#cursor = { sequence: 0, offset: 0 };
  }

  /** Voids its records durably, so that it can be used again in any order. */
  async retire(): Promise<void> {
    writeAll(this.fd, [encodeHeader(RETIRED, 0 as Sequence, 0 as DriverEpoch)], 0);
    await fdatasync(this.fd);
  }

  fits(bytes: number): boolean {
    return this.end + bytes <= this.capacity;
  }

  /** Writes whole records behind the last one. On an error nothing has happened to the log. */
  append(records: readonly Uint8Array[], bytes: number, first: Sequence, last: Sequence, epoch: DriverEpoch): void {
    assert(this.end + bytes <= this.capacity, 'records fit in their log segment');
    writeAll(this.fd, records, this.end);
    if (this.end + bytes - this.#indexedTo >= INDEX_BYTES) this.#indexRecords(records, first);
    this.end += bytes;
    this.last = last;
    this.lastEpoch = epoch;
  }

  /** Whole records from `from` (which is here) on: as many as fit in `bytesMax`, but at least one. Not verified. */
  read(from: Sequence, bytesMax: number): Buffer {
    const start = this.#seek(from);
    let out = readAt(this.fd, start, Math.min(Math.max(bytesMax, RECORD_HEADER_BYTES), this.end - start), this.path);
    const firstBytes = recordBytesAt(out, 0);
    if (firstBytes > out.length) out = readAt(this.fd, start, firstBytes, this.path);
    let whole = 0;
    let count = 0;
    while (whole + RECORD_HEADER_BYTES <= out.length) {
      const next = whole + recordBytesAt(out, whole);
      if (next > out.length) break;
      whole = next;
      count++;
    }
    this.#cursor = { sequence: from + count, offset: start + whole };
    return out.subarray(0, whole);
  }

  /** Ends the segment before `sequence`, and overwrites with zeroes all that lies behind, so that it never comes back. Not synced. */
  cut(sequence: Sequence, epochBefore: DriverEpoch): void {
    if (sequence <= this.last) {
      this.end = this.#seek(sequence);
      this.last = (sequence - 1) as Sequence;
      this.lastEpoch = epochBefore;
      this.#forgetIndex();
    }
    this.zeroBehind({ unless: 'zero' });
  }

  /**
   * Puts a copy in the place of the file: to the kernel the old one may be clean though it did not reach the disk, and
   * what is written there anew may read as zeroes after a power cut (disk/block-rewrite.ts). Synced but for the directory.
   */
  replaceFile(allocate: (fd: number, bytes: number) => void): void {
    const path = `${this.path}${COPY_SUFFIX}`;
    fs.rmSync(path, { force: true });
    const fd = fs.openSync(path, 'wx+', 0o600);
    try {
      allocate(fd, this.capacity);
      for (let at = 0; at < this.end; at += REWRITE_BYTES) writeAll(fd, [readAt(this.fd, at, Math.min(REWRITE_BYTES, this.end - at), this.path)], at);
      fs.fsyncSync(fd);
      fs.renameSync(path, this.path);
    } catch (error) {
      fs.closeSync(fd);
      fs.rmSync(path, { force: true });
      throw error;
    }
    fs.closeSync(this.fd);
    this.fd = fd;
  }

  /** `unless: 'never'` writes even over zeroes, so that the space is not only taken but written: see `prepare`. */
  zeroBehind(options: { readonly unless: 'zero' | 'never' }): void {
    const zeroes = Buffer.alloc(1024 * 1024);
    for (let at = this.end; at < this.capacity; at += zeroes.length) {
      const bytes = Math.min(zeroes.length, this.capacity - at);
      const piece = zeroes.subarray(0, bytes);
      if (options.unless === 'never' || !readAt(this.fd, at, bytes, this.path).equals(piece)) writeAll(this.fd, [piece], at);
    }
  }

  #indexRecords(records: readonly Uint8Array[], first: Sequence): void {
    let sequence: number = first;
    let offset = this.end;
    for (const piece of records) {
      const view = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
      for (let at = 0; at < view.length; sequence++) {
        if (offset - this.#indexedTo >= INDEX_BYTES) {
          this.#index.push(sequence, offset);
          this.#indexedTo = offset;
        }
        const bytes = recordBytesAt(view, at);
        at += bytes;
        offset += bytes;
      }
    }
  }

  #seek(target: Sequence): number {
    assert(target >= this.first && target <= this.last, 'a sequence is sought in its own segment');
    let sequence: number = this.first;
    let offset = SEGMENT_HEADER_BYTES;
    if (this.#cursor.sequence === target) return this.#cursor.offset;
    let low = 0;
    let high = this.#index.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#index[2 * middle]! <= target) low = middle + 1;
      else high = middle;
    }
    if (low > 0) {
      sequence = this.#index[2 * low - 2]!;
      offset = this.#index[2 * low - 1]!;
    }
    for (; sequence < target; sequence++) {
      if (fs.readSync(this.fd, this.#scratch, 0, RECORD_HEADER_BYTES, offset) !== RECORD_HEADER_BYTES) throw damaged(this.path, 'a record header', `the end of the file at ${offset}`);
      if (readU64(this.#scratch, 8) !== sequence) throw damaged(this.path, `record ${sequence} at ${offset}`, `record ${readU64(this.#scratch, 8)}`);
      offset += recordBytesAt(this.#scratch, 0);
    }
    return offset;
  }

  /**
   * Opens a segment file and finds the end of its records. `undefined` when it holds none that count: a retired
   * one, one whose header was torn, one whose preallocation did not end.
   */
  static open(path: string): Segment | undefined {
    const fd = fs.openSync(path, 'r+');
    try {
      const segment = new Segment(path, fd, fs.fstatSync(fd).size);
      if (segment.#recover()) return segment;
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    fs.closeSync(fd);
    return undefined;
  }

  #recover(): boolean {
    if (this.capacity <= SEGMENT_HEADER_BYTES) return false;
    const bytes = readAt(this.fd, 0, this.capacity, this.path);
    if (bytes.readUInt32LE(0) !== MAGIC || crc32(bytes.subarray(0, 20)) !== bytes.readUInt32LE(20)) return false;
    if (bytes[4] !== VERSION) throw new FormatError(`log segment ${this.path}`, { wanted: `version ${VERSION}`, found: `version ${bytes[4]}; a newer sdfs wrote it` });
    if (bytes[5] !== LIVE) return false;
    this.first = readU64(bytes, 8) as Sequence;
    this.last = (this.first - 1) as Sequence;
    this.epochBefore = bytes.readUInt32LE(16) as DriverEpoch;
    this.lastEpoch = this.epochBefore;
    for (;;) {
      const header = decodeRecord(bytes, this.end);
      if (header === undefined || header.sequence !== this.last + 1 || header.epoch < this.lastEpoch) return true;
      if (this.end - this.#indexedTo >= INDEX_BYTES) {
        this.#index.push(header.sequence, this.end);
        this.#indexedTo = this.end;
      }
      this.end += header.recordBytes;
      this.last = header.sequence;
      this.lastEpoch = header.epoch;
    }
  }

  /** Zero-filled and durable, so that syncing an overwrite commits no metadata of the file system. */
  static async prepare(path: string, capacity: number): Promise<Segment> {
    const file = await fs.promises.open(path, 'wx', 0o600);
    try {
      const zeroes = Buffer.alloc(Math.min(capacity, 1024 * 1024));
      for (let at = 0; at < capacity; at += zeroes.length) await file.write(zeroes, 0, Math.min(zeroes.length, capacity - at), at);
      await file.sync();
    } finally {
      await file.close();
    }
    return new Segment(path, fs.openSync(path, 'r+'), capacity);
  }

  /** The same without the wait: the space is taken but not written, so syncs cost a metadata commit more. */
  static create(path: string, capacity: number, allocate: (fd: number, bytes: number) => void): Segment {
    const fd = fs.openSync(path, 'wx+', 0o600);
    try {
      allocate(fd, capacity);
    } catch (error) {
      fs.closeSync(fd);
      fs.unlinkSync(path);
      throw error;
    }
    return new Segment(path, fd, capacity);
  }
}

function encodeHeader(state: number, first: Sequence, epochBefore: DriverEpoch): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt8(VERSION, 4);
  header.writeUInt8(state, 5);
  writeU64(header, first, 8);
  header.writeUInt32LE(epochBefore, 16);
  header.writeUInt32LE(crc32(header.subarray(0, 20)), 20);
  return header;
}

function recordBytesAt(bytes: Buffer, offset: number): number {
  return RECORD_HEADER_BYTES + bytes.readUInt32LE(offset + 40);
}

function damaged(path: string, wanted: string, found: string): FormatError {
  return new FormatError(`log segment ${path}`, { wanted, found });
}

function readAt(fd: number, offset: number, bytes: number, path: string): Buffer {
  const out = Buffer.allocUnsafe(bytes);
  let done = 0;
  while (done < bytes) {
    const count = fs.readSync(fd, out, done, bytes - done, offset + done);
    if (count === 0) throw damaged(path, `${bytes} bytes at ${offset}`, `the end of the file after ${done}`);
    done += count;
  }
  return out;
}

function writeAll(fd: number, pieces: readonly Uint8Array[], offset: number): void {
  const only = pieces.length === 1 ? pieces[0]! : undefined;
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  let done = only === undefined ? fs.writevSync(fd, pieces as Uint8Array[], offset) : fs.writeSync(fd, only, 0, only.length, offset);
  if (done === bytes) return;
  const rest = Buffer.concat(pieces);
  while (done < bytes) done += fs.writeSync(fd, rest, done, bytes - done, offset + done);
}

export function fdatasync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}
