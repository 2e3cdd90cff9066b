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

  /** `leap`: what the rows say may be older than what was told. The leap has to be power-proof before a version is told. */
  constructor(engine: MetadataEngine, { leap }: { leap: boolean }) {
    this.#engine = engine;
    const row = engine.reader.get(keys.bookkeeping(KEY_VERSION_LEASE));
    this.#next = this.#lease = row === undefined ? 1 : decodeNumber(row);
    // The row has to say so before the first of these versions is told, and also when none ever is: the next opening starts from it.
    if (leap) this.#leaseUpTo(this.#next + LEAP);
    this.#next = this.#lease;
  }

  /** The next version is leased, so that what is synced from now on says that versions are in use. */
  lease(): void {
    if (this.#next >= this.#lease) this.#leaseUpTo(this.#next + LEASE);
  }

  next(): number {
    this.lease();
    return this.#next++;
  }

  /** Nothing is leased when it throws. */
  #leaseUpTo(lease: number): void {
    assert(lease < Number.MAX_SAFE_INTEGER, 'versions are not used up');
    this.#engine.transact(null, (tx) => tx.put(keys.bookkeeping(KEY_VERSION_LEASE), encodeNumber(lease)));
    this.#lease = lease;
  }
}
