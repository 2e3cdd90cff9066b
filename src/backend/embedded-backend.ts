// A store in the process that opened it: its calls on the key space, those of one turn of the event loop as one record of the log.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LIMITS } from '../base/limits.ts';
import { CommitQueue } from '../keys/commit-queue.ts';
import { ConflictError, ReopenedError, StoreError } from '../keys/errors.ts';
import { rangeBehind } from '../keys/key-space.ts';
import type { KeyEntry, KeyPage, KeyRange, KeyRow, KeySpace, KeyTransaction, PreparedValue } from '../keys/key-space.ts';
import type { LeaseGrant, Leases } from '../keys/leases.ts';
import { withPrepared } from '../keys/prepared.ts';
import { isStaged } from './backend.ts';
import type { Change, ChangeResult, Condition, FoundValue, OpenValue, RangePage, ShardChange, StagedValue, StoreBackend, StoreStatistics } from './backend.ts';

export interface EmbeddedParts {
  readonly keys: KeySpace;
  readonly leases: Leases;
  statistics(): Promise<StoreStatistics>;
  changeShards(change: ShardChange): Promise<number>;
  /** Syncs, and ends what the store runs on. */
  close(): Promise<void>;
}

type LargeChange = Extract<Change, { kind: 'set' }> & { readonly value: Buffer };

/** A change whose value is where the key space wants it. */
type ReadyChange =
  | ({ readonly kind: 'set'; readonly key: Buffer; readonly value: Buffer | PreparedValue; readonly expiresMs: number } & Condition)
  | Exclude<Change, { kind: 'set' }>;

export class EmbeddedBackend implements StoreBackend {
  readonly #parts: EmbeddedParts;
  readonly #keys: KeySpace;
  readonly #leases: Leases;
  readonly #commits: CommitQueue;
  #callsThisTurn = 0;
  #nextTurn: Promise<void> | undefined;

  constructor(parts: EmbeddedParts) {
    this.#parts = parts;
    this.#keys = parts.keys;
    this.#leases = parts.leases;
    this.#commits = new CommitQueue(parts.keys);
  }

  async get(key: Buffer): Promise<FoundValue | undefined> {
    const turn = this.#breathe();
    if (turn !== undefined) await turn;
    const entry = this.#keys.get(key);
    return entry === undefined ? undefined : this.#found(key, entry);
  }

  async getMany(keys: readonly Buffer[]): Promise<readonly (FoundValue | undefined)[]> {
    const turn = this.#breathe();
    if (turn !== undefined) await turn;
    return together(keys.map((key) => {
      const entry = this.#keys.get(key);
      return entry === undefined ? undefined : this.#found(key, entry);
    }));
  }

  async has(key: Buffer): Promise<boolean> {
    const turn = this.#breathe();
    if (turn !== undefined) await turn;
    return this.#keys.get(key) !== undefined;
  }

  async open(key: Buffer): Promise<OpenValue | undefined> {
    await this.#keys.paused();
    const entry = this.#keys.get(key);
    if (entry === undefined) return undefined;
    const { bytes, version, expiresMs } = entry;
    return { bytes, version, expiresMs, read: async (offset, length) => this.#keys.read(entry, offset, length) };
  }

  async stage(value: Buffer | AsyncIterable<Uint8Array>): Promise<StagedValue> {
    const room = this.#keys.room();
    if (room !== undefined) await room;
    try {
      return await this.#keys.prepare(value);
    } catch (error) {
      const wasReopened = error instanceof StoreError && error.code === 'UNAVAILABLE' && this.#keys.paused() !== undefined;
      throw wasReopened ? new ReopenedError({ cause: error }) : error;
    }
  }

  discard(value: StagedValue): void {
    const prepared = value as PreparedValue;
    if (!prepared.used) this.#keys.discard(prepared);
  }

  async commit(changes: readonly Change[], options: { readonly sync: boolean }): Promise<ChangeResult[]> {
    // Smaller ones ride in the record, also where the key space would rather have them prepared: calls keep their order.
    const large = changes.filter(isLarge);
    if (large.length === 0) return this.#add(changes as readonly ReadyChange[], options);
    return withPrepared(this.#keys, large.map(({ value }) => value), (prepared) => {
      let used = 0;
      return this.#add(changes.map((change) => (change === large[used] ? { ...large[used]!, value: prepared[used++]! } : change as ReadyChange)), options);
    }, { mayRepeat: !changes.some(isStaged) });
  }

