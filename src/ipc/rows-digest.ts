// A sum over all rows of a table: tells whether they are those that were put, whatever order they are met in.
//
// sum: for each row the CRC-32 of its lengths, key and value, mixed (the finalizer of MurmurHash3), added modulo 2^32.
// A CRC is linear, and the sum of two swapped values would be the same; a mixed one is not. count: rows.
import { crc32 } from 'node:zlib';

/** What a table's rows add up to. */
export interface RowsDigest {
  readonly sum: number;
  readonly count: number;
}

export const NO_ROWS: RowsDigest = { sum: 0, count: 0 };

export class RowsDigester {
  #sum: number;
  #count: number;

  constructor(from: RowsDigest = NO_ROWS) {
    this.#sum = from.sum;
    this.#count = from.count;
  }

  add(key: Uint8Array, value: Uint8Array): void {
    this.#sum = (this.#sum + rowHash(key, value)) >>> 0;
    this.#count++;
  }

  remove(key: Uint8Array, value: Uint8Array): void {
    this.#sum = (this.#sum - rowHash(key, value)) >>> 0;
    this.#count--;
  }

  get digest(): RowsDigest {
    return { sum: this.#sum, count: this.#count };
  }
}

export function sameDigest(one: RowsDigest, other: RowsDigest): boolean {
  return one.sum === other.sum && one.count === other.count;
}

function rowHash(key: Uint8Array, value: Uint8Array): number {
  let hash = crc32(value, crc32(key, (key.length ^ (value.length << 16)) >>> 0));
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
