// The hooks that the public Store is written over: once for the process that opened the store, once for one that reaches it by its socket.
import type { KeyRange } from '../keys/key-space.ts';
import type { LeaseGrant } from '../keys/leases.ts';

export type { LeaseGrant };

export interface FoundValue {
  readonly value: Buffer;
  readonly version: number;
  readonly expiresMs: number;
}

/** Opened for reading in pieces. */
export interface OpenValue {
  readonly bytes: number;
  readonly version: number;
  readonly expiresMs: number;
  /** StoreError CHANGED when it was replaced or deleted meanwhile. */
  read(offset: number, bytes: number): Promise<Buffer>;
}

export interface Condition {
  readonly ifVersion?: number | undefined;
  readonly ifAbsent?: boolean | undefined;
}

/** A value that was sent ahead in pieces, since it is large. Only its backend knows what it is. */
export interface StagedValue {
  readonly bytes: number;
}

export type Change =
  | ({ readonly kind: 'set'; readonly key: Buffer; readonly value: Buffer | StagedValue; readonly expiresMs: number } & Condition)
  | ({ readonly kind: 'delete'; readonly key: Buffer } & Condition)
  | { readonly kind: 'expire'; readonly key: Buffer; readonly expiresMs: number };

export function isStaged(change: Change): boolean {
  return change.kind === 'set' && !Buffer.isBuffer(change.value);
}

export interface ChangeResult {
  /** Of a set: the new one. */
  readonly version: number;
  /** Of a delete or expire: whether there was such a key. */
  readonly found: boolean;
}

export interface RangePage {
  readonly rows: readonly { readonly key: Buffer; readonly value: Buffer | undefined; readonly version: number; readonly expiresMs: number }[];
  /** False at the end of the range. */
  readonly more: boolean;
}

export interface StoreStatistics {
  readonly keys: number;
  readonly copies: number;
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly shards: readonly { readonly shard: number; readonly directory: string; readonly state: string; readonly blocks: number; readonly totalBytes: number; readonly availableBytes: number }[];
  /** Values with fewer good copies than wanted. */
  readonly degradedBlocks: number;
  /** Acknowledged, and not yet on the disks of the shards. */
  readonly pendingBytes: number;
}

/** `disk`: an existing directory, on which the shard gets one of its own; without it, it gets one in the store's. */
export type ShardChange =
  | { readonly action: 'add'; readonly disk?: string | undefined }
  | { readonly action: 'drain' | 'undrain'; readonly shard: number }
  | { readonly action: 'remove'; readonly shard: number; readonly force: boolean };

export interface StoreBackend {
  /** The number of the shard. StoreError as openStore; BUSY for one that is still needed. */
  changeShards(change: ShardChange): Promise<number>;
  get(key: Buffer): Promise<FoundValue | undefined>;
  getMany(keys: readonly Buffer[]): Promise<readonly (FoundValue | undefined)[]>;
  has(key: Buffer): Promise<boolean>;
  open(key: Buffer): Promise<OpenValue | undefined>;
  /** Values above LIMITS.inlineBytesMax may be staged, streams must be. */
  stage(value: Buffer | AsyncIterable<Uint8Array>): Promise<StagedValue>;
  /** Of a value that was not committed, or of which that is not known. */
  discard(value: StagedValue): void;
  /**
   * All or nothing. ConflictError. `sync`: power-proof when it resolves; where only that failed (UNAVAILABLE), all of it
   * was done, and may be undone by a power cut.
   */
  commit(changes: readonly Change[], options: { readonly sync: boolean }): Promise<ChangeResult[]>;
  page(range: KeyRange, options: { readonly limit: number; readonly values: boolean }): Promise<RangePage>;
  /** Undefined when it is held by somebody else for longer than `waitMs`. */
  acquire(name: Buffer, options: { readonly ttlMs: number; readonly waitMs: number }): Promise<LeaseGrant | undefined>;
  /** Undefined when it has expired, or was given to somebody else. */
  renew(name: Buffer, token: number, ttlMs: number): Promise<LeaseGrant | undefined>;
  release(name: Buffer, token: number): Promise<boolean>;
  statistics(): Promise<StoreStatistics>;
  sync(): Promise<void>;
  close(): Promise<void>;
}