  #add(changes: readonly ReadyChange[], { sync }: { readonly sync: boolean }): Promise<ChangeResult[]> {
    return this.#commits.add((transaction) => changes.map((change) => apply(transaction, change)), { sync });
  }

  /** DamagedKeyError for the first key of the range, where it is that one. */
  async page(range: KeyRange, { limit, values }: { readonly limit: number; readonly values: boolean }): Promise<RangePage> {
    const turn = this.#breathe();
    if (turn !== undefined) await turn;
    for (let from = range; ;) {
      const { rows, damaged, next } = await this.#rows(from, limit, values ? LIMITS.pageBytesMax : Infinity);
      if (rows.length === 0 && damaged !== undefined) throw damaged;
      const taken = values ? rows.slice(0, countUpTo(rows, LIMITS.pageBytesMax)) : rows;
      const more = next !== undefined || taken.length < rows.length;
      if (!values) return { rows: taken.map(({ key, entry: { version, expiresMs } }) => ({ key, value: undefined, version, expiresMs })), more };
      const found = await together(taken.map(({ key, entry }) => this.#found(key, entry)));
      const left: { key: Buffer; value: Buffer; version: number; expiresMs: number }[] = [];
      found.forEach((row, index) => {
        if (row !== undefined) left.push({ key: taken[index]!.key, value: row.value, version: row.version, expiresMs: row.expiresMs });
      });
      if (left.length > 0 || !more) return { rows: left, more };
      // All of them were deleted while they were read.
      from = rangeBehind(range, taken.at(-1)!.key);
    }
  }

  /** Rows of a range up to `limit`, to more than `bytesMax` of values, or to one that is damaged: as many turns of the event loop as that takes. */
  async #rows(range: KeyRange, limit: number, bytesMax: number): Promise<KeyPage> {
    const first = this.#keys.page(range, limit);
    const rows = [...first.rows];
    let { damaged, next } = first;
    while (next !== undefined && damaged === undefined && rows.length < limit && bytesOf(rows) <= bytesMax) {
      await nextTurn();
      await this.#keys.paused();
      const page = this.#keys.page(next, limit - rows.length);
      rows.push(...page.rows);
      ({ damaged, next } = page);
    }
    // One behind rows that are there is met again by who goes on behind these.
    return { rows, damaged, next };
  }

  async acquire(name: Buffer, options: { readonly ttlMs: number; readonly waitMs: number }): Promise<LeaseGrant | undefined> {
    await this.#keys.paused();
    return this.#leases.acquire(name, options);
  }

  async renew(name: Buffer, token: number, ttlMs: number): Promise<LeaseGrant | undefined> {
    await this.#keys.paused();
    return this.#leases.renew(name, token, ttlMs);
  }

  async release(name: Buffer, token: number): Promise<boolean> {
    await this.#keys.paused();
    return this.#leases.release(name, token);
  }

  statistics(): Promise<StoreStatistics> {
    return this.#parts.statistics();
  }

  async changeShards(change: ShardChange): Promise<number> {
    await this.#commits.settled();
    return this.#parts.changeShards(change);
  }

  async sync(): Promise<void> {
    await this.#keys.paused();
    await this.#commits.settled();
    await this.#keys.sync();
  }

  async close(): Promise<void> {
    await this.#commits.settled();
    this.#leases.close();
    await this.#parts.close();
  }

  /** The value of an entry, or, where that is being replaced, of those that come after it. */
  #found(key: Buffer, entry: KeyEntry): FoundValue | Promise<FoundValue | undefined> {
    const { version, expiresMs } = entry;
    const value = this.#keys.load(entry);
    if (Buffer.isBuffer(value)) return { value, version, expiresMs };
    return value.then((loaded) => ({ value: loaded, version, expiresMs }), (error: unknown) => this.#findAgain(key, error));
  }

  async #findAgain(key: Buffer, first: unknown): Promise<FoundValue | undefined> {
    let error = first;
    for (let attempt = 1; attempt < LIMITS.valueReadsMax && isChanged(error); attempt++) {
      const entry = this.#keys.get(key);
      if (entry === undefined) return undefined;
      try {
        return { value: await this.#keys.load(entry), version: entry.version, expiresMs: entry.expiresMs };
      } catch (again) {
        error = again;
      }
    }
    throw error;
  }

  /**
   * What is in memory is answered at once, so that a program that awaits one call after the other would never let go of the
   * event loop: after so many calls it is made to.
   */
  #breathe(): Promise<void> | undefined {
    const paused = this.#keys.paused();
    if (paused !== undefined) return paused;
    if (this.#callsThisTurn++ < LIMITS.keyCallsPerTurnMax) return undefined;
    return (this.#nextTurn ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#callsThisTurn = 0;
        this.#nextTurn = undefined;
        resolve();
      });
    }));
  }
}

function apply(transaction: KeyTransaction, change: ReadyChange): ChangeResult {
  const { key } = change;
  if (change.kind === 'expire') return { version: 0, found: transaction.expire(key, change.expiresMs) };
  const { ifVersion, ifAbsent } = change;
  if (ifVersion !== undefined || ifAbsent === true) {
    const version = transaction.get(key)?.version;
    if (ifAbsent === true && version !== undefined) throw new ConflictError(key, { wanted: 'no key', version });
    if (ifVersion !== undefined && version !== ifVersion) throw new ConflictError(key, { wanted: `version ${ifVersion}`, version });
  }
  if (change.kind === 'delete') return { version: 0, found: transaction.delete(key) };
  return { version: transaction.set(key, change.value, { expiresMs: change.expiresMs }), found: false };
}

function isLarge(change: Change): change is LargeChange {
  return change.kind === 'set' && Buffer.isBuffer(change.value) && change.value.length > LIMITS.inlineBytesMax;
}

function isChanged(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'CHANGED';
}

function bytesOf(rows: readonly KeyRow[]): number {
  return rows.reduce((sum, { entry }) => sum + entry.bytes, 0);
}

/** How many rows have values of up to so many bytes together; at least one. */
function countUpTo(rows: readonly KeyRow[], bytesMax: number): number {
  let bytes = 0;
  const over = rows.findIndex(({ entry }, index) => (bytes += entry.bytes) > bytesMax && index > 0);
  return over < 0 ? rows.length : over;
}

/** Without a promise for each where all are there already, as small values are. */
function together<T>(values: readonly (T | Promise<T>)[]): readonly T[] | Promise<T[]> {
  return values.some((value) => value instanceof Promise) ? Promise.all(values) : (values as readonly T[]);
}
