// Takes space for a database file ahead of its growth, so that a commit on a full disk still has room.
//
// The space lies behind the end of the file (FALLOC_FL_KEEP_SIZE): the database does not see it, and grows into it.
import fs from 'node:fs';
import { ERRNO, fallocate, SystemCallError } from '../os/libc.ts';
import { sizesFor } from './disk-sizes.ts';

const KEEP_SIZE = 1;
/** After there was no room, or no support. */
const RETRY_MS = 1_000;
/** Rows that do not use up what is ahead, though each may copy the pages above it: a check costs 1 us, a row 3. */
const UNCHECKED_ROWS = 64;

export class GrowAhead {
  readonly #path: string;
  readonly #fd: number;
  readonly #aheadBytes: number;
  /** Allocated up to here. */
  #end = 0;
  #notBeforeMs = -Infinity;
  /** Since the last check. */
  #rows = 0;

  /** Of the file `path`, which must be there. Errors of `fs`. */
  constructor(path: string) {
    const { blocks, bsize } = fs.statfsSync(path);
    this.#path = path;
    this.#aheadBytes = sizesFor(blocks * bsize).growAheadBytes;
    this.#fd = fs.openSync(path, 'r+');
    this.prepare(UNCHECKED_ROWS);
  }

  /** To be called before each commit, of `rows`. Where there is no space to take ahead, the commit finds out for itself. */
  prepare(rows: number): void {
    this.#rows += rows;
    if (this.#rows < UNCHECKED_ROWS) return;
    this.#rows = 0;
    const { size } = fs.fstatSync(this.#fd);
    if (size + this.#aheadBytes / 2 <= this.#end || performance.now() < this.#notBeforeMs) return;
    // The last bytes belong to whoever needs them at once; and to ask ext4 for more than it has takes milliseconds.
    if (this.#freeBytes() >= 2 * this.#aheadBytes && fallocate(this.#fd, KEEP_SIZE, size, this.#aheadBytes) === 0) this.#end = size + this.#aheadBytes;
    else this.#notBeforeMs = performance.now() + RETRY_MS;
  }

  /** What a failed commit means: LMDB calls it an I/O error when a full disk takes a part of a write. */
  reasonOf(error: unknown): unknown {
    const partly = error instanceof Error && 'code' in error && error.code === ERRNO.EIO && this.#freeBytes() < this.#aheadBytes;
    return partly ? new SystemCallError('pwrite', this.#path, ERRNO.ENOSPC) : error;
  }

  #freeBytes(): number {
    const { bavail, bsize } = fs.statfsSync(this.#path);
    return bavail * bsize;
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
