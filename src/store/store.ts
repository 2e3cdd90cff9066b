// The public face of the key-value store: checks what it is given, once, and asks its backend.
import { Readable } from 'node:stream';
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import type { KeyRange } from '../keys/key-space.ts';
import type { Change, ChangeResult, StagedValue, StoreBackend, StoreStatistics } from './backend.ts';
import { Lock, checkTtl } from './lock.ts';

/** Text is UTF-8. 0 to LIMITS.keyBytesMax bytes. */
export type KeyLike = string | Uint8Array;
/** Text is UTF-8. Streams are for values that should not be in memory as a whole. 0 to LIMITS.valueBytesMax bytes. */
export type ValueLike = string | Uint8Array | AsyncIterable<Uint8Array>;

export interface Entry {
  readonly value: Buffer;
  readonly version: number;
  /** When it goes by itself. */
  readonly expires: Date | undefined;
}

export interface WriteOptions {
  /** Power-proof when the promise resolves; else process-proof. Default: the store's. */
  readonly sync?: boolean;
}

export interface SetOptions extends WriteOptions {
  /** Only when the key has this version. */
  readonly ifVersion?: number;
  /** Only when there is no such key. */
  readonly ifAbsent?: boolean;
  /** It goes by itself after so many ms. */
  readonly ttlMs?: number;
}

export interface DeleteOptions extends WriteOptions {
  readonly ifVersion?: number;
}

export type BatchOperation =
  | { readonly type: 'set'; readonly key: KeyLike; readonly value: string | Uint8Array; readonly ifVersion?: number; readonly ifAbsent?: boolean; readonly ttlMs?: number }
  | { readonly type: 'delete'; readonly key: KeyLike; readonly ifVersion?: number };

export interface RangeOptions {
  /** Keys that begin with it. Not with gte, gt, lte, lt. */
  readonly prefix?: KeyLike;
  readonly gte?: KeyLike;
  readonly gt?: KeyLike;
  readonly lte?: KeyLike;
  readonly lt?: KeyLike;
  readonly reverse?: boolean;
  /** At most so many keys. */
  readonly limit?: number;
  /** False: keys and versions alone; values are empty. */
  readonly values?: boolean;
}

export interface RangeEntry {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly version: number;
  readonly expires: Date | undefined;
}

export interface LockOptions {
  /** It is given to somebody else when it is not renewed for so long. */
  readonly ttlMs: number;
  /** How long to wait for it. Default: LIMITS.lockWaitMs. 0: not at all. */
  readonly waitMs?: number;
}

/** Rows asked for in one page of a range. */
const PAGE_ROWS = 256;

export class Store {
  readonly #backend: StoreBackend;
  readonly #syncs: boolean;
  #closing: Promise<void> | undefined;

  /** Made by openStore and connectStore. `sync`: the default of every write. */
  constructor(backend: StoreBackend, options: { sync: boolean }) {
    this.#backend = backend;
    this.#syncs = options.sync;
  }

