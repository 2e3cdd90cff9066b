// Mutable keys over ordered rows and immutable blocks: each change is one record of the log, small values ride in it.
//
// A value of up to LIMITS.rowValueBytesMax lies in the key's row. One of up to LIMITS.inlineBytesMax becomes a block that
// rides in the record and is moved to the shards in the background (durability/pending.ts). Larger ones are put there first,
// and smaller ones too while many come: they would be written twice.
import { assert } from '../base/assert.ts';
import { FormatError } from '../base/errors.ts';
import { blockKey } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Transaction } from '../metadata/engine.ts';
import { KEY_AREAS, decodeExpiryRowKey, decodeKeyHead, decodeKeyRecord, encodeKeyRecord, expiryRowKey, keyCountName, keyOfKeyRow, keyRowKey } from '../metadata/key-rows.ts';
import type { KeyArea, ValueBlock } from '../metadata/key-rows.ts';
import { PRESENT, decodeNumber, encodeBlockRow, encodeNumber, keys } from '../metadata/schema.ts';
import { raiseSchema } from '../metadata/schema-version.ts';
import type { BlockValue } from './block-values.ts';
import { BlockValues, asStoreError } from './block-values.ts';
import { DamagedKeyError, StoreError, showKey } from './errors.ts';
import { KeyChanges, isExpired } from './key-changes.ts';
import type { LocalEntry, Slot } from './key-changes.ts';
import type { KeyEntry, KeyPage, KeyRange, KeyRow, KeySpace, KeyTransaction, PreparedValue } from './key-space.ts';
import { rangeBehind } from './key-space.ts';
import type { KeyStores } from './stores.ts';
import type { Versions } from './versions.ts';

/** What a record has to be followed by, once it is written. */
interface Effects {
  /** By blockKey. */
  readonly riding: Map<string, { readonly id: BlockId; readonly data: Buffer }>;
  readonly freed: BlockId[];
  readonly used: BlockValue[];
  count: number;
  bytes: number;
}

export class LocalKeySpace implements KeySpace {
  readonly #stores: KeyStores;
  readonly #versions: Versions;
  readonly area: KeyArea;
  readonly #values: BlockValues;
  readonly #countRow: Buffer;
  #count: number;
  /** The group that runs. */
  #group: { readonly tx: Transaction; readonly effects: Effects } | undefined;

