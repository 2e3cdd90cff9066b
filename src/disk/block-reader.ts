// Reads ranges of segment files without ever waiting for the disk while another request could be served.
//
// What is in the page cache is read at once (RWF_NOWAIT). What is not is put off to the end of the loop's turn: a lone
// reader is then served by a blocking read, which saves waking a thread; several go to the pool side by side.
import fs from 'node:fs';
import { FormatError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { addressOf, preadv2 } from '../os/libc.ts';
import type { BlockSegment, SegmentSet } from './segment-set.ts';

const RWF_NOWAIT = 8;

interface Waiting {
  readonly segment: BlockSegment;
  readonly offset: number;
  readonly bytes: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class BlockReader {
  readonly #segments: SegmentSet;
  /** What a read from the page cache goes through; its bytes are valid until the next read. */
  readonly #cached = Buffer.allocUnsafeSlow(LIMITS.blockBytesMax);
  readonly #iovec = Buffer.alloc(16);
  #waiting: Waiting[] = [];

  constructor(segments: SegmentSet) {
    this.#segments = segments;
    this.#iovec.writeBigUInt64LE(addressOf(this.#cached), 0);
  }

  /**
   * `bytes` at `offset`. A Buffer that is returned, rather than promised, is valid until the next read. FormatError
   * when the file ends before.
   */
  read(segment: BlockSegment, offset: number, bytes: number): Buffer | Promise<Buffer> {
    this.#iovec.writeUInt32LE(bytes, 8);
    if (preadv2(this.#segments.fdOf(segment), this.#iovec, 1, offset, RWF_NOWAIT) === bytes) return this.#cached.subarray(0, bytes);
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#readWaiting());
      this.#waiting.push({ segment, offset, bytes, resolve, reject });
      this.#segments.pin(segment);
    });
  }

  #readWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 1) this.#readNow(waiting[0]!);
    else for (const each of waiting) this.#readInPool(each);
  }

  #readNow(waiting: Waiting): void {
    const { segment, offset, bytes } = waiting;
    try {
      const data = Buffer.allocUnsafeSlow(bytes);
      this.#finish(waiting, data, fs.readSync(segment.fd!, data, 0, bytes, offset));
    } catch (error) {
      this.#segments.unpin(segment);
      waiting.reject(error as Error);
    }
  }

  #readInPool(waiting: Waiting): void {
    const { segment, offset, bytes } = waiting;
    const data = Buffer.allocUnsafeSlow(bytes);
    fs.read(segment.fd!, data, 0, bytes, offset, (error, count) => {
      if (error === null) return this.#finish(waiting, data, count);
      this.#segments.unpin(segment);
      waiting.reject(error);
    });
  }

  #finish({ segment, offset, bytes, resolve, reject }: Waiting, data: Buffer, count: number): void {
    this.#segments.unpin(segment);
    if (count === bytes) resolve(data);
    else reject(new FormatError(`segment ${segment.path}`, { wanted: `${bytes} bytes at ${offset}`, found: `${count}` }));
  }
}
