// The key space of a volume that is opened anew under its users, as when a shard comes or goes: always the present one.
import { LIMITS } from '../base/limits.ts';
import type { KeyEntry, KeyPage, KeyRange, KeySpace, KeyTransaction, PreparedValue } from '../keys/key-space.ts';

export class CurrentKeySpace implements KeySpace {
  readonly #current: () => KeySpace;
  readonly #paused: () => Promise<void> | undefined;

  /** `current` throws StoreError while there is none; then `paused` resolves when there may be one again. */
  constructor(current: () => KeySpace, paused: () => Promise<void> | undefined) {
    this.#current = current;
    this.#paused = paused;
  }

  paused(): Promise<void> | undefined {
    return this.#paused();
  }

  get count(): number {
    return this.#current().count;
  }

  get groupIsFull(): boolean {
    return this.#current().groupIsFull;
  }

  get(key: Buffer): KeyEntry | undefined {
    return this.#current().get(key);
  }

  load(entry: KeyEntry): Buffer | Promise<Buffer> {
    return this.#current().load(entry);
  }

  read(entry: KeyEntry, offset: number, bytes: number): Buffer | Promise<Buffer> {
    return this.#current().read(entry, offset, bytes);
  }

  /** While there is none, what has to be is large. */
  isLarge(bytes: number): boolean {
    return bytes > LIMITS.inlineBytesMax || (this.#paused() === undefined && this.#current().isLarge(bytes));
  }

  prepare(value: Buffer | AsyncIterable<Uint8Array>): Promise<PreparedValue> {
    return this.#current().prepare(value);
  }

  /** While there is none, nothing is to be done: who opens the volume next collects what no row names. */
  discard(value: PreparedValue): void {
    let current: KeySpace;
    try {
      current = this.#current();
    } catch {
      return;
    }
    current.discard(value);
  }

  transact<T>(work: (transaction: KeyTransaction) => T): T {
    return this.#current().transact(work);
  }

  group<T>(work: () => T): T {
    return this.#current().group(work);
  }

  page(range: KeyRange, limit: number): KeyPage {
    return this.#current().page(range, limit);
  }

  expired(limit: number): Buffer[] {
    return this.#current().expired(limit);
  }

  room(): Promise<void> | undefined {
    return this.#paused()?.then(() => this.room()) ?? this.#current().room();
  }

  async sync(): Promise<void> {
    return this.#current().sync();
  }
}
