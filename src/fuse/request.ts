// One FUSE request: a view of its bytes with the fields that every operation reads.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Caller, Timestamp } from '../vfs/filesystem.ts';
import { DirectoryReply } from './directory-reply.ts';
import { IN_HEADER, UNIQUE_RESENT_HI } from './protocol.ts';

const NO_BYTES: Buffer = Buffer.alloc(0);
const TWO_32 = 0x1_0000_0000;

/**
 * Reused from request to request. It belongs to its request from `begin` until the reply has been sent; the bytes
 * below it belong to the reader of the device, which keeps them as long.
 */
export class FuseRequest {
  bytes: Buffer = NO_BYTES;
  opcode = 0;
  uniqueLo = 0;
  /** Exactly as received, bit 31 (sent again) included. */
  uniqueHi = 0;
  inode = 0 as InodeNumber;
  /** Of one that could not be answered at once: when that began, on performance.now(). */
  waitsSinceMs = 0;
  #caller: RequestCaller | undefined;
  #directory: DirectoryReply | undefined;

  /** Takes over `bytes`, one whole request of at least the header's size. */
  begin(bytes: Buffer): void {
    this.bytes = bytes;
    this.opcode = bytes.readUInt32LE(IN_HEADER.opcode);
    this.uniqueLo = bytes.readUInt32LE(IN_HEADER.uniqueLo);
    this.uniqueHi = bytes.readUInt32LE(IN_HEADER.uniqueHi);
    this.inode = this.u64(IN_HEADER.nodeid) as InodeNumber;
  }

  /** Keeps what answering needs, and lets go of the bytes: the device may have them back before the answer. */
  detach(): void {
    this.caller();
    this.bytes = NO_BYTES;
  }

  end(): void {
    this.bytes = NO_BYTES;
    this.#caller = undefined;
  }

  u32(at: number): number {
    return this.bytes.readUInt32LE(at);
  }

  /** Exact below 2^53; above it is rounded, which stays above every limit of a file. */
  u64(at: number): number {
    return this.bytes.readUInt32LE(at) + this.bytes.readUInt32LE(at + 4) * TWO_32;
  }

  /** Exact where all 64 bits count: for locks. */
  big(at: number): bigint {
    return this.bytes.readBigUInt64LE(at);
  }

  node(at: number): InodeNumber {
    return this.u64(at) as InodeNumber;
  }

  /** Signed seconds at one place, nanoseconds at another. */
  time(secondsAt: number, nanosecondsAt: number): Timestamp {
    return { seconds: this.bytes.readUInt32LE(secondsAt) + this.bytes.readInt32LE(secondsAt + 4) * TWO_32, nanoseconds: this.u32(nanosecondsAt) };
  }

  /**
   * The NUL-terminated bytes that begin at `at`, as a view without the NUL. The next string of the request begins
   * one byte behind its end. EIO when the NUL is missing.
   */
  string(at: number): Buffer {
    const { bytes } = this;
    let end = at;
    while (end < bytes.length && bytes[end] !== 0) end++;
    if (end >= bytes.length) throw new FsError('EIO', `FUSE request ${this.opcode}: wanted a NUL behind the name at byte ${at}, found the end of the request`);
    return bytes.subarray(at, end);
  }

  /** A fresh object at each request: the file system may keep it after it has answered. */
  caller(umask?: number): Caller {
    return (this.#caller ??= new RequestCaller(this, umask));
  }

  /** The signal arrived: whoever looks at the caller's AbortSignal is told. */
  interrupt(): void {
    this.#caller?.interrupt();
  }

  /** Kept from request to request, since its buffer is large. */
  directory(): DirectoryReply {
    return (this.#directory ??= new DirectoryReply());
  }
}

/** Most requests are answered at once: the abort machinery is made only when someone looks at it. */
class RequestCaller implements Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly umask: number | undefined;
  readonly requestHi: number;
  readonly requestLo: number;
  readonly resent: boolean;
  #controller: AbortController | undefined;

  constructor(request: FuseRequest, umask: number | undefined) {
    this.uid = request.u32(IN_HEADER.uid);
    this.gid = request.u32(IN_HEADER.gid);
    this.pid = request.u32(IN_HEADER.pid);
    this.umask = umask;
    this.requestHi = (request.uniqueHi & ~UNIQUE_RESENT_HI) >>> 0;
    this.requestLo = request.uniqueLo;
    this.resent = request.uniqueHi >= UNIQUE_RESENT_HI;
  }

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal;
  }

  interrupt(): void {
    (this.#controller ??= new AbortController()).abort(new FsError('EINTR'));
  }
}
