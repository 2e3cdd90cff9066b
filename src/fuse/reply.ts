// One FUSE reply: a header and a small body in one buffer, and after them bytes that are not copied. Layouts: protocol.ts.
import type { Attributes, Pieces, Statistics, Timestamp } from '../vfs/filesystem.ts';
import { ATTR_OUT_BYTES, ENTRY_OUT_BYTES, FOPEN_KEEP_CACHE, LK_OUT_BYTES, OPEN_OUT_BYTES, OUT_HEADER_BYTES, STATFS_OUT_BYTES, STATX_MASK, STATX_OUT_BYTES } from './protocol.ts';

const TWO_32 = 0x1_0000_0000;
const BODY = OUT_HEADER_BYTES;
const HEAD_BYTES = 512;
/** Preferred I/O size that stat(2) shows. A larger one makes `cp` and stdio read more at once. */
const PREFERRED_IO_BYTES = 4096;
const NO_PIECES: Pieces = [];

/** How long the kernel may believe what it was told, in whole seconds. 0 = ask again each time. */
export interface CacheTimes {
  readonly entrySeconds: number;
  readonly attributeSeconds: number;
  /** Of names that do not exist. */
  readonly negativeSeconds: number;
}

/**
 * Reused for every reply, since a reply is sent before the next one begins. A row of the opcode table fills it:
 * `headBytes` counts the header; `pieces` follow the head unjoined.
 */
export class Reply {
  readonly #own = Buffer.alloc(HEAD_BYTES);
  readonly #times: CacheTimes;
  readonly #newHandle: (() => bigint) | undefined;
  head: Buffer = this.#own;
  headBytes = BODY;
  pieces: Pieces = NO_PIECES;

  /** `newHandle` names each file that is opened; absent: files have no names. */
  constructor(times: CacheTimes, newHandle?: () => bigint) {
    this.#times = times;
    this.#newHandle = newHandle;
  }

  /** Empties it: a reply of a header only. */
  begin(): void {
    this.head = this.#own;
    this.headBytes = BODY;
    this.pieces = NO_PIECES;
  }

  /** Completes the header of a reply that is filled; `error` is 0 or a negated errno. */
  finish(error: number, uniqueLo: number, uniqueHi: number): void {
    let bytes = this.headBytes;
    for (const piece of this.pieces) bytes += piece.length;
    const { head } = this;
    head.writeUInt32LE(bytes, 0);
    head.writeInt32LE(error, 4);
    head.writeUInt32LE(uniqueLo, 8);
    head.writeUInt32LE(uniqueHi, 12);
  }

