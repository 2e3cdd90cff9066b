// Backups of the metadata in files beside it: written in pieces, read back from the disk, and only then put in the place of the last one.
//
//   DISK/dumps/metadata-<sequence>-<time>.jsonl.gz   a whole dump (dump/dump-writer.ts of the driver), compressed
//   DISK/dumps/….new                                 one that is being written; removed by the next
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { WorkerError } from '../ipc/messages.ts';
import { fadvise } from '../os/libc.ts';
import { syncPath } from '../os/replace-file.ts';
import { diskError } from './disk-error.ts';

const NAME = /^metadata-\d{1,16}-\d{8}T\d{6}Z\.jsonl\.gz$/;
const POSIX_FADV_DONTNEED = 4;
const READ_BYTES = 256 * 1024;

export interface StoredDump {
  readonly name: string;
  readonly bytes: number;
}

export class DumpStore {
  readonly #directory: string;

  constructor(disk: string) {
    this.#directory = join(disk, 'dumps');
  }

  /** Those that are whole, the oldest first. */
  list(): StoredDump[] {
    if (!fs.existsSync(this.#directory)) return [];
    return fs.readdirSync(this.#directory).filter((name) => NAME.test(name)).toSorted(bySequence)
      .map((name) => ({ name, bytes: fs.statSync(join(this.#directory, name)).size }));
  }

  /** `offset` 0 begins anew. WorkerError 'badRequest' when it does not follow what is there, or as diskError says. */
  async append(name: string, offset: number, pieces: readonly Uint8Array[]): Promise<void> {
    const path = this.#pathOf(name);
    try {
      if (offset === 0) this.#begin();
      const file = await fs.promises.open(path, offset === 0 ? 'w' : 'r+', 0o600);
      try {
        const { size } = await file.stat();
        if (size < offset) throw new WorkerError('badRequest', `the dump ${name} has ${size} bytes, and ${offset} should be there`);
        let at = offset;
        for (const piece of pieces) {
          await file.write(piece, 0, piece.length, at);
          at += piece.length;
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      throw diskError(error, 'a dump of the metadata cannot be written');
    }
  }

  /** Reads it back; when it is what was sent, it takes the place of all others. WorkerError 'damaged' when it is not. */
  async commit(name: string, bytes: number, sha256: Buffer): Promise<void> {
    const path = this.#pathOf(name);
    try {
      const found = await hashOnDisk(path);
      if (found.bytes !== bytes || !found.sha256.equals(sha256)) throw new WorkerError('damaged', `the dump ${name} was not read back as it was written`);
      fs.renameSync(path, join(this.#directory, name));
      syncPath(this.#directory);
      for (const other of fs.readdirSync(this.#directory)) if (other !== name) fs.rmSync(join(this.#directory, other), { force: true });
    } catch (error) {
      throw diskError(error, 'a dump of the metadata cannot be kept');
    }
  }

  #begin(): void {
    fs.mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of fs.readdirSync(this.#directory)) if (name.endsWith('.new')) fs.rmSync(join(this.#directory, name), { force: true });
  }

  #pathOf(name: string): string {
    if (!NAME.test(name)) throw new WorkerError('badRequest', `"${name}" is no name of a dump`);
    return join(this.#directory, `${name}.new`);
  }
}

function bySequence(one: string, other: string): number {
  return Number(one.split('-')[1]) - Number(other.split('-')[1]) || (one < other ? -1 : 1);
}

/** After a sync, from the disk and not from memory, as far as Linux can be told. */
async function hashOnDisk(path: string): Promise<{ bytes: number; sha256: Buffer }> {
  const file = await fs.promises.open(path, 'r+');
  try {
    await file.sync();
    fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED);
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let at = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, at);
      if (bytesRead === 0) return { bytes: at, sha256: hash.digest() };
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
}
