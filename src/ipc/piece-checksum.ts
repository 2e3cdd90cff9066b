// The checksum of one 16 KiB piece of a block: made by the driver, kept by the disk, verified by both.
//
//   checksum of piece n = CRC-32 (IEEE) of:  u32 id.hi   u32 id.lo   u32 n   bytes of the piece   (little-endian)
//
// The place is part of it so that a block or piece in the wrong place is noticed as surely as a flipped bit.
import { crc32 } from 'node:zlib';
import type { BlockId } from '../base/ids.ts';

/** The place of a piece, as bytes. Written and read within one synchronous call. */
const place = Buffer.alloc(12);

/** What the CRC of a piece begins with: crc32(bytes, pieceSeed(id, n)) is its checksum. */
export function pieceSeed(id: BlockId, piece: number): number {
  place.writeUInt32LE(id.hi, 0);
  place.writeUInt32LE(id.lo, 4);
  place.writeUInt32LE(piece, 8);
  return crc32(place);
}
