// Space that disks are promised and may not get: sparse images in a small tmpfs. While it is full, a disk fails to write
// where it has not written before, and everything else goes well: the file system above stays up.
import { closeSync, fstatSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, run } from './programs.ts';

const PIECE_BYTES = 1024 * 1024;

export class ThinPool {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(directory: string, bytes: number): Promise<ThinPool> {
    mkdirSync(directory);
    await mustRun('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', directory]);
    return new ThinPool(directory);
  }

  /** Takes all that is left, to the last page. Returns the bytes taken. */
  fill(): number {
    const fd = openSync(this.#ballast, 'w');
    try {
      for (let bytes = PIECE_BYTES; bytes >= 4096; ) {
        try {
          if (writeSync(fd, Buffer.alloc(bytes)) < bytes) bytes /= 2;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          bytes /= 2;
        }
      }
      return fstatSync(fd).size;
    } finally {
      closeSync(fd);
    }
  }

  free(): void {
    rmSync(this.#ballast);
  }

  get #ballast(): string {
    return join(this.directory, 'ballast');
  }

  async remove(): Promise<void> {
    await run('umount', ['-l', this.directory]);
  }
}
