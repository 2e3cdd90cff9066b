// Writing and reading the small fields of a frame, one after the other. Little-endian.
import type { BlockId, Uuid } from '../base/ids.ts';
import type { Row } from './messages.ts';

/** Fills one Buffer from the front. A RangeError of Buffer when it is full. */
export class ByteWriter {
  readonly bytes: Buffer;
  at = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  u32(value: number): this {
    this.at = this.bytes.writeUInt32LE(value, this.at);
    return this;
  }
  u64(value: number): this {
    return this.u32(value >>> 0).u32(Math.floor(value / 0x1_0000_0000));
  }
  uuid(value: Uuid): this {
    this.at += this.bytes.write(value, this.at, 16, 'hex');
    return this;
  }
  id(id: BlockId): this {
    return this.u32(id.hi).u32(id.lo);
  }
  u32s(values: Uint32Array): this {
    for (let index = 0; index < values.length; index++) this.u32(values[index]!);
    return this;
  }
  raw(value: Uint8Array): this {
    if (this.at + value.length > this.bytes.length) throw new RangeError(`${value.length} bytes at ${this.at} do not fit in ${this.bytes.length}`);
    this.bytes.set(value, this.at);
    this.at += value.length;
    return this;
  }
}

/** Takes one Buffer apart. A RangeError of Buffer when it ends too early. */
export class ByteReader {
  readonly bytes: Buffer;
  at = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  get rest(): number {
    return this.bytes.length - this.at;
  }
  u32(): number {
    const value = this.bytes.readUInt32LE(this.at);
    this.at += 4;
    return value;
  }
  u64(): number {
    return this.u32() + this.u32() * 0x1_0000_0000;
  }
  uuid(): Uuid {
    return this.raw(16).toString('hex') as Uuid;
  }
  id(): BlockId {
    return { hi: this.u32(), lo: this.u32() };
  }
  /** How many entries of `entryBytes` follow; checked before anything is allocated for them. */
  count(entryBytes: number): number {
    const count = this.u32();
    if (count * entryBytes > this.rest) throw new RangeError(`${count} entries of ${entryBytes} bytes in ${this.rest}`);
    return count;
  }
  u32s(count: number): Uint32Array {
    const out = new Uint32Array(count);
    for (let index = 0; index < count; index++) out[index] = this.u32();
    return out;
  }
  raw(bytes: number): Buffer {
    if (bytes > this.rest) throw new RangeError(`${bytes} bytes in ${this.rest}`);
    this.at += bytes;
    return this.bytes.subarray(this.at - bytes, this.at);
  }
}

/** Rows back to back: u32 key bytes, u32 value bytes, key, value. */
export function encodeRows(rows: readonly Row[]): Buffer {
  let bytes = 0;
  for (const [key, value] of rows) bytes += 8 + key.length + value.length;
  const out = new ByteWriter(Buffer.allocUnsafe(bytes));
  for (const [key, value] of rows) out.u32(key.length).u32(value.length).raw(key).raw(value);
  return out.bytes;
}

/** Keys and values are views into `bytes`. */
export function decodeRows(bytes: Buffer): Row[] {
  const rows: Row[] = [];
  const reader = new ByteReader(bytes);
  while (reader.rest > 0) {
    const keyBytes = reader.u32();
    const valueBytes = reader.u32();
    rows.push([reader.raw(keyBytes), reader.raw(valueBytes)]);
  }
  return rows;
}
