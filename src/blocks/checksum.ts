// The checksums that go with a block from put to get: one for each 16 KiB (ipc/piece-checksum.ts).
import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';
import type { BlockId } from '../base/ids.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockPieces } from '../ipc/messages.ts';
import { pieceSeed } from '../ipc/piece-checksum.ts';

const PIECE_BYTES = LIMITS.checksumBytes;

/** What was read is not what was put. */
export class ChecksumMismatchError extends Error {
  override readonly name = 'ChecksumMismatchError';
  readonly id: BlockId;
  readonly piece: number;
  constructor(id: BlockId, piece: number, detail: { wanted: string; found: string }) {
    super(`block ${formatBlockId(id)}, piece ${piece}: wanted ${detail.wanted}, found ${detail.found}`);
    this.id = id;
    this.piece = piece;
  }
}

/** Checksums of a whole block whose bytes are split anyhow over `data`. */
export function blockChecksums(id: BlockId, data: readonly Uint8Array[]): Uint32Array {
  let bytes = 0;
  for (const part of data) bytes += part.length;
  assert(bytes > 0 && bytes <= LIMITS.blockBytesMax, `block ${formatBlockId(id)} has 1 to ${LIMITS.blockBytesMax} bytes: ${bytes}`);
  const checksums = new Uint32Array(Math.ceil(bytes / PIECE_BYTES));
  let piece = 0;
  let left = PIECE_BYTES;
  let checksum = pieceSeed(id, 0);
  for (const part of data) {
    let at = 0;
    while (at < part.length) {
      if (left === 0) {
        checksums[piece++] = checksum;
        checksum = pieceSeed(id, piece);
        left = PIECE_BYTES;
      }
      const end = Math.min(part.length, at + left);
      checksum = crc32(end - at === part.length ? part : part.subarray(at, end), checksum);
      left -= end - at;
      at = end;
    }
  }
  checksums[piece] = checksum;
  return checksums;
}

/**
 * Verifies pieces as they were read: that there are as many as were asked for, that their bytes are as many as the
 * block's length says, and each checksum. Undefined when all is well.
 */
export function verifyPieces(range: { readonly id: BlockId; readonly firstPiece: number; readonly pieceCount: number }, pieces: BlockPieces): ChecksumMismatchError | undefined {
  const { id, firstPiece, pieceCount } = range;
  const { checksums, data, blockBytes } = pieces;
  if (checksums.length !== pieceCount) return new ChecksumMismatchError(id, firstPiece, { wanted: `${pieceCount} pieces`, found: `${checksums.length} of a block of ${blockBytes} bytes` });
  const bytes = Math.min(blockBytes, (firstPiece + pieceCount) * PIECE_BYTES) - firstPiece * PIECE_BYTES;
  if (data.length !== bytes || bytes <= (pieceCount - 1) * PIECE_BYTES) return new ChecksumMismatchError(id, firstPiece, { wanted: `${bytes} bytes in ${pieceCount} pieces`, found: `${data.length} bytes` });
  for (let at = 0; at < pieceCount; at++) {
    const found = crc32(data.subarray(at * PIECE_BYTES, Math.min(bytes, (at + 1) * PIECE_BYTES)), pieceSeed(id, firstPiece + at));
    if (found !== checksums[at]) return new ChecksumMismatchError(id, firstPiece + at, { wanted: `checksum ${checksums[at]}`, found: `${found}` });
  }
  return undefined;
}
