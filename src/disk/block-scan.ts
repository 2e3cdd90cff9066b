// Walks the blocks of a segment file by their headers alone: for rebuilding the index, and for compaction.
import fs from 'node:fs';
import { LIMITS } from '../base/limits.ts';
import type { BlockClass, BlockHeader } from './block-format.ts';
import { BLOCK_HEADER_BYTES, decodeBlockHeader, SEGMENT_HEADER_BYTES } from './block-format.ts';

/** Small blocks are read along with their headers; of large ones the header page alone. */
const WINDOW_BYTES = { small: 1024 * 1024, large: 4096 } as const;
const ALIGNMENT = { small: 8, large: 4096 } as const;
const HEADER_BYTES_MAX = BLOCK_HEADER_BYTES + 4 * (LIMITS.blockBytesMax / LIMITS.checksumBytes);

export interface ScannedBlock extends BlockHeader {
  /** Of the record in its segment. */
  readonly offset: number;
  /** The record's bytes; of a large block its beginning only. Valid until the next one. */
  readonly bytes: Buffer;
}

/**
 * Every block record of the volume from `start` (of a record) up to `end`. Bytes that are no record (torn by a power cut, or
 * damaged) are stepped over to the next that are one.
 */
export function* scanSegment(fd: number, blockClass: BlockClass, end: number, volume: Buffer, start = SEGMENT_HEADER_BYTES): Generator<ScannedBlock> {
  const window = Buffer.allocUnsafe(WINDOW_BYTES[blockClass]);
  let windowAt = 0;
  let windowBytes = 0;
  let offset = start;
  const load = (): void => {
    windowAt = offset;
    windowBytes = fs.readSync(fd, window, 0, Math.min(window.length, end - offset), offset);
    if (windowBytes === 0) end = offset;
  };
  while (offset < end) {
    if (Math.min(offset + HEADER_BYTES_MAX, end) > windowAt + windowBytes) load();
    const header = decodeBlockHeader(window.subarray(0, windowBytes), offset - windowAt);
    if (header === undefined || offset + header.recordBytes > end || !header.volume.equals(volume)) {
      offset += ALIGNMENT[blockClass];
      continue;
    }
    if (blockClass === 'small' && offset + header.recordBytes > windowAt + windowBytes) load();
    const at = offset - windowAt;
    yield { ...header, volume, offset, bytes: window.subarray(at, Math.min(windowBytes, at + header.recordBytes)) };
    offset += header.recordBytes;
  }
}