  async get(key: KeyLike): Promise<Buffer | undefined> {
    return (await this.#open.get(keyOf(key)))?.value;
  }

  /** The value with its version, for a condition, and when it expires. */
  async getEntry(key: KeyLike): Promise<Entry | undefined> {
    const found = await this.#open.get(keyOf(key));
    return found === undefined ? undefined : { value: found.value, version: found.version, expires: dateOf(found.expiresMs) };
  }

  /** In the order of `keys`. Each value is one that was there during the call; they need not be of one moment. */
  async getMany(keys: readonly KeyLike[]): Promise<(Buffer | undefined)[]> {
    return (await this.#open.getMany(keys.map(keyOf))).map((found) => found?.value);
  }

  /** The value in pieces: all of one, or StoreError CHANGED when it was replaced or deleted before all was read. */
  async getStream(key: KeyLike): Promise<Readable | undefined> {
    const value = await this.#open.open(keyOf(key));
    if (value === undefined) return undefined;
    const assertOpen = () => this.#open;
    return Readable.from((async function* pieces() {
      for (let at = 0; at < value.bytes; at += LIMITS.blockBytesMax) {
        assertOpen();
        yield await value.read(at, Math.min(LIMITS.blockBytesMax, value.bytes - at));
      }
    })(), { objectMode: false, highWaterMark: LIMITS.blockBytesMax });
  }

  async has(key: KeyLike): Promise<boolean> {
    return this.#open.has(keyOf(key));
  }

  /** Resolves with the new version. ConflictError when a condition does not hold. */
  async set(key: KeyLike, value: ValueLike, options: SetOptions = {}): Promise<number> {
    const name = keyOf(key);
    const expiresMs = expiryOf(options.ttlMs);
    const condition = conditionOf(options);
    // Not awaited where it is there: what was asked before close is carried out.
    const staging = this.#valueOf(value);
    const given = staging instanceof Promise ? await staging : staging;
    try {
      const [result] = await this.#commit([{ kind: 'set', key: name, value: given, expiresMs, ...condition }], options);
      return result!.version;
    } catch (error) {
      if (!Buffer.isBuffer(given)) this.#backend.discard(given);
      throw error;
    }
  }

  /** Whether there was such a key. ConflictError when there is one of another version, or none where one was wanted. */
  async delete(key: KeyLike, options: DeleteOptions = {}): Promise<boolean> {
    const [result] = await this.#commit([{ kind: 'delete', key: keyOf(key), ...conditionOf(options) }], options);
    return result!.found;
  }

  /** Changes when a key goes by itself; null: never. Whether there is such a key. */
  async expire(key: KeyLike, ttlMs: number | null, options: WriteOptions = {}): Promise<boolean> {
    const [result] = await this.#commit([{ kind: 'expire', key: keyOf(key), expiresMs: ttlMs === null ? 0 : expiryOf(ttlMs) }], options);
    return result!.found;
  }

  /**
   * All of it, or nothing: across shards, and whatever dies meanwhile. Resolves with the new version of each set, 0 for a
   * delete. ConflictError when one condition does not hold. StoreError TOO_LARGE beyond LIMITS.batchBytesMax.
   */
  async batch(operations: readonly BatchOperation[], options: WriteOptions = {}): Promise<number[]> {
    if (!Array.isArray(operations)) throw new StoreError('INVALID', 'a batch is an array of operations');
    const staged: StagedValue[] = [];
    try {
      const changes: Change[] = [];
      for (const operation of operations as readonly BatchOperation[]) {
        if (operation === null || typeof operation !== 'object') throw new StoreError('INVALID', `an operation of a batch is a set or a delete, not ${JSON.stringify(operation)}`);
        const key = keyOf(operation.key);
        if (operation.type === 'delete') changes.push({ kind: 'delete', key, ...conditionOf(operation) });
        else {
          if (operation.type !== 'set') throw new StoreError('INVALID', `an operation of a batch is a set or a delete, not ${JSON.stringify((operation as { type: unknown }).type)}`);
          const staging = this.#valueOf(operation.value);
          const value = staging instanceof Promise ? await staging : staging;
          if (!Buffer.isBuffer(value)) staged.push(value);
          changes.push({ kind: 'set', key, value, expiresMs: expiryOf(operation.ttlMs), ...conditionOf(operation) });
        }
      }
      return (await this.#commit(changes, options)).map(({ version }) => version);
    } catch (error) {
      for (const value of staged) this.#backend.discard(value);
      throw error;
    }
  }

  /** In order of keys. Keys that are set or deleted while it runs may or may not be seen; all others are, once. */
  async *range(options: RangeOptions = {}): AsyncGenerator<RangeEntry, void, undefined> {
    let range = rangeOf(options);
    let left = options.limit ?? Infinity;
    if (left !== Infinity && !(Number.isSafeInteger(left) && left >= 0)) throw new StoreError('INVALID', `limit ${options.limit}: wants a whole number from 0 on`);
    while (left > 0) {
      const { rows, more } = await this.#open.page(range, { limit: Math.min(PAGE_ROWS, left), values: options.values !== false });
      for (const { key, value, version, expiresMs } of rows) yield { key, value: value ?? Buffer.alloc(0), version, expires: dateOf(expiresMs) };
      left -= rows.length;
      const last = rows.at(-1);
      if (!more || last === undefined) return;
      range = options.reverse === true ? { ...range, end: last.key } : { ...range, start: Buffer.concat([last.key, Buffer.alloc(1)]) };
    }
  }

  /** Waits for a lock that one holder has at a time. StoreError TIMEOUT when it is not had within `waitMs`. */
  async lock(name: KeyLike, options: LockOptions): Promise<Lock> {
    const waitMs = options.waitMs ?? LIMITS.lockWaitMs;
    if (!(typeof waitMs === 'number' && waitMs >= 0)) throw new StoreError('INVALID', `waitMs ${waitMs}: wants a number of ms from 0 on`);
    const lock = await this.#acquire(keyOf(name), checkTtl(options.ttlMs), waitMs);
    if (lock === undefined) throw new StoreError('TIMEOUT', `the lock ${JSON.stringify(String(name))} is held by somebody else, and was not had within ${waitMs} ms`);
    return lock;
  }

  /** As lock, and undefined at once when somebody else holds it. */
  async lease(name: KeyLike, options: { readonly ttlMs: number }): Promise<Lock | undefined> {
    return this.#acquire(keyOf(name), checkTtl(options.ttlMs), 0);
  }

  /**
   * A further shard, on a directory of another disk, or, without `disk`, in the store's own. Its share moves to it in the
   * background, and nothing else; meanwhile reads and writes go on, after a moment in which they wait. Resolves with its number.
   */
  async addShard(disk?: string): Promise<number> {
    return this.#open.changeShards({ action: 'add', disk });
  }

  /** Moves what a shard has to the others, in the background: `stats` says how much is left on it. */
  async drainShard(shard: number): Promise<void> {
    await this.#open.changeShards({ action: 'drain', shard });
  }

  /** Takes a shard away that was drained. StoreError BUSY while something is on it, unless `force`: then the others copy what they have anew. */
  async removeShard(shard: number, { force = false }: { readonly force?: boolean } = {}): Promise<void> {
    await this.#open.changeShards({ action: 'remove', shard, force });
  }

  async stats(): Promise<StoreStatistics> {
    return this.#open.statistics();
  }

  /** All that was acknowledged before survives a power cut when it resolves. */
  async sync(): Promise<void> {
    return this.#open.sync();
  }

  /** Ends it: what was acknowledged is on the disks then. A second call waits for the first. */
  async close(): Promise<void> {
    this.#closing ??= this.#backend.close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #open(): StoreBackend {
    if (this.#closing !== undefined) throw new StoreError('CLOSED', 'the store is closed');
    return this.#backend;
  }

  #commit(changes: readonly Change[], options: WriteOptions): Promise<ChangeResult[]> {
    return this.#open.commit(changes, { sync: options.sync ?? this.#syncs });
  }

  async #acquire(name: Buffer, ttlMs: number, waitMs: number): Promise<Lock | undefined> {
    const backend = this.#open;
    const grant = await backend.acquire(name, { ttlMs, waitMs });
    return grant === undefined ? undefined : new Lock(backend, name, { ...grant, ttlMs });
  }

  #valueOf(value: ValueLike): Buffer | Promise<StagedValue> {
    if (typeof value === 'string' || value instanceof Uint8Array) {
      const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.from(value);
      if (bytes.length > LIMITS.valueBytesMax) throw new StoreError('TOO_LARGE', `a value of ${bytes.length} bytes; ${LIMITS.valueBytesMax} are allowed`);
      if (bytes.length <= LIMITS.inlineBytesMax) return bytes;
      return this.#open.stage(bytes);
    }
    if (value === null || typeof value !== 'object' || !(Symbol.asyncIterator in value)) throw new StoreError('INVALID', `a value is text, bytes or a stream of bytes, not ${value === null ? 'null' : typeof value}`);
    return this.#open.stage(bytesOnly(value));
  }
}

async function* bytesOnly(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of stream) {
    if (!(piece instanceof Uint8Array)) throw new StoreError('INVALID', `a stream of ${piece === null ? 'null' : typeof piece} is no value: wants bytes`);
    yield piece;
  }
}

