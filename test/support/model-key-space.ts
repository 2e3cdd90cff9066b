// A KeySpace in memory, simple enough to be obviously right: what the real ones are compared with, and what is tested over it.
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import { rangeBehind } from '../../src/keys/key-space.ts';
import type { KeyEntry, KeyPage, KeyRange, KeyRow, KeySpace, KeyTransaction, PreparedValue } from '../../src/keys/key-space.ts';

/** A value, shared by the entries of one set; `gone` when it is no key's any more. */
interface Value {
  readonly data: Buffer;
  /** It was prepared, as the large ones are: it cannot be read when it is gone. */
  readonly prepared: boolean;
  gone: boolean;
}

interface Entry extends KeyEntry {
  readonly value: Value;
}

class Prepared implements PreparedValue {
  readonly data: Buffer;
  used = false;
  constructor(data: Buffer) {
    this.data = data;
  }
  get bytes(): number {
    return this.data.length;
  }
}

export class ModelKeySpace implements KeySpace {
  /** By the key as latin1, which sorts as its bytes do. */
  readonly #rows = new Map<string, Entry>();
  /** Their keys in order; undefined when one came or went since. */
  #sorted: string[] | undefined;
  #lastVersion = 0;
  #state: 'idle' | 'transaction' | 'group' = 'idle';
  #groupBytes = 0;
  readonly #now: () => number;
  /** How often everything was asked to be made power-proof. */
  syncs = 0;
  /** How many records of the log the changes so far would be. */
  records = 0;
  /** Prepared values that were neither set nor discarded: to be none at the end of a test. */
  readonly prepared = new Set<PreparedValue>();

  constructor(now: () => number = () => Date.now()) {
    this.#now = now;
  }

  paused(): undefined {
    return undefined;
  }

  get count(): number {
    return this.#rows.size;
  }

  get(key: Buffer): KeyEntry | undefined {
    return this.#live(key);
  }

  load(entry: KeyEntry): Buffer | Promise<Buffer> {
    return this.read(entry, 0, entry.bytes);
  }

  read(entry: KeyEntry, offset: number, bytes: number): Buffer | Promise<Buffer> {
    const { value } = entry as Entry;
    if (offset < 0 || bytes < 0 || offset + bytes > value.data.length) throw new RangeError(`[${offset}, ${offset + bytes}) of ${value.data.length} bytes`);
    const part = Buffer.from(value.data.subarray(offset, offset + bytes));
    if (!value.prepared) return part;
    return new Promise((resolve, reject) => {
      setImmediate(() => (value.gone ? reject(new StoreError('CHANGED', 'the value was replaced or deleted while it was read: read it again')) : resolve(part)));
    });
  }

  isLarge(bytes: number): boolean {
    return bytes > LIMITS.inlineBytesMax;
  }

