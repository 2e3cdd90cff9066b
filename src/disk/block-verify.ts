// Reads blocks back from the disk, not from memory, and says which are still as they were put: header, place and bytes.
import fs from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { COPY_STATE } from '../ipc/messages.ts';
import { pieceSeed } from '../ipc/piece-checksum.ts';
import { fadvise } from '../os/libc.ts';
import { decodeBlockHeader, layoutOf } from './block-format.ts';
import type { BlockHeader } from './block-format.ts';
import type { BlockLocation } from './block-index.ts';
import type { SegmentSet } from './segment-set.ts';

const read = promisify(fs.read);
const POSIX_FADV_DONTNEED = 4;
const PAGE_BYTES = 4096;
/** A block may be moved while it is read; it is looked up again, this often. */
const ATTEMPTS = 3;

type Located = BlockLocation & { readonly checksums: Uint32Array };

export interface BlockVerifierParts {
  readonly segments: SegmentSet;
  /** Of the volume, as it stands in headers. */
  readonly volume: Buffer;
  /** Where the index says that a block is. */
  readonly locate: (id: BlockId) => Located | undefined;
}

export class BlockVerifier {
  readonly #parts: BlockVerifierParts;
  readonly #buffer = Buffer.allocUnsafeSlow(layoutOf(LIMITS.blockBytesMax).recordBytes);
  /** The buffer serves one request after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: BlockVerifierParts) {
    this.#parts = parts;
  }

  /** One byte of COPY_STATE for each block. A block that cannot be read is a damaged one, whatever the reason. */
  verify(ids: readonly BlockId[]): Promise<Buffer> {
    const done = this.#last.then(async () => {
      const states = Buffer.alloc(ids.length);
      for (const [at, id] of ids.entries()) states[at] = await this.#stateOf(id);
      return states;
    });
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #stateOf(id: BlockId): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const found = this.#parts.locate(id);
      if (found === undefined) return COPY_STATE.missing;
      if (await this.#isGood(id, found)) return COPY_STATE.good;
      const after = this.#parts.locate(id);
      if (after !== undefined && after.segment === found.segment && after.offset === found.offset) return COPY_STATE.damaged;
      if (attempt === ATTEMPTS) return COPY_STATE.good;
    }
  }

  async #isGood(id: BlockId, located: Located): Promise<boolean> {
    const { segments } = this.#parts;
    const segment = segments.find(located.segment);
    if (segment === undefined) return false;
    const { recordBytes } = layoutOf(located.blockBytes);
    try {
      const fd = segments.pin(segment);
      try {
        const from = Math.floor(located.offset / PAGE_BYTES) * PAGE_BYTES;
        const to = Math.ceil((located.offset + recordBytes) / PAGE_BYTES) * PAGE_BYTES;
        // What is in memory says nothing about the disk, and what is read here should not push out what is in use.
        fadvise(fd, from, to - from, POSIX_FADV_DONTNEED);
        const { bytesRead } = await read(fd, this.#buffer, 0, recordBytes, located.offset);
        fadvise(fd, from, to - from, POSIX_FADV_DONTNEED);
        return bytesRead === recordBytes && this.#isRecord(id, located, this.#buffer.subarray(0, recordBytes));
      } finally {
        segments.unpin(segment);
      }
    } catch {
      return false;
    }
  }

  #isRecord(id: BlockId, located: Located, record: Buffer): boolean {
    const header = decodeBlockHeader(record, 0);
    if (header === undefined || header.dead || !header.volume.equals(this.#parts.volume)) return false;
    if (header.id.hi !== id.hi || header.id.lo !== id.lo || header.blockBytes !== located.blockBytes) return false;
    const { checksums } = located;
    return header.checksums.length === checksums.length && checksums.every((checksum, piece) => header.checksums[piece] === checksum) && isIntact(header, record);
  }
}

/** Whether the data in a whole record is what its header says. */
export function isIntact({ id, dataOffset, blockBytes, checksums }: BlockHeader, record: Buffer): boolean {
  return checksums.every((checksum, piece) => {
    const at = dataOffset + piece * LIMITS.checksumBytes;
    return crc32(record.subarray(at, Math.min(at + LIMITS.checksumBytes, dataOffset + blockBytes)), pieceSeed(id, piece)) === checksum;
  });
}
