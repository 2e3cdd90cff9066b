// Small values in memory, those that were set or read last: packed into chunks, so that a million values are a few hundred
// Buffers. Blocks never change, so what is here is what the shards have.
//
//   chunks   oldest ─► … ─► newest, which is filled     what is read from the older half is copied into the newest;
//                                                       the oldest is emptied, and is the newest then
//
// A value that takes the place of another is written over it: who replaces values touches no new memory.
import { totalmem } from 'node:os';
import type { BlockId } from '../base/ids.ts';
import { blockKey } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';

const CHUNK_BYTES = 1024 * 1024;
/** What the place of a value takes beside the value: its name, the entries in the map and in the chunk's list. */
const PLACE_BYTES = 192;

interface Chunk {
  readonly bytes: Buffer;
  /** Grows with each that is begun. */
  number: number;
  used: number;
  readonly places: Place[];
}

interface Place {
  readonly chunk: Chunk;
  readonly offset: number;
  readonly room: number;
  length: number;
  /** Of the value; undefined when none is here any more. */
  name: string | undefined;
}

/** A share of the memory that this process may use. */
export function defaultCacheBytes(): number {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return Math.min(LIMITS.valueCacheBytesMax, Math.floor(memory * LIMITS.valueCacheShare));
}

export class ValueCache {
  readonly #bytesMax: number;
  readonly #places = new Map<string, Place>();
  /** The oldest first. */
  readonly #chunks: Chunk[] = [];
  #begun = 0;

  /** Below a MiB there is none. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** What it takes in memory. */
  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES + this.#places.size * PLACE_BYTES;
  }

  /** A copy of some bytes of a value. */
  get(id: BlockId, offset: number, bytes: number): Buffer | undefined {
    const name = blockKey(id);
    const place = this.#places.get(name);
    if (place === undefined) return undefined;
    const { chunk } = place;
    const copy = Buffer.allocUnsafe(bytes);
    chunk.bytes.copy(copy, 0, place.offset + offset, place.offset + offset + bytes);
    if (this.#isOld(chunk)) {
      this.#leave(place);
      this.#put(name, chunk.bytes.subarray(place.offset, place.offset + place.length));
    }
    return copy;
  }

  /** Copies a value of up to LIMITS.inlineBytesMax, which is not here; over `replaced`, where that is and has room. */
  add(id: BlockId, value: Uint8Array, replaced?: BlockId): void {
    const place = replaced === undefined ? undefined : this.#places.get(blockKey(replaced));
    const name = blockKey(id);
    if (place === undefined || place.room < value.length || this.#isOld(place.chunk)) return this.#put(name, value);
    this.#places.delete(place.name!);
    place.chunk.bytes.set(value, place.offset);
    place.length = value.length;
    place.name = name;
    this.#places.set(name, place);
  }

  delete(id: BlockId): void {
    const place = this.#places.get(blockKey(id));
    if (place !== undefined) this.#leave(place);
  }

  #isOld(chunk: Chunk): boolean {
    return this.#begun - chunk.number > this.#bytesMax / CHUNK_BYTES / 2;
  }

  #leave(place: Place): void {
    this.#places.delete(place.name!);
    place.name = undefined;
  }

  #put(name: string, value: Uint8Array): void {
    if (this.#bytesMax < CHUNK_BYTES) return;
    const { length } = value;
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.used + length > CHUNK_BYTES) chunk = this.#begin();
    const place: Place = { chunk, offset: chunk.used, room: length, length, name };
    chunk.bytes.set(value, chunk.used);
    chunk.used += length;
    chunk.places.push(place);
    this.#places.set(name, place);
  }

  #begin(): Chunk {
    let emptied: Chunk | undefined;
    while (this.#chunks.length > 0 && this.bytes + CHUNK_BYTES > this.#bytesMax) {
      emptied = this.#chunks.shift()!;
      for (const place of emptied.places) if (place.name !== undefined) this.#places.delete(place.name);
    }
    const chunk: Chunk = { bytes: emptied?.bytes ?? Buffer.allocUnsafeSlow(CHUNK_BYTES), number: ++this.#begun, used: 0, places: [] };
    this.#chunks.push(chunk);
    return chunk;
  }
}
