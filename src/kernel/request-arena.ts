// Memory that requests are read into: those still being worked on stay where they are, and reading goes on behind them.
//
//   slab   | request in work | released | request in work | free: the next read goes here |
//
// A slab starts again at 0 when the last of its requests is released. Nothing is copied, and a small request that
// waits does not tie up room for a large one.
import { assert } from '../base/assert.ts';

interface Slab {
  readonly bytes: Buffer;
  /** Where the next request goes: all that is in front of it has been handed out since the last start. */
  used: number;
  /** Requests in work. 0 means that `used` is 0. */
  held: number;
}

/** A request that is being worked on; given back once. */
export type Held = Slab;

export class RequestArena {
  readonly #slabBytes: number;
  readonly #requestBytesMax: number;
  /** All slabs made so far; they are made as they are needed. */
  readonly #slabs: Slab[] = [];
  readonly #slabsMax: number;
  #current: Slab | undefined;
  #space: Buffer | undefined;

  constructor(options: { slabBytes: number; slabsMax: number; requestBytesMax: number }) {
    assert(options.slabBytes >= options.requestBytesMax, 'a slab holds the largest request');
    this.#slabBytes = options.slabBytes;
    this.#slabsMax = options.slabsMax;
    this.#requestBytesMax = options.requestBytesMax;
  }

  /** Room for one request of the largest size at least; undefined while all slabs are taken. Valid until `hold`. */
  space(): Buffer | undefined {
    return (this.#space ??= this.#findSpace());
  }

  /** The first `bytes` of `space` stay as they are until `release`. */
  hold(bytes: number): Held {
    const slab = this.#current;
    assert(slab !== undefined && this.#space !== undefined && bytes <= this.#space.length, 'what is held was read into the space handed out');
    slab.held++;
    slab.used = Math.min(slab.used + ((bytes + 7) & ~7), slab.bytes.length);
    this.#space = undefined;
    return slab;
  }

  release(held: Held): void {
    assert(held.held > 0, 'a request is released once');
    held.held--;
    if (held.held > 0) return;
    held.used = 0;
    if (held === this.#current) this.#space = undefined;
  }

  #findSpace(): Buffer | undefined {
    if (this.#current === undefined || !this.#hasRoom(this.#current)) this.#current = this.#nextSlab();
    const slab = this.#current;
    return slab?.bytes.subarray(slab.used);
  }

  #nextSlab(): Slab | undefined {
    const free = this.#slabs.find((slab) => this.#hasRoom(slab));
    if (free !== undefined || this.#slabs.length === this.#slabsMax) return free;
    const made: Slab = { bytes: Buffer.allocUnsafeSlow(this.#slabBytes), used: 0, held: 0 };
    this.#slabs.push(made);
    return made;
  }

  #hasRoom(slab: Slab): boolean {
    return slab.bytes.length - slab.used >= this.#requestBytesMax;
  }
}