export function keyOf(key: KeyLike): Buffer {
  if (typeof key !== 'string' && !(key instanceof Uint8Array)) throw new StoreError('INVALID', `a key is text or bytes, not ${key === null ? 'null' : typeof key}`);
  // A copy: the caller may use its bytes again before the store has.
  const bytes = typeof key === 'string' ? Buffer.from(key) : Buffer.from(key);
  if (bytes.length > LIMITS.keyBytesMax) throw new StoreError('TOO_LARGE', `a key of ${bytes.length} bytes; ${LIMITS.keyBytesMax} are allowed`);
  return bytes;
}

function expiryOf(ttlMs: number | undefined): number {
  return ttlMs === undefined ? 0 : Math.ceil(Date.now() + checkTtl(ttlMs));
}

function dateOf(expiresMs: number): Date | undefined {
  return expiresMs === 0 ? undefined : new Date(expiresMs);
}

function conditionOf({ ifVersion, ifAbsent }: { readonly ifVersion?: number; readonly ifAbsent?: boolean }): { ifVersion?: number; ifAbsent?: boolean } {
  if (ifVersion === undefined) return ifAbsent === true ? { ifAbsent } : {};
  if (ifAbsent === true) throw new StoreError('INVALID', 'ifVersion and ifAbsent cannot both hold: give one');
  if (!Number.isSafeInteger(ifVersion) || ifVersion < 1) throw new StoreError('INVALID', `ifVersion ${ifVersion}: wants a version that set or getEntry gave`);
  return { ifVersion };
}

function rangeOf({ prefix, gte, gt, lte, lt, reverse }: RangeOptions): KeyRange {
  if (prefix !== undefined) {
    if (gte !== undefined || gt !== undefined || lte !== undefined || lt !== undefined) throw new StoreError('INVALID', 'a range has a prefix, or bounds: give one of the two');
    const start = keyOf(prefix);
    return { start, end: behindPrefix(start), reverse };
  }
  if (gte !== undefined && gt !== undefined) throw new StoreError('INVALID', 'gte and gt: give one');
  if (lte !== undefined && lt !== undefined) throw new StoreError('INVALID', 'lte and lt: give one');
  const start = gte !== undefined ? keyOf(gte) : gt !== undefined ? Buffer.concat([keyOf(gt), Buffer.alloc(1)]) : undefined;
  const end = lt !== undefined ? keyOf(lt) : lte !== undefined ? Buffer.concat([keyOf(lte), Buffer.alloc(1)]) : undefined;
  return { start, end, reverse };
}

/** The first key behind all that begin with `prefix`; undefined when there is none. */
function behindPrefix(prefix: Buffer): Buffer | undefined {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at--) {
    if (end[at] === 0xff) continue;
    end[at]!++;
    return end.subarray(0, at + 1);
  }
  return undefined;
}
