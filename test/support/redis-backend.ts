// A backend of the store over the Redis protocol, by ioredis, which nobody here wrote: what Redis has of what the store has.
import type { Redis } from 'ioredis';
import { ConflictError, StoreError } from '../../src/keys/errors.ts';
import type { Change, ChangeResult, FoundValue, StagedValue, StoreBackend } from '../../src/backend/backend.ts';
import { LIMITS } from '../../src/base/limits.ts';

/** What the conformance suite need not look for through it, and why. */
export const NOT_IN_REDIS = {
  versions: 'the Redis protocol has none', ranges: 'SCAN has no order', batches: 'MULTI is not served; MSET has its own tests', locks: 'the Redis protocol has none',
  statistics: 'the Redis protocol has none', streams: 'the Redis protocol has none',
} as const;

/** In memory: the protocol has no streams. */
interface Staged extends StagedValue {
  readonly data: Buffer;
}

const lacks = (what: string) => (): never => {
  throw new Error(`the Redis protocol has no ${what}: declare it`);
};

export class RedisBackend implements StoreBackend {
  readonly #redis: Redis;
  #calls = new Set<Promise<unknown>>();

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async get(key: Buffer): Promise<FoundValue | undefined> {
    const [value, expiresMs] = await this.#call(Promise.all([this.#redis.getBuffer(key), this.#redis.call('PEXPIRETIME', key) as Promise<number>]));
    return value === null ? undefined : { value, version: 0, expiresMs: Math.max(0, expiresMs) };
  }

  async getMany(keys: readonly Buffer[]): Promise<(FoundValue | undefined)[]> {
    if (keys.length === 0) return [];
    return (await this.#call(this.#redis.mgetBuffer(...keys))).map((value) => (value === null ? undefined : { value, version: 0, expiresMs: 0 }));
  }

  async has(key: Buffer): Promise<boolean> {
    return (await this.#call(this.#redis.exists(key))) === 1;
  }

  async stage(value: Buffer | AsyncIterable<Uint8Array>): Promise<Staged> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of Buffer.isBuffer(value) ? [value] : value) {
      pieces.push(piece);
      if ((bytes += piece.length) > LIMITS.valueBytesMax) throw new StoreError('TOO_LARGE', 'a stream above the limit');
    }
    return { bytes, data: Buffer.concat(pieces) };
  }

  discard(): void {}

  async commit(changes: readonly Change[]): Promise<ChangeResult[]> {
    if (changes.length > 1) return lacks('batches')();
    return Promise.all(changes.map((change) => this.#commitOne(change)));
  }

  async #commitOne(change: Change): Promise<ChangeResult> {
    const { key } = change;
    if (change.kind === 'delete') return { version: 0, found: (await this.#call(this.#redis.del(key))) === 1 };
    if (change.kind === 'expire') return { version: 0, found: await this.#expire(key, change.expiresMs) };
    const value = Buffer.isBuffer(change.value) ? change.value : (change.value as Staged).data;
    const words: (string | number | Buffer)[] = [key, value];
    if (change.expiresMs !== 0) words.push('PX', Math.max(1, change.expiresMs - Date.now()));
    if (change.ifAbsent === true) words.push('NX');
    if ((await this.#call(this.#redis.call('SET', words))) === null) throw new ConflictError(key, { wanted: 'no key', version: 0 });
    return { version: 0, found: false };
  }

  async #expire(key: Buffer, expiresMs: number): Promise<boolean> {
    if (expiresMs !== 0) return (await this.#call(this.#redis.pexpire(key, Math.max(1, expiresMs - Date.now())))) === 1;
    // PERSIST says 0 for a key that never goes, too.
    const answers = await this.#call(Promise.all([this.#redis.persist(key), this.#redis.exists(key)]));
    return answers[1] === 1;
  }

  #call<T>(call: Promise<T>): Promise<T> {
    this.#calls.add(call);
    call.catch(() => {}).finally(() => this.#calls.delete(call));
    return call;
  }

  /** The server of this test is process-proof when it answers, and syncs by itself. */
  async sync(): Promise<void> {}

  async close(): Promise<void> {
    await Promise.allSettled(this.#calls);
    this.#redis.disconnect();
  }

  open = lacks('streams');
  page = lacks('ranges');
  acquire = lacks('locks');
  renew = lacks('locks');
  release = lacks('locks');
  statistics = lacks('statistics of shards');
  changeShards = lacks('shards');
}
