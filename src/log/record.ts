// The redo record: one acknowledged change of the metadata, with the small data that rides in it. The same bytes
// lie in the driver's journal and in the workers' logs. Little-endian; rows are applied in order.
//
//   0  u32  magic "SDR1"          24  u64  request (unique) that caused it, 0 = none
//   4  u8   version (1)           32  u64  inode that the request resulted in, 0 = none
//   5  u8   zero                  40  u32  body bytes
//   6  u16  zero                  44  u32  CRC-32 of bytes 0-43 and the body
//   8  u64  sequence              48  …    body: operations, back to back
//   16 u32  driver epoch
//   20 u32  zero
//
//   operation  put     u8 1, u8 key bytes, u16 zero, u32 value bytes, key, value
//              delete  u8 2, u8 key bytes, u16 zero, u32 0, key
//              data    u8 3, u8 8, u16 zero, u32 data bytes, block id (hi u32, lo u32), data
//
// Keys are 1-255+ bytes: key bytes 0 stands for 256 + the first u16 (names of 255 bytes make longer keys).
import { crc32 } from 'node:zlib';
import { FormatError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockId, DriverEpoch, InodeNumber, Sequence } from '../base/ids.ts';

export const RECORD_HEADER_BYTES = 48;
const MAGIC = 0x31524453;
const VERSION = 1;
const OPERATION = { put: 1, delete: 2, data: 3 } as const;

export type Operation =
  | { readonly kind: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly kind: 'delete'; readonly key: Buffer }
  | { readonly kind: 'data'; readonly id: BlockId; readonly data: Buffer };

export interface RecordHeader {
  readonly sequence: Sequence;
  readonly epoch: DriverEpoch;
  readonly requestHi: number;
  readonly requestLo: number;
  readonly result: InodeNumber | 0;
  /** Header and body. */
  readonly recordBytes: number;
}

/** Builds one record in one Buffer. `operations` are encoded in order. */
export function encodeRecord(header: Omit<RecordHeader, 'recordBytes'>, operations: readonly Operation[]): Buffer {
  let bytes = RECORD_HEADER_BYTES;
  for (const operation of operations) bytes += operationBytes(operation);
  const out = Buffer.allocUnsafe(bytes);
  out.writeUInt32LE(MAGIC, 0);
  out.writeUInt32LE(VERSION, 4);
  writeU64(out, header.sequence, 8);
  out.writeUInt32LE(header.epoch, 16);
  out.writeUInt32LE(0, 20);
  out.writeUInt32LE(header.requestLo, 24);
  out.writeUInt32LE(header.requestHi, 28);
  writeU64(out, header.result, 32);
  out.writeUInt32LE(bytes - RECORD_HEADER_BYTES, 40);
  let at = RECORD_HEADER_BYTES;
  for (const operation of operations) at = encodeOperation(out, at, operation);
  out.writeUInt32LE(recordChecksum(out, bytes), 44);
  return out;
}

function recordChecksum(record: Buffer, bytes: number): number {
  return crc32(record.subarray(RECORD_HEADER_BYTES, bytes), crc32(record.subarray(0, 44)));
}

function operationBytes(operation: Operation): number {
  switch (operation.kind) {
    case 'put': return 8 + operation.key.length + operation.value.length;
    case 'delete': return 8 + operation.key.length;
    case 'data': return 16 + operation.data.length;
  }
}

function encodeOperation(out: Buffer, at: number, operation: Operation): number {
  if (operation.kind === 'data') {
    out.writeUInt32LE(OPERATION.data | (8 << 8), at);
    out.writeUInt32LE(operation.data.length, at + 4);
    out.writeUInt32LE(operation.id.hi, at + 8);
    out.writeUInt32LE(operation.id.lo, at + 12);
    out.set(operation.data, at + 16);
    return at + 16 + operation.data.length;
  }
  const { key } = operation;
  const long = key.length > 255;
  const code = operation.kind === 'put' ? OPERATION.put : OPERATION.delete;
  out.writeUInt32LE((code | ((long ? 0 : key.length) << 8) | ((long ? key.length - 256 : 0) << 16)) >>> 0, at);
  const value = operation.kind === 'put' ? operation.value : undefined;
  out.writeUInt32LE(value === undefined ? 0 : value.length, at + 4);
  out.set(key, at + 8);
  if (value !== undefined) out.set(value, at + 8 + key.length);
  return at + 8 + key.length + (value === undefined ? 0 : value.length);
}

