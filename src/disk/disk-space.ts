// How much room a disk has for ordinary writes: what its file system says, less the reserve.
//
// Directories on one file system use the same room, each through a worker of its own that knows nothing of the others:
// while there is plenty, what was asked a moment ago will do; when there is little, every write asks (1.3 us).
import fs from 'node:fs';
import { join } from 'node:path';
import { LIMITS } from '../base/limits.ts';
import { WorkerError } from '../ipc/messages.ts';
import { reserveFor } from './disk-sizes.ts';
import { IDENTITY_FILE } from './identity.ts';

const REFRESH_MS = 1000;
/** A disk that does not answer in this time is not one that shares a healthy file system. */
const STAT_MS = 1000;

export class DiskSpace {
  readonly #directory: string;
  readonly #directories: number;
  readonly device: number;
  totalBytes = 0;
  /** Less the reserve. */
  #freeBytes = 0;
  /** Since it was asked. */
  #takenBytes = 0;
  #refreshedMs = -Infinity;

  /** `directories`: how many disks of the volume lie on this file system, see `countSharing`. Errors of `fs`. */
  constructor(directory: string, options: { readonly directories: number } = { directories: 1 }) {
    this.#directory = directory;
    this.#directories = options.directories;
    this.device = fs.statSync(directory).dev;
    this.#refresh();
  }

  /** Bytes that ordinary writes may still use. */
  get availableBytes(): number {
    this.#refresh();
    return this.#left();
  }

  /** To be called before `bytes` are written. WorkerError 'noSpace' when they would go into the reserve. */
  take(bytes: number): void {
    if (this.#left() - bytes < LIMITS.freeBytesLow * this.#directories || performance.now() - this.#refreshedMs > REFRESH_MS) this.#refresh();
    if (this.#left() < bytes) throw new WorkerError('noSpace', `${bytes} bytes are wanted on the disk ${this.#directory}, and ${this.#left()} are left`);
    this.#takenBytes += bytes;
  }

  #left(): number {
    return Math.max(0, this.#freeBytes - this.#takenBytes);
  }

  #refresh(): void {
    const found = fs.statfsSync(this.#directory);
    this.totalBytes = found.blocks * found.bsize;
    this.#freeBytes = found.bavail * found.bsize - reserveFor(this.totalBytes, this.#directories);
    this.#takenBytes = 0;
    this.#refreshedMs = performance.now();
  }
}

/** How many of a volume's disks lie on the file system of `directory`, itself counted; those that are not there are not. */
export async function countSharing(directory: string, volumeDirectories: readonly string[]): Promise<number> {
  const { dev } = fs.statSync(directory);
  const found = await Promise.all([directory, ...volumeDirectories].map((each) => identityFileOf(each)));
  // By their identity files: an empty mount point is not a disk, and a directory may have two paths.
  const inodes = new Set(found.filter((file) => file?.dev === dev).map((file) => file!.ino));
  return Math.max(1, inodes.size);
}

async function identityFileOf(directory: string): Promise<fs.Stats | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), STAT_MS);
  });
  // Whatever the reason, a disk that cannot be reached shares nothing.
  const found = fs.promises.stat(join(directory, IDENTITY_FILE)).catch(() => undefined);
  return Promise.race([found, late]).finally(() => clearTimeout(timer));
}
