// How much room a disk has for ordinary writes: what its file system says, less the reserve.
import fs from 'node:fs';
import { LIMITS } from '../base/limits.ts';
import { WorkerError } from '../ipc/messages.ts';

/** The file system is asked again after this time, or when the writes since then may have used what it said. */
const REFRESH_MS = 1000;

export class DiskSpace {
  readonly #directory: string;
  readonly device: number;
  totalBytes = 0;
  #freeBytes = 0;
  #takenBytes = 0;
  #refreshedMs = -Infinity;

  constructor(directory: string) {
    this.#directory = directory;
    this.device = fs.statSync(directory).dev;
    this.#refresh();
  }

  /** Bytes that ordinary writes may still use. */
  get availableBytes(): number {
    if (performance.now() - this.#refreshedMs > REFRESH_MS) this.#refresh();
    return this.#left();
  }

  /** To be called before `bytes` are written. WorkerError 'noSpace' when they would go into the reserve. */
  take(bytes: number): void {
    if (performance.now() - this.#refreshedMs > REFRESH_MS || this.#left() < bytes) this.#refresh();
    if (this.#left() < bytes) throw new WorkerError('noSpace', `${bytes} bytes are wanted on the disk ${this.#directory}, and ${this.#left()} are left`);
    this.#takenBytes += bytes;
  }

  #left(): number {
    return Math.max(0, this.#freeBytes - this.#takenBytes);
  }

  #refresh(): void {
    const found = fs.statfsSync(this.#directory);
    this.totalBytes = found.blocks * found.bsize;
    const reserve = Math.max(LIMITS.reserveBytesMin, Math.ceil(this.totalBytes * LIMITS.reserveFraction));
    this.#freeBytes = found.bavail * found.bsize - reserve;
    this.#takenBytes = 0;
    this.#refreshedMs = performance.now();
  }
}