/**
 * Reads the header of the record at `offset`, and verifies the whole record. `undefined` when there is no whole,
 * valid record there: the end of a log, or a torn tail. A newer version is an error, never taken for the end.
 */
export function decodeRecord(bytes: Buffer, offset: number): RecordHeader | undefined {
  if (offset + RECORD_HEADER_BYTES > bytes.length) return undefined;
  if (bytes.readUInt32LE(offset) !== MAGIC) return undefined;
  const bodyBytes = bytes.readUInt32LE(offset + 40);
  if (bodyBytes > LIMITS.logRecordBytesMax || offset + RECORD_HEADER_BYTES + bodyBytes > bytes.length) return undefined;
  const recordBytes = RECORD_HEADER_BYTES + bodyBytes;
  const record = bytes.subarray(offset, offset + recordBytes);
  if (recordChecksum(record, recordBytes) !== record.readUInt32LE(44)) return undefined;
  const version = record.readUInt8(4);
  if (version !== VERSION) {
    throw new FormatError('log record', { wanted: `version ${VERSION}`, found: `version ${version}; a newer sdfs wrote it` });
  }
  return headerOf(bytes, offset);
}

/** The header of a verified record at `offset`. */
export function headerOf(bytes: Buffer, offset: number): RecordHeader {
  return {
    sequence: readU64(bytes, offset + 8) as Sequence,
    epoch: bytes.readUInt32LE(offset + 16) as DriverEpoch,
    requestLo: bytes.readUInt32LE(offset + 24),
    requestHi: bytes.readUInt32LE(offset + 28),
    result: readU64(bytes, offset + 32) as InodeNumber | 0,
    recordBytes: RECORD_HEADER_BYTES + bytes.readUInt32LE(offset + 40),
  };
}

/** The operations of a verified record at `offset`. Buffers are views into `bytes`. */
export function* decodeOperations(bytes: Buffer, offset: number): Generator<Operation> {
  const end = offset + RECORD_HEADER_BYTES + bytes.readUInt32LE(offset + 40);
  let at = offset + RECORD_HEADER_BYTES;
  while (at < end) {
    const word = bytes.readUInt32LE(at);
    const valueBytes = bytes.readUInt32LE(at + 4);
    const short = (word >>> 8) & 0xff;
    const keyBytes = short === 0 ? 256 + (word >>> 16) : short;
    const key = bytes.subarray(at + 8, at + 8 + keyBytes);
    const value = bytes.subarray(at + 8 + keyBytes, at + 8 + keyBytes + valueBytes);
    if (at + 8 + keyBytes + valueBytes > end) throw new FormatError('log record', { wanted: 'operations that fill the body', found: `one that ends at ${at + 8 + keyBytes + valueBytes - end} behind it` });
    switch (word & 0xff) {
      case OPERATION.put: yield { kind: 'put', key, value }; break;
      case OPERATION.delete: yield { kind: 'delete', key }; break;
      case OPERATION.data: yield { kind: 'data', id: { hi: key.readUInt32LE(0), lo: key.readUInt32LE(4) }, data: value }; break;
      default: throw new FormatError('log record', { wanted: 'operation 1, 2 or 3', found: String(word & 0xff) });
    }
    at += 8 + keyBytes + valueBytes;
  }
}

export function writeU64(out: Buffer, value: number, at: number): void {
  out.writeUInt32LE(value >>> 0, at);
  out.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}