  entry(attributes: Attributes): void {
    writeEntry(this.head, BODY, attributes, this.#times);
    this.headBytes = BODY + ENTRY_OUT_BYTES;
  }

  /** The name does not exist, and the kernel may remember that. */
  negativeEntry(): void {
    this.head.fill(0, BODY, BODY + ENTRY_OUT_BYTES);
    this.head.writeUInt32LE(this.#times.negativeSeconds, BODY + 16);
    this.headBytes = BODY + ENTRY_OUT_BYTES;
  }

  /** entry_out and open_out. */
  createdEntry(attributes: Attributes): void {
    this.entry(attributes);
    this.#open(this.#newHandle?.());
  }

  opened(handle: bigint): void {
    this.#open(handle);
  }

  /** open_out. The handle tells locks whose open file they end with; where the kernel keeps them it is 0. */
  #open(handle: bigint | undefined): void {
    const at = this.headBytes;
    this.head.fill(0, at, at + OPEN_OUT_BYTES);
    if (handle !== undefined) this.head.writeBigUInt64LE(handle, at);
    this.head.writeUInt32LE(FOPEN_KEEP_CACHE, at + 8);
    this.headBytes = at + OPEN_OUT_BYTES;
  }

  /** lk_out: one fuse_file_lock. */
  lock(lock: { readonly first: bigint; readonly last: bigint; readonly type: number; readonly pid: number }): void {
    const { head } = this;
    head.writeBigUInt64LE(lock.first, BODY);
    head.writeBigUInt64LE(lock.last, BODY + 8);
    head.writeUInt32LE(lock.type, BODY + 16);
    head.writeUInt32LE(lock.pid, BODY + 20);
    this.headBytes = BODY + LK_OUT_BYTES;
  }

  attributes(attributes: Attributes): void {
    const { head } = this;
    head.writeUInt32LE(this.#times.attributeSeconds, BODY);
    head.fill(0, BODY + 4, BODY + 16);
    writeAttributes(head, BODY + 16, attributes);
    this.headBytes = BODY + ATTR_OUT_BYTES;
  }

  statx(attributes: Attributes): void {
    const { head } = this;
    head.fill(0, BODY, BODY + STATX_OUT_BYTES);
    head.writeUInt32LE(this.#times.attributeSeconds, BODY);
    const at = BODY + 32;
    head.writeUInt32LE(STATX_MASK, at);
    head.writeUInt32LE(PREFERRED_IO_BYTES, at + 4);
    head.writeUInt32LE(attributes.links, at + 16);
    head.writeUInt32LE(attributes.uid, at + 20);
    head.writeUInt32LE(attributes.gid, at + 24);
    head.writeUInt16LE(attributes.mode, at + 28);
    writeU64(head, attributes.inode, at + 32);
    writeU64(head, attributes.size, at + 40);
    writeU64(head, attributes.blocks, at + 48);
    writeStatxTime(head, at + 64, attributes.accessed);
    writeStatxTime(head, at + 80, attributes.born);
    writeStatxTime(head, at + 96, attributes.changed);
    writeStatxTime(head, at + 112, attributes.modified);
    // The kernel's 32-bit device numbers have 12 bits of major in the middle (new_decode_dev).
    head.writeUInt32LE((attributes.device >>> 8) & 0xfff, at + 128);
    head.writeUInt32LE((attributes.device & 0xff) | ((attributes.device >>> 12) & 0xfff00), at + 132);
    this.headBytes = BODY + STATX_OUT_BYTES;
  }

  statistics(statistics: Statistics): void {
    const { head } = this;
    head.fill(0, BODY, BODY + STATFS_OUT_BYTES);
    writeU64(head, statistics.blocks, BODY);
    writeU64(head, statistics.blocksFree, BODY + 8);
    writeU64(head, statistics.blocksAvailable, BODY + 16);
    writeU64(head, statistics.inodes, BODY + 24);
    writeU64(head, statistics.inodesFree, BODY + 32);
    head.writeUInt32LE(statistics.blockBytes, BODY + 40);
    head.writeUInt32LE(statistics.nameBytesMax, BODY + 44);
    head.writeUInt32LE(statistics.blockBytes, BODY + 48);
    this.headBytes = BODY + STATFS_OUT_BYTES;
  }

  /** write_out and getxattr_out: a u32 and four bytes of padding. lseek_out and copy_file_range_out: a u64. */
  count(count: number): void {
    writeU64(this.head, count, BODY);
    this.headBytes = BODY + 8;
  }
}

/** fuse_entry_out: node id = inode number; generation 0, since inode numbers are never reused. */
export function writeEntry(out: Buffer, at: number, attributes: Attributes, times: CacheTimes): void {
  writeU64(out, attributes.inode, at);
  writeU64(out, 0, at + 8);
  writeU64(out, times.entrySeconds, at + 16);
  writeU64(out, times.attributeSeconds, at + 24);
  writeU64(out, 0, at + 32);
  writeAttributes(out, at + 40, attributes);
}

function writeAttributes(out: Buffer, at: number, attributes: Attributes): void {
  const { accessed, modified, changed } = attributes;
  writeU64(out, attributes.inode, at);
  writeU64(out, attributes.size, at + 8);
  writeU64(out, attributes.blocks, at + 16);
  writeU64(out, accessed.seconds, at + 24);
  writeU64(out, modified.seconds, at + 32);
  writeU64(out, changed.seconds, at + 40);
  out.writeUInt32LE(accessed.nanoseconds, at + 48);
  out.writeUInt32LE(modified.nanoseconds, at + 52);
  out.writeUInt32LE(changed.nanoseconds, at + 56);
  out.writeUInt32LE(attributes.mode, at + 60);
  out.writeUInt32LE(attributes.links, at + 64);
  out.writeUInt32LE(attributes.uid, at + 68);
  out.writeUInt32LE(attributes.gid, at + 72);
  out.writeUInt32LE(attributes.device, at + 76);
  out.writeUInt32LE(PREFERRED_IO_BYTES, at + 80);
  out.writeUInt32LE(0, at + 84);
}

function writeStatxTime(out: Buffer, at: number, time: Timestamp): void {
  writeU64(out, time.seconds, at);
  out.writeUInt32LE(time.nanoseconds, at + 8);
}

/** Two's complement for what is negative (times before 1970). */
export function writeU64(out: Buffer, value: number, at: number): void {
  out.writeUInt32LE(value >>> 0, at);
  out.writeUInt32LE(Math.floor(value / TWO_32) >>> 0, at + 4);
}
