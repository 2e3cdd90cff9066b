// The bytes of a segment file of blocks: its header, and each block with its header and checksums. No descriptors.
//
//   segment   0  u32  magic "SDBS"                block  0   u32  magic "SDBK"
//             4  u8   version (1)                        4   u8   version (1)
//             5  u8   class: 1 large, 2 small            5   u8   codec (0: as is)
//             6  u16  zero                               6   u8   key id (0: not encrypted)
//             8  16   volume UUID                        7   u8   state: 0 live, 0xDD dead; not in the checksum
//             24 u32  segment number                     8   16   volume UUID
//             28 u32  CRC-32 of bytes 0-27               24  u32  id.hi
//             32      zero up to 4096                    28  u32  id.lo
//             4096    blocks, back to back               32  u32  block bytes
//                                                        36  u32  stored bytes (= block bytes with codec 0)
//                                                        40  u32  record bytes: from this header to the next
//                                                        44  u32  data offset, from this header
//                                                        48  u32  checksums
//                                                        52  u64  number of the put: of two records of one
//                                                                 block the higher one counts
//                                                        60  u32  CRC-32 of bytes 0-6, 8-59 and the checksums
//                                                        64  u32  checksum of each 16 KiB of the block (as put)
//                                                        …        zero up to the data, data, zero up to the end
//
// Little-endian. Large blocks: header, data and end are aligned to 4 KiB, so that the data of a dead one can be given
// back to the file system; the header stays, marked dead, so that a scan finds the next. Small blocks: packed,
// aligned to 8 bytes.
import { crc32 } from 'node:zlib';
import { FormatError } from '../base/errors.ts';
import type { BlockId, Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { readU64, writeU64 } from '../log/record.ts';

export const SEGMENT_HEADER_BYTES = 4096;
export const BLOCK_HEADER_BYTES = 64;
/** Offset in a block's header of its state, and the state of one that is gone. */
export const STATE_OFFSET = 7;
export const DEAD = 0xdd;
const PAGE_BYTES = 4096;
const VERSION = 1;
const SEGMENT_MAGIC = 0x53424453;
const BLOCK_MAGIC = 0x4b424453;
/** Blocks above this size are large: what punching a hole gives back is worth more than what alignment costs. */
const SMALL_BYTES_MAX = 16 * 1024;

export type BlockClass = 'large' | 'small';
const CLASS_CODE = { large: 1, small: 2 } as const;

export function classOf(blockBytes: number): BlockClass {
  return blockBytes > SMALL_BYTES_MAX ? 'large' : 'small';
}

/** Where things lie in the record of a block, counted from its header. */
export interface RecordLayout {
  readonly dataOffset: number;
  readonly recordBytes: number;
}

export function layoutOf(blockBytes: number): RecordLayout {
  const headerBytes = BLOCK_HEADER_BYTES + 4 * Math.ceil(blockBytes / LIMITS.checksumBytes);
  const alignment = classOf(blockBytes) === 'large' ? PAGE_BYTES : 8;
  const dataOffset = align(headerBytes, alignment);
  return { dataOffset, recordBytes: align(dataOffset + blockBytes, alignment) };
}

function align(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

export function encodeSegmentHeader(volume: Uuid, segment: { readonly number: number; readonly class: BlockClass }): Buffer {
  const out = Buffer.alloc(SEGMENT_HEADER_BYTES);
  out.writeUInt32LE(SEGMENT_MAGIC, 0);
  out.writeUInt8(VERSION, 4);
  out.writeUInt8(CLASS_CODE[segment.class], 5);
  out.write(volume, 8, 'hex');
  out.writeUInt32LE(segment.number, 24);
  out.writeUInt32LE(crc32(out.subarray(0, 28)), 28);
  return out;
}

/**
 * good: that segment's header. foreign: of another volume. damaged: any other, which is no reason to give up what lies
 * behind it, since every block says itself what it is. FormatError for a newer version.
 */
export function judgeSegmentHeader(header: Buffer, path: string, wanted: { readonly volume: Uuid; readonly number: number; readonly class: BlockClass }): 'good' | 'foreign' | 'damaged' {
  if (header.length < 32 || header.readUInt32LE(0) !== SEGMENT_MAGIC || crc32(header.subarray(0, 28)) !== header.readUInt32LE(28)) return 'damaged';
  if (header[4]! > VERSION) throw new FormatError(`segment ${path}`, { wanted: `version ${VERSION}`, found: `version ${header[4]}; a newer sdfs wrote it` });
  if (header.toString('hex', 8, 24) !== wanted.volume) return 'foreign';
  return header.readUInt32LE(24) === wanted.number && header[5] === CLASS_CODE[wanted.class] ? 'good' : 'damaged';
}

/** Writes header and checksums into `out` at `at`, and zeroes up to the data. */
export function encodeBlockHeader(out: Buffer, at: number, block: { readonly volume: Buffer; readonly id: BlockId; readonly blockBytes: number; readonly checksums: Uint32Array; readonly number: number }): void {
  const { dataOffset, recordBytes } = layoutOf(block.blockBytes);
  out.writeUInt32LE(BLOCK_MAGIC, at);
  out.writeUInt32LE(VERSION, at + 4);
  out.set(block.volume, at + 8);
  out.writeUInt32LE(block.id.hi, at + 24);
  out.writeUInt32LE(block.id.lo, at + 28);
  out.writeUInt32LE(block.blockBytes, at + 32);
  out.writeUInt32LE(block.blockBytes, at + 36);
  out.writeUInt32LE(recordBytes, at + 40);
  out.writeUInt32LE(dataOffset, at + 44);
  out.writeUInt32LE(block.checksums.length, at + 48);
  writeU64(out, block.number, at + 52);
  let end = at + BLOCK_HEADER_BYTES;
  for (let index = 0; index < block.checksums.length; index++) end = out.writeUInt32LE(block.checksums[index]!, end);
  out.fill(0, end, at + dataOffset);
  out.writeUInt32LE(headerChecksum(out, at, end), at + 60);
}

function headerChecksum(bytes: Buffer, at: number, end: number): number {
  const before = crc32(bytes.subarray(at + 8, at + 60), crc32(bytes.subarray(at, at + STATE_OFFSET)));
  return crc32(bytes.subarray(at + BLOCK_HEADER_BYTES, end), before);
}

export interface BlockHeader extends RecordLayout {
  /** A view into the bytes that were decoded. */
  readonly volume: Buffer;
  readonly id: BlockId;
  readonly blockBytes: number;
  readonly checksums: Uint32Array;
  readonly number: number;
  readonly dead: boolean;
}

/** Undefined when there is no whole, valid header at `at`: where a segment ends. FormatError for a newer version. */
export function decodeBlockHeader(bytes: Buffer, at: number): BlockHeader | undefined {
  if (at + BLOCK_HEADER_BYTES > bytes.length || bytes.readUInt32LE(at) !== BLOCK_MAGIC) return undefined;
  const count = bytes.readUInt32LE(at + 48);
  const end = at + BLOCK_HEADER_BYTES + 4 * count;
  if (count > LIMITS.blockBytesMax / LIMITS.checksumBytes || end > bytes.length) return undefined;
  if (headerChecksum(bytes, at, end) !== bytes.readUInt32LE(at + 60)) return undefined;
  if (bytes[at + 4] !== VERSION || bytes[at + 5] !== 0 || bytes[at + 6] !== 0) {
    throw new FormatError('block header', { wanted: `version ${VERSION}, codec 0, key 0`, found: `version ${bytes[at + 4]}, codec ${bytes[at + 5]}, key ${bytes[at + 6]}; a newer sdfs wrote it` });
  }
  const checksums = new Uint32Array(count);
  for (let index = 0; index < count; index++) checksums[index] = bytes.readUInt32LE(at + BLOCK_HEADER_BYTES + 4 * index);
  return {
    volume: bytes.subarray(at + 8, at + 24),
    id: { hi: bytes.readUInt32LE(at + 24), lo: bytes.readUInt32LE(at + 28) },
    blockBytes: bytes.readUInt32LE(at + 32),
    recordBytes: bytes.readUInt32LE(at + 40),
    dataOffset: bytes.readUInt32LE(at + 44),
    checksums,
    number: readU64(bytes, at + 52),
    dead: bytes[at + STATE_OFFSET] === DEAD,
  };
}
