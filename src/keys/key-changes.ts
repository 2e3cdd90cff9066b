// What one transaction changes, key by key, before any of it takes effect: a throw leaves nothing behind.
import { assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import type { KeyHead, KeyRecord } from '../metadata/key-rows.ts';
import type { BlockValue } from './block-values.ts';
import type { KeyEntry, KeyTransaction, PreparedValue } from './key-space.ts';

/** An entry of the space of this process: its value, if it has one beside it, is a Buffer of its own. */
export interface LocalEntry extends KeyRecord {
  readonly key: Buffer;
}

export interface Slot {
  readonly key: Buffer;
  /** The row that is there, though its time be up. */
  readonly before: KeyHead | undefined;
  changed: boolean;
  /** Undefined: the key goes. */
  after: NewRow | undefined;
}

export interface NewRow {
  /** Undefined: the value stays. */
  readonly value: Buffer | PreparedValue | undefined;
  readonly version: number;
  readonly expiresMs: number;
}

/** What a change adds to a log record beside key and value: rows of the key, its expiry and its block. */
const CHANGE_BYTES = 160;
/** Slots that are looked through one by one. */
const SLOTS_LISTED = 4;

export function isExpired(entry: Pick<KeyEntry, 'expiresMs'>, nowMs: number): boolean {
  return entry.expiresMs !== 0 && entry.expiresMs <= nowMs;
}

/** The space that is changed: its rows as they are without this transaction. */
export interface ChangedSpace {
  /** Though its time be up. */
  head(key: Buffer): KeyHead | undefined;
  /** The same with its value. */
  entry(key: Buffer): LocalEntry | undefined;
  nextVersion(): number;
  /** Throws for a prepared value that this space does not keep. */
  checkKept(value: BlockValue): void;
}

export class KeyChanges implements KeyTransaction {
  /** About what the record grows by. */
  bytes = 0;
  /** Bytes of new values. */
  addedBytes = 0;
  /** Prepared values that were set, and replaced by a later change of the same transaction. */
  readonly superseded: BlockValue[] = [];
  readonly #space: ChangedSpace;
  readonly #slots: Slot[] = [];
  #byKey: Map<string, Slot> | undefined;

  constructor(space: ChangedSpace) {
    this.#space = space;
  }

  /** Slots that were changed, in the order in which they were first looked at. */
  get made(): readonly Slot[] {
    return this.#slots.filter((slot) => slot.changed);
  }

  get(key: Buffer): KeyEntry | undefined {
    const slot = this.#slot(key);
    const now = Date.now();
    if (slot.changed) {
      const entry = this.#entryAfter(slot);
      return entry === undefined || isExpired(entry, now) ? undefined : entry;
    }
    return slot.before === undefined || isExpired(slot.before, now) ? undefined : this.#space.entry(key);
  }

  set(key: Buffer, value: Buffer | PreparedValue, { expiresMs = 0 }: { readonly expiresMs?: number | undefined } = {}): number {
    const isPlain = Buffer.isBuffer(value);
    assert(key.length <= LIMITS.keyBytesMax, 'the length of a key was checked');
    assert(!isPlain || value.length <= LIMITS.inlineBytesMax, 'a large value is prepared before it is set');
    assert(Number.isSafeInteger(expiresMs) && expiresMs >= 0, 'times of expiry are whole ms');
    if (!isPlain) this.#space.checkKept(value as BlockValue);
    const slot = this.#slot(key);
    const version = this.#space.nextVersion();
    this.#change(slot, { value, version, expiresMs });
    if (isPlain) {
      this.bytes += value.length;
      this.addedBytes += value.length;
    } else this.bytes += (value as BlockValue).blocks.length * CHANGE_BYTES;
    return version;
  }

  delete(key: Buffer): boolean {
    const slot = this.#slot(key);
    const present = slot.changed ? slot.after : slot.before;
    const existed = present !== undefined && !isExpired(present, Date.now());
    if (slot.before !== undefined || slot.after !== undefined) this.#change(slot, undefined);
    return existed;
  }

  expire(key: Buffer, expiresMs: number): boolean {
    assert(Number.isSafeInteger(expiresMs) && expiresMs >= 0, 'times of expiry are whole ms');
    const entry = this.get(key);
    if (entry === undefined) return false;
    const slot = this.#slot(key);
    if (entry.expiresMs !== expiresMs) this.#change(slot, slot.changed ? { ...slot.after!, expiresMs } : { value: undefined, version: entry.version, expiresMs });
    return true;
  }

  #change(slot: Slot, after: NewRow | undefined): void {
    const earlier = slot.after?.value;
    if (earlier !== undefined && !Buffer.isBuffer(earlier) && earlier !== after?.value) this.superseded.push(earlier as BlockValue);
    // Each block of the value that goes is a change of its own.
    if (!slot.changed) this.bytes += (slot.before?.blocks.length ?? 0) * CHANGE_BYTES;
    slot.changed = true;
    slot.after = after;
    this.bytes += CHANGE_BYTES + 3 * slot.key.length;
  }

  #slot(key: Buffer): Slot {
    const known = this.#known(key);
    if (known !== undefined) return known;
    const slot: Slot = { key, before: this.#space.head(key), changed: false, after: undefined };
    this.#slots.push(slot);
    if (this.#slots.length > SLOTS_LISTED) {
      this.#byKey ??= new Map(this.#slots.map((each) => [each.key.toString('latin1'), each]));
      this.#byKey.set(key.toString('latin1'), slot);
    }
    return slot;
  }

  #known(key: Buffer): Slot | undefined {
    if (this.#byKey !== undefined) return this.#byKey.get(key.toString('latin1'));
    for (const slot of this.#slots) if (slot.key.equals(key)) return slot;
    return undefined;
  }

  /** What a changed key has. */
  #entryAfter({ key, after }: Slot): LocalEntry | undefined {
    if (after === undefined) return undefined;
    const { value, version, expiresMs } = after;
    if (value === undefined) return { ...this.#space.entry(key)!, expiresMs };
    if (Buffer.isBuffer(value)) return { key, version, expiresMs, bytes: value.length, inline: value, blocks: [] };
    return { key, version, expiresMs, bytes: value.bytes, inline: undefined, blocks: (value as BlockValue).blocks };
  }
}