  async prepare(value: Buffer | AsyncIterable<Uint8Array>): Promise<PreparedValue> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of Buffer.isBuffer(value) ? [value] : value) {
      pieces.push(Uint8Array.from(piece));
      if ((bytes += piece.length) > LIMITS.valueBytesMax) throw new StoreError('TOO_LARGE', `a value of more than ${LIMITS.valueBytesMax} bytes`);
    }
    const prepared = new Prepared(Buffer.concat(pieces));
    this.prepared.add(prepared);
    return prepared;
  }

  discard(value: PreparedValue): void {
    if (value.used) throw new StoreError('INVALID', 'a prepared value that is used already');
    (value as Prepared).used = true;
    this.prepared.delete(value);
  }

  transact<T>(work: (transaction: KeyTransaction) => T): T {
    if (this.#state === 'transaction') throw new Error('a transaction inside another');
    const outer = this.#state;
    this.#state = 'transaction';
    try {
      return this.#undoable(() => work(this.#transaction()), { isOutermost: outer === 'idle' });
    } finally {
      this.#state = outer;
      if (outer === 'idle') this.records++;
    }
  }

  group<T>(work: () => T): T {
    if (this.#state !== 'idle') throw new Error('a group inside another, or inside a transaction');
    this.#state = 'group';
    this.#groupBytes = 0;
    try {
      return this.#undoable(work, { isOutermost: true });
    } finally {
      this.#state = 'idle';
      this.records++;
    }
  }

  page(range: KeyRange, limit: number): KeyPage {
    if (this.#state !== 'idle') throw new Error('a page inside a group or transaction');
    const start = range.start?.toString('latin1');
    const end = range.end?.toString('latin1');
    this.#sorted ??= [...this.#rows.keys()].toSorted();
    const keys = this.#sorted.filter((key) => (start === undefined || key >= start) && (end === undefined || key < end));
    if (range.reverse === true) keys.reverse();
    const rows: KeyRow[] = [];
    for (const text of keys) {
      if (rows.length >= limit) return { rows, damaged: undefined, next: rangeBehind(range, rows.at(-1)!.key) };
      const key = Buffer.from(text, 'latin1');
      const entry = this.#live(key);
      if (entry !== undefined) rows.push({ key, entry });
    }
    return { rows, damaged: undefined, next: undefined };
  }

  get groupIsFull(): boolean {
    return this.#state === 'group' && this.#groupBytes > LIMITS.batchBytesMax / 2;
  }

  /** Keys whose time is up and that are still counted, the earliest first. */
  expired(limit: number): Buffer[] {
    const now = this.#now();
    const due = [...this.#rows].filter(([, entry]) => entry.expiresMs !== 0 && entry.expiresMs <= now);
    return due.toSorted(([, one], [, other]) => one.expiresMs - other.expiresMs).slice(0, limit).map(([text]) => Buffer.from(text, 'latin1'));
  }

  /** Deletes up to `limit` of them; how many. */
  sweep(limit: number): number {
    const keys = this.expired(limit);
    this.transact((transaction) => keys.forEach((key) => transaction.delete(key)));
    return keys.length;
  }

  room(): Promise<void> | undefined {
    return undefined;
  }

  async sync(): Promise<void> {
    this.syncs++;
  }

  #transaction(): KeyTransaction {
    let bytes = 0;
    const count = (more: number) => {
      this.#groupBytes += more;
      if ((bytes += more) > LIMITS.batchBytesMax) throw new StoreError('TOO_LARGE', `changes of more than ${LIMITS.batchBytesMax} bytes at once`);
    };
    return {
      get: (key) => this.#live(key),
      set: (key, given, { expiresMs = 0 } = {}) => {
        if (key.length > LIMITS.keyBytesMax) throw new StoreError('TOO_LARGE', `a key of ${key.length} bytes`);
        const prepared = given instanceof Prepared;
        if (prepared && given.used) throw new StoreError('INVALID', 'a prepared value that is used already');
        const data = prepared ? given.data : (given as Buffer);
        if (!prepared && data.length > LIMITS.inlineBytesMax) throw new StoreError('TOO_LARGE', `a value of ${data.length} bytes that was not prepared`);
        count(key.length + (prepared ? 0 : data.length));
        if (prepared) {
          given.used = true;
          this.prepared.delete(given);
          this.#undo.push(() => {
            given.used = false;
            this.prepared.add(given);
          });
        }
        const version = ++this.#lastVersion;
        const inline = data.length <= LIMITS.rowValueBytesMax ? data : undefined;
        this.#put(key, { version, expiresMs, bytes: data.length, inline, value: { data, prepared, gone: false } });
        return version;
      },
      delete: (key) => {
        const found = this.#live(key) !== undefined;
        this.#put(key, undefined);
        return found;
      },
      expire: (key, expiresMs) => {
        const entry = this.#live(key);
        if (entry !== undefined) this.#put(key, { ...entry, expiresMs });
        return entry !== undefined;
      },
    };
  }

  #live(key: Buffer): Entry | undefined {
    const entry = this.#rows.get(key.toString('latin1'));
    return entry === undefined || (entry.expiresMs !== 0 && entry.expiresMs <= this.#now()) ? undefined : entry;
  }

  #put(key: Buffer, entry: Entry | undefined): void {
    const text = key.toString('latin1');
    const old = this.#rows.get(text);
    this.#undo.push(() => this.#restore(text, old, entry));
    if (entry === undefined) this.#rows.delete(text);
    else this.#rows.set(text, entry);
    if ((entry === undefined) !== (old === undefined)) this.#sorted = undefined;
    if (old !== undefined) old.value.gone = true;
    if (entry !== undefined) entry.value.gone = false;
  }

  #restore(text: string, old: Entry | undefined, entry: Entry | undefined): void {
    if (entry !== undefined) entry.value.gone = true;
    this.#sorted = undefined;
    if (old === undefined) this.#rows.delete(text);
    else {
      this.#rows.set(text, old);
      old.value.gone = false;
    }
  }

  /** What takes back the changes of the transaction or group that runs. Versions are not taken back: none comes twice. */
  #undo: (() => void)[] = [];

  #undoable<T>(work: () => T, { isOutermost }: { isOutermost: boolean }): T {
    const mark = this.#undo.length;
    try {
      return work();
    } catch (error) {
      for (const undo of this.#undo.splice(mark).toReversed()) undo();
      throw error;
    } finally {
      if (isOutermost) this.#undo.length = 0;
    }
  }
}
