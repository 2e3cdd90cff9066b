// What callers give to the store: its types, and the checks that make keys, values and bounds of it.
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import type { DamagedKeyError } from '../keys/errors.ts';
import type { KeyRange } from '../keys/key-space.ts';
import { checkTtl } from './lock.ts';

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
  /** It goes by itself then. Not with ttlMs. */
  readonly expires?: Date;
}

export interface DeleteOptions extends WriteOptions {
  readonly ifVersion?: number;
}

export type BatchOperation =
  | { readonly type: 'set'; readonly key: KeyLike; readonly value: string | Uint8Array; readonly ifVersion?: number; readonly ifAbsent?: boolean; readonly ttlMs?: number; readonly expires?: Date }
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
  /** Told of each key whose row cannot be read, and the range goes on behind it. Without it, the range ends with that error. */
  readonly onDamaged?: ((error: DamagedKeyError) => void) | undefined;
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

export async function* bytesOnly(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
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

export function expiryOf({ ttlMs, expires }: { readonly ttlMs?: number | undefined; readonly expires?: Date | undefined }): number {
  if (expires === undefined) return ttlMs === undefined ? 0 : Math.ceil(Date.now() + checkTtl(ttlMs));
  if (ttlMs !== undefined) throw new StoreError('INVALID', 'ttlMs and expires: give one');
  const ms = expires instanceof Date ? expires.getTime() : NaN;
  if (!(ms > 0)) throw new StoreError('INVALID', `expires ${String(expires)}: wants a Date after 1970`);
  return ms;
}

export function dateOf(expiresMs: number): Date | undefined {
  return expiresMs === 0 ? undefined : new Date(expiresMs);
}

export function conditionOf({ ifVersion, ifAbsent }: { readonly ifVersion?: number; readonly ifAbsent?: boolean }): { ifVersion?: number; ifAbsent?: boolean } {
  if (ifVersion === undefined) return ifAbsent === true ? { ifAbsent } : {};
  if (ifAbsent === true) throw new StoreError('INVALID', 'ifVersion and ifAbsent cannot both hold: give one');
  if (!Number.isSafeInteger(ifVersion) || ifVersion < 1) throw new StoreError('INVALID', `ifVersion ${ifVersion}: wants a version that set or getEntry gave`);
  return { ifVersion };
}

export function rangeOf({ prefix, gte, gt, lte, lt, reverse }: RangeOptions): KeyRange {
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
