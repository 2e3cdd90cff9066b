// The public face of the key-value store: checks what it is given, once, and asks its backend.
import { Readable } from 'node:stream';
import { LIMITS } from '../base/limits.ts';
import { DamagedKeyError, StoreError } from '../keys/errors.ts';
import { rangeBehind } from '../keys/key-space.ts';
import type { KeyRange } from '../keys/key-space.ts';
import type { Change, ChangeResult, RangePage, StagedValue, StoreBackend, StoreStatistics } from '../backend/backend.ts';
import { bytesOnly, conditionOf, dateOf, expiryOf, keyOf, rangeOf } from './arguments.ts';
import type { BatchOperation, DeleteOptions, Entry, KeyLike, LockOptions, RangeEntry, RangeOptions, SetOptions, ValueLike, WriteOptions } from './arguments.ts';
import { Lock, checkTtl } from './lock.ts';

export type { BatchOperation, DeleteOptions, Entry, KeyLike, LockOptions, RangeEntry, RangeOptions, SetOptions, ValueLike, WriteOptions };

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

  /**
   * The value; undefined when there is none.
   *
   * @example
   * await store.set('greeting', 'hello');
   * String(await store.get('greeting')); // => 'hello'
   * await store.get('nothing'); // => undefined
   */
  async get(key: KeyLike): Promise<Buffer | undefined> {
    return (await this.#open.get(keyOf(key)))?.value;
  }

  /**
   * The value with its version, for a condition, and when it expires.
   *
   * @example
   * const version = await store.set('page', 'draft');
   * const entry = await store.getEntry('page');
   * [String(entry.value), entry.version === version, entry.expires]; // => ['draft', true, undefined]
   */
  async getEntry(key: KeyLike): Promise<Entry | undefined> {
    const found = await this.#open.get(keyOf(key));
    return found === undefined ? undefined : { value: found.value, version: found.version, expires: dateOf(found.expiresMs) };
  }

  /**
   * In the order of `keys`. Each value is one that was there during the call; they need not be of one moment.
   *
   * @example
   * await store.batch([{ type: 'set', key: 'a', value: '1' }, { type: 'set', key: 'b', value: '2' }]);
   * (await store.getMany(['b', 'nothing', 'a'])).map(String); // => ['2', 'undefined', '1']
   */
  async getMany(keys: readonly KeyLike[]): Promise<(Buffer | undefined)[]> {
    return (await this.#open.getMany(keys.map(keyOf))).map((found) => found?.value);
  }

  /**
   * The value in pieces: all of one, or StoreError CHANGED when it was replaced or deleted before all was read.
   *
   * @example
   * await store.set('film', createReadStream('/bin/sh'));
   * await pipeline(await store.getStream('film'), createWriteStream(`${directory}/copy`));
   */
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

  /**
   * Whether there is such a key.
   *
   * @example
   * await store.set('here', '');
   * [await store.has('here'), await store.has('there')]; // => [true, false]
   */
  async has(key: KeyLike): Promise<boolean> {
    return this.#open.has(keyOf(key));
  }

  /**
   * Resolves with the new version. ConflictError when a condition does not hold.
   *
   * @example
   * const first = await store.set('stock', '7');
   * await store.set('stock', '6', { ifVersion: first });
   * await store.set('stock', '5', { ifVersion: first }).catch((error) => error.code); // => 'CONFLICT'
   * await store.set('session', 'Ada', { ttlMs: 30 * 60_000, ifAbsent: true });
   * await store.set('contract', Buffer.alloc(1_000_000), { sync: true });
   */
  async set(key: KeyLike, value: ValueLike, options: SetOptions = {}): Promise<number> {
    const name = keyOf(key);
    const expiresMs = expiryOf(options);
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

  /**
   * Whether there was such a key. ConflictError when there is one of another version, or none where one was wanted.
   *
   * @example
   * await store.set('old', 'v');
   * [await store.delete('old'), await store.delete('old')]; // => [true, false]
   */
  async delete(key: KeyLike, options: DeleteOptions = {}): Promise<boolean> {
    const [result] = await this.#commit([{ kind: 'delete', key: keyOf(key), ...conditionOf(options) }], options);
    return result!.found;
  }

  /**
   * Changes when a key goes by itself; null: never. Whether there is such a key.
   *
   * @example
   * await store.set('session', 'Ada');
   * await store.expire('session', 30 * 60_000); // => true
   * await store.expire('session', null); // => true
   * (await store.getEntry('session')).expires; // => undefined
   */
  async expire(key: KeyLike, ttlMs: number | null, options: WriteOptions = {}): Promise<boolean> {
    const [result] = await this.#commit([{ kind: 'expire', key: keyOf(key), expiresMs: ttlMs === null ? 0 : expiryOf({ ttlMs }) }], options);
    return result!.found;
  }

  /**
   * All of it, or nothing: across shards, and whatever dies meanwhile. Resolves with the new version of each set, 0 for a
   * delete. ConflictError when one condition does not hold. StoreError TOO_LARGE beyond LIMITS.batchBytesMax.
   *
   * @example
   * const [ada, bob] = [await store.set('account/ada', '10'), await store.set('account/bob', '0')];
   * await store.batch([
   *   { type: 'set', key: 'account/ada', value: '7', ifVersion: ada },
   *   { type: 'set', key: 'account/bob', value: '3', ifVersion: bob },
   *   { type: 'delete', key: 'order/1' },
   * ]);
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
          changes.push({ kind: 'set', key, value, expiresMs: expiryOf(operation), ...conditionOf(operation) });
        }
      }
      return (await this.#commit(changes, options)).map(({ version }) => version);
    } catch (error) {
      for (const value of staged) this.#backend.discard(value);
      throw error;
    }
  }

  /**
   * In order of keys. Keys that are set or deleted while it runs may or may not be seen; all others are, once. DamagedKeyError
   * when it comes to a key whose row cannot be read, unless `onDamaged` is there to be told.
   *
   * @example
   * for (const fruit of ['cherry', 'apple', 'banana']) await store.set(`fruit/${fruit}`, fruit.toUpperCase());
   * const found = [];
   * for await (const { value } of store.range({ prefix: 'fruit/', reverse: true, limit: 2 })) found.push(String(value));
   * found; // => ['CHERRY', 'BANANA']
   */
  async *range(options: RangeOptions = {}): AsyncGenerator<RangeEntry, void, undefined> {
    let range = rangeOf(options);
    let left = options.limit ?? Infinity;
    if (left !== Infinity && !(Number.isSafeInteger(left) && left >= 0)) throw new StoreError('INVALID', `limit ${options.limit}: wants a whole number from 0 on`);
    while (left > 0) {
      const page = await this.#page(range, { limit: Math.min(PAGE_ROWS, left), values: options.values !== false }, options.onDamaged);
      if (page instanceof DamagedKeyError) {
        range = rangeBehind(range, page.key);
        continue;
      }
      const { rows, more } = page;
      for (const { key, value, version, expiresMs } of rows) yield { key, value: value ?? Buffer.alloc(0), version, expires: dateOf(expiresMs) };
      left -= rows.length;
      const last = rows.at(-1);
      if (!more || last === undefined) return;
      range = rangeBehind(range, last.key);
    }
  }

  /** A key that cannot be read, where somebody wants to be told of it. */
  async #page(range: KeyRange, options: { readonly limit: number; readonly values: boolean }, onDamaged: RangeOptions['onDamaged']): Promise<RangePage | DamagedKeyError> {
    try {
      return await this.#open.page(range, options);
    } catch (error) {
      if (!(error instanceof DamagedKeyError) || onDamaged === undefined) throw error;
      onDamaged(error);
      return error;
    }
  }

  /**
   * Waits for a lock that one holder has at a time. StoreError TIMEOUT when it is not had within `waitMs`.
   *
   * @example
   * const lock = await store.lock('nightly report', { ttlMs: 10_000 });
   * await lock.run(async (signal) => {
   *   signal.throwIfAborted(); // work that nobody else does at the same time
   * });
   */
  async lock(name: KeyLike, options: LockOptions): Promise<Lock> {
    const waitMs = options.waitMs ?? LIMITS.lockWaitMs;
    if (!(typeof waitMs === 'number' && waitMs >= 0)) throw new StoreError('INVALID', `waitMs ${waitMs}: wants a number of ms from 0 on`);
    const lock = await this.#acquire(keyOf(name), checkTtl(options.ttlMs), waitMs);
    if (lock === undefined) throw new StoreError('TIMEOUT', `the lock ${JSON.stringify(String(name))} is held by somebody else, and was not had within ${waitMs} ms`);
    return lock;
  }

  /**
   * As lock, and undefined at once when somebody else holds it.
   *
   * @example
   * const leader = await store.lease('leader', { ttlMs: 10_000 });
   * [leader?.isHeld, await store.lease('leader', { ttlMs: 10_000 })]; // => [true, undefined]
   */
  async lease(name: KeyLike, options: { readonly ttlMs: number }): Promise<Lock | undefined> {
    return this.#acquire(keyOf(name), checkTtl(options.ttlMs), 0);
  }

  /**
   * A further shard, on a directory of another disk, or, without `disk`, in the store's own. Its share moves to it in the
   * background, and nothing else; meanwhile reads and writes go on, after a moment in which they wait. Resolves with its number.
   *
   * @example
   * const shard = await store.addShard();
   * (await store.stats()).shards.some((one) => one.shard === shard); // => true
   */
  async addShard(disk?: string): Promise<number> {
    return this.#open.changeShards({ action: 'add', disk });
  }

  /**
   * Moves what a shard has to the others, in the background: `stats` says how much is left on it.
   *
   * @example
   * await store.drainShard(await store.addShard());
   */
  async drainShard(shard: number): Promise<void> {
    await this.#open.changeShards({ action: 'drain', shard });
  }

  /**
   * Takes a shard away that was drained. StoreError BUSY while something is on it, unless `force`: then the others copy what they have anew.
   *
   * @example
   * await store.removeShard(await store.addShard(), { force: true });
   */
  async removeShard(shard: number, { force = false }: { readonly force?: boolean } = {}): Promise<void> {
    await this.#open.changeShards({ action: 'remove', shard, force });
  }

  /**
   * What is in it, on how many copies and shards, and how they are.
   *
   * @example
   * const { keys, copies, shards } = await store.stats();
   * [keys >= 0, copies, shards.length >= copies]; // => [true, 2, true]
   */
  async stats(): Promise<StoreStatistics> {
    return this.#open.statistics();
  }

  /**
   * All that was acknowledged before survives a power cut when it resolves.
   *
   * @example
   * for (let day = 1; day <= 31; day++) await store.set(`log/${day}`, 'quiet');
   * await store.sync();
   */
  async sync(): Promise<void> {
    return this.#open.sync();
  }

  /**
   * Ends it: what was acknowledged is on the disks then. A second call waits for the first.
   *
   * @example
   * const other = await openStore({ path: `${directory}/other` });
   * await other.close();
   * await other.get('key').catch((error) => error.code); // => 'CLOSED'
   */
  async close(): Promise<void> {
    this.#closing ??= this.#backend.close();
    return this.#closing;
  }

  /**
   * Closes it: what `await using` calls.
   *
   * @example
   * {
   *   await using other = await openStore({ path: `${directory}/used` });
   *   await other.set('key', 'value');
   * }
   */
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
      // Not staged where it is large: what is in memory can be put again, where the store is opened anew meanwhile.
      return bytes;
    }
    if (value === null || typeof value !== 'object' || !(Symbol.asyncIterator in value)) throw new StoreError('INVALID', `a value is text, bytes or a stream of bytes, not ${value === null ? 'null' : typeof value}`);
    return this.#open.stage(bytesOnly(value));
  }
}