  /** Spaces of one volume share their versions: none has one that another has. `cacheBytes`: see BlockValues. */
  constructor(stores: KeyStores, options: { versions: Versions; area?: KeyArea; cacheBytes?: number | undefined }) {
    this.#stores = stores;
    this.#versions = options.versions;
    this.area = options.area ?? KEY_AREAS.keys;
    this.#values = new BlockValues(stores, options.cacheBytes);
    this.#countRow = keys.bookkeeping(keyCountName(this.area));
    const count = stores.engine.reader.get(this.#countRow);
    this.#count = count === undefined ? 0 : decodeNumber(count);
  }

  paused(): undefined {
    return undefined;
  }

  get count(): number {
    return this.#count + (this.#group?.effects.count ?? 0);
  }

  get(key: Buffer): KeyEntry | undefined {
    const found = this.#find(this.#group?.tx ?? this.#stores.engine.reader, key);
    return found === undefined || isExpired(found, Date.now()) ? undefined : found;
  }

  load(entry: KeyEntry): Buffer | Promise<Buffer> {
    return entry.inline ?? this.read(entry, 0, entry.bytes);
  }

  read(entry: KeyEntry, offset: number, bytes: number): Buffer | Promise<Buffer> {
    assert(offset >= 0 && bytes >= 0 && offset + bytes <= entry.bytes, `bytes ${offset} to ${offset + bytes} lie in a value of ${entry.bytes}`);
    if (entry.inline !== undefined) return entry.inline.subarray(offset, offset + bytes);
    const local = entry as LocalEntry;
    const riding = this.#riding(local);
    if (riding !== undefined) return Buffer.from(riding.subarray(offset, offset + bytes));
    const read = this.#values.read(local.blocks, offset, bytes);
    return read instanceof Promise ? read.catch((error: unknown) => { throw this.#readFailed(local, error); }) : read;
  }

  isLarge(bytes: number): boolean {
    return bytes > LIMITS.inlineBytesMax || (bytes >= LIMITS.directValueBytesMin && this.#stores.pending.bytes > LIMITS.pendingBytesSoft / 2);
  }

  prepare(value: Buffer | AsyncIterable<Uint8Array>): Promise<PreparedValue> {
    return this.#values.put(value);
  }

  discard(value: PreparedValue): void {
    this.#values.discard(value as BlockValue);
  }

  transact<T>(work: (transaction: KeyTransaction) => T): T {
    if (this.#group === undefined) return this.group(() => this.transact(work));
    const { tx, effects } = this.#group;
    const changes = new KeyChanges({
      head: (key) => {
        const row = tx.get(keyRowKey(this.area, key));
        return row === undefined ? undefined : decoded(key, row, decodeKeyHead);
      },
      entry: (key) => this.#find(tx, key),
      nextVersion: () => this.#versions.next(),
      checkKept: (value) => this.#values.checkKept(value),
    });
    const value = work(changes);
    if (changes.bytes > LIMITS.batchBytesMax) throw new StoreError('TOO_LARGE', `${changes.bytes} bytes in one change of many keys; ${LIMITS.batchBytesMax} are allowed`);
    if (changes.addedBytes > 0) this.#admit(changes.addedBytes);
    for (const slot of changes.made) this.#apply(tx, effects, slot);
    for (const superseded of changes.superseded) for (const { block } of this.#use(effects, superseded)) tx.put(keys.garbage(block), PRESENT);
    effects.bytes += changes.bytes;
    return value;
  }

  /** StoreError FULL: of this transaction alone, the others of its group go on. */
  #admit(bytes: number): void {
    try {
      this.#stores.space.admit(bytes);
    } catch (error) {
      throw asStoreError(error);
    }
  }

  group<T>(work: () => T): T {
    assert(this.#group === undefined, 'groups of changes are not nested');
    const { engine, pending, durability } = this.#stores;
    const effects: Effects = { riding: new Map(), freed: [], used: [], count: 0, bytes: 0 };
    let value: T;
    try {
      value = engine.transact(null, (tx) => {
        this.#group = { tx, effects };
        const result = work();
        if (this.#count === 0 && effects.count > 0) raiseSchema(tx, 'keys');
        if (effects.count !== 0) tx.put(this.#countRow, encodeNumber(this.#count + effects.count));
        return result;
      });
    } catch (error) {
      throw asStoreError(error);
    } finally {
      this.#group = undefined;
    }
    this.#count += effects.count;
    const now = performance.now();
    for (const { id, data } of effects.riding.values()) pending.add(id, data, engine.lastSequence, now);
    for (const id of effects.freed) pending.drop(id);
    for (const used of effects.used) this.#values.markUsed(used);
    if (effects.riding.size > 0) durability.relievePressure();
    return value;
  }

  get groupIsFull(): boolean {
    return this.#group !== undefined && this.#group.effects.bytes > LIMITS.batchBytesMax / 2;
  }

  page(range: KeyRange, limit: number): KeyPage {
    assert(this.#group === undefined, 'a page is not read while changes are made');
    const { reader } = this.#stores.engine;
    const now = Date.now();
    const rows: KeyRow[] = [];
    let next = range;
    let looked = 0;
    for (let wanted = Math.min(limit, LIMITS.pageRowsMax); ; wanted = LIMITS.pageRowsMax - looked) {
      const start = next.start === undefined ? Buffer.of(this.area.key) : keyRowKey(this.area, next.start);
      const end = next.end === undefined ? Buffer.of(this.area.key + 1) : keyRowKey(this.area, next.end);
      const found = start.compare(end) < 0 ? reader.range(start, end, wanted, range.reverse === true ? 'backward' : 'forward') : [];
      for (const [rowKey, value] of found) {
        const key = keyOfKeyRow(rowKey);
        next = rangeBehind(range, key);
        try {
          const entry: LocalEntry = { ...decoded(key, value, decodeKeyRecord), key };
          if (!isExpired(entry, now)) rows.push({ key, entry });
        } catch (error) {
          if (error instanceof DamagedKeyError) return { rows, damaged: error, next };
          throw error;
        }
        if (rows.length === limit) return { rows, damaged: undefined, next };
      }
      looked += found.length;
      if (found.length < wanted) return { rows, damaged: undefined, next: undefined };
      if (looked === LIMITS.pageRowsMax) return { rows, damaged: undefined, next };
    }
  }

  expired(limit: number): Buffer[] {
    const start = Buffer.of(this.area.expiry);
    return this.#stores.engine.reader.range(start, expiryRowKey(this.area, Date.now(), Buffer.alloc(0)), limit).map(([rowKey]) => decodeExpiryRowKey(rowKey).key);
  }

  /** Puts the count right; for fsck. */
  correctCount(delta: number): void {
    this.#stores.engine.transact(null, (tx) => tx.put(this.#countRow, encodeNumber(this.#count + delta)));
    this.#count += delta;
  }

  room(): Promise<void> | undefined {
    const { engine, pending, durability } = this.#stores;
    if (pending.bytes < LIMITS.pendingBytesHard && engine.journalBytes < LIMITS.journalBytesHard) return undefined;
    return durability.drain().then(() => {
      if (engine.journalBytes > LIMITS.journalBytesHard) throw new StoreError('FULL', 'the journal is full, and the shards do not take it: see what is wrong with their disks');
    }, (error: unknown) => { throw asStoreError(error); });
  }

  async sync(): Promise<void> {
    await this.#stores.durability.sync().catch((error: unknown) => { throw asStoreError(error); });
  }

  /** A value that the running group set, and that is nowhere else yet. */
  #riding({ blocks }: LocalEntry): Buffer | undefined {
    const [only] = blocks;
    return this.#group === undefined || this.#group.effects.riding.size === 0 || only === undefined ? undefined : this.#group.effects.riding.get(blockKey(only.block))?.data;
  }

  #find(reader: { get(key: Buffer): Buffer | undefined }, key: Buffer): LocalEntry | undefined {
    const value = reader.get(keyRowKey(this.area, key));
    if (value === undefined) return undefined;
    const { version, expiresMs, bytes, inline, blocks } = decoded(key, value, decodeKeyRecord);
    // The reader's Buffer is good until its next call.
    return { key, version, expiresMs, bytes, inline: inline === undefined ? undefined : Buffer.from(inline), blocks };
  }

  #readFailed(entry: LocalEntry, error: unknown): Error {
    const now = this.#find(this.#stores.engine.reader, entry.key);
    if (now?.version === entry.version) return asStoreError(error);
    return new StoreError('CHANGED', `key ${showKey(entry.key)} was ${now === undefined ? 'deleted' : 'set'} while it was being read`, { cause: error });
  }

  #apply(tx: Transaction, effects: Effects, { key, before, after }: Slot): void {
    const row = keyRowKey(this.area, key);
    if (before !== undefined && before.expiresMs !== 0 && before.expiresMs !== after?.expiresMs) tx.delete(expiryRowKey(this.area, before.expiresMs, key));
    if (after === undefined) {
      if (before === undefined) return;
      tx.delete(row);
      effects.count--;
      this.#forget(tx, effects, before.blocks);
      return;
    }
    if (before === undefined) effects.count++;
    if (after.expiresMs !== 0 && after.expiresMs !== before?.expiresMs) tx.put(expiryRowKey(this.area, after.expiresMs, key), PRESENT);
    if (after.value === undefined) {
      // Only the time of its end is another.
      const entry = this.#find(tx, key);
      assert(entry !== undefined, 'what expires is there');
      tx.put(row, encodeKeyRecord({ ...entry, expiresMs: after.expiresMs }));
      return;
    }
    const version = after.version;
    const { value, expiresMs } = after;
    if (Buffer.isBuffer(value) && value.length <= LIMITS.rowValueBytesMax) {
      if (before !== undefined) this.#forget(tx, effects, before.blocks);
      tx.put(row, encodeKeyRecord({ version, expiresMs, inline: value, blocks: [] }));
      return;
    }
    const prepared = Buffer.isBuffer(value) ? undefined : this.#use(effects, value as BlockValue);
    const small = Buffer.isBuffer(value) ? value : (value as BlockValue).small;
    const blocks = small === undefined || prepared?.length === 1 ? prepared! : [this.#ride(tx, effects, small)];
    if (small !== undefined) this.#values.keep(blocks[0]!.block, small, before?.blocks[0]?.block);
    if (before !== undefined) this.#forget(tx, effects, before.blocks);
    for (const { block, bytes } of blocks) tx.put(keys.block(block), encodeBlockRow({ bytes, references: 1, liveBytes: bytes }));
    tx.put(row, encodeKeyRecord({ version, expiresMs, inline: blocks.length === 0 ? Buffer.alloc(0) : undefined, blocks }));
  }

  #ride(tx: Transaction, effects: Effects, data: Buffer): ValueBlock {
    const block = this.#stores.allocator.block();
    const own = Buffer.from(data);
    tx.data(block, own);
    effects.riding.set(blockKey(block), { id: block, data: own });
    return { block, bytes: data.length };
  }

  #use(effects: Effects, value: BlockValue): readonly ValueBlock[] {
    assert(!value.used && !effects.used.includes(value), 'a prepared value is set once');
    effects.used.push(value);
    return value.blocks;
  }

  #forget(tx: Transaction, effects: Effects, blocks: readonly ValueBlock[]): void {
    for (const { block } of blocks) {
      tx.delete(keys.block(block));
      if (!this.#stores.pending.isUnseen(block)) tx.put(keys.garbage(block), PRESENT);
      effects.freed.push(block);
      this.#values.forget(block);
    }
  }
}

function decoded<T>(key: Buffer, row: Buffer, decode: (row: Buffer) => T): T {
  try {
    return decode(row);
  } catch (error) {
    throw error instanceof FormatError ? new DamagedKeyError(Buffer.from(key), error.message, { cause: error }) : error;
  }
}
