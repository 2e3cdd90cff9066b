// Versions of keys: one counter for all areas, leased in ranges by a row, so that no number comes twice.
import { assert } from '../base/assert.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { KEY_VERSION_LEASE } from '../metadata/key-rows.ts';
import { decodeNumber, encodeNumber, keys } from '../metadata/schema.ts';

const LEASE = 2 ** 20;
/** After a power cut leases that were given out may be lost: more than a machine can use between two syncs. */
const LEAP = 2 ** 32;

export class Versions {
  readonly #engine: MetadataEngine;
  #next: number;
  #lease: number;

  /** `leap`: what the rows say may be older than what was told. */
  constructor(engine: MetadataEngine, { leap }: { leap: boolean }) {
    this.#engine = engine;
    const row = engine.reader.get(keys.bookkeeping(KEY_VERSION_LEASE));
    this.#next = this.#lease = (row === undefined ? 1 : decodeNumber(row)) + (leap ? LEAP : 0);
  }

  next(): number {
    if (this.#next >= this.#lease) {
      this.#lease = this.#next + LEASE;
      assert(this.#lease < Number.MAX_SAFE_INTEGER, 'versions are not used up');
      this.#engine.transact(null, (tx) => tx.put(keys.bookkeeping(KEY_VERSION_LEASE), encodeNumber(this.#lease)));
    }
    return this.#next++;
  }
}
