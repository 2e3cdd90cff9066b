// What the benchmark of keys runs on: a store, or LMDB.
import { open } from 'lmdb';
import type { Store } from '../store/store.ts';

export interface BenchTarget {
  set(key: Buffer, value: Buffer): Promise<unknown>;
  get(key: Buffer): Promise<Buffer | undefined>;
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>;
  setMany(entries: readonly (readonly [key: Buffer, value: Buffer])[]): Promise<unknown>;
  deleteMany(keys: readonly Buffer[]): Promise<unknown>;
  /** Entries seen from `start` up to, not including, `end`. */
  scan(start: Buffer, end: Buffer): Promise<number>;
}

export function storeTarget(store: Store, { sync }: { readonly sync: boolean }): BenchTarget {
  return {
    set: (key, value) => store.set(key, value, { sync }),
    get: (key) => store.get(key),
    getMany: (keys) => store.getMany(keys),
    setMany: (entries) => store.batch(entries.map(([key, value]) => ({ type: 'set', key, value })), { sync }),
    deleteMany: (keys) => store.batch(keys.map((key) => ({ type: 'delete', key })), { sync }),
    scan: async (start, end) => {
      let seen = 0;
      for await (const { value } of store.range({ gte: start, lt: end })) seen += value.length > 0 ? 1 : 0;
      return seen;
    },
  };
}

/** With the same durability: without `sync` a change is process-proof when it counts (noSync), with it flushed. */
export function lmdbTarget(path: string, { sync }: { readonly sync: boolean }): BenchTarget & { close(): Promise<void> } {
  const database = open<Buffer, Buffer>({ path, keyEncoding: 'binary', encoding: 'binary', noSync: !sync });
  const done = async (change: Promise<unknown>): Promise<void> => {
    await change;
    if (sync) await database.flushed;
  };
  return {
    set: (key, value) => done(database.put(key, value)),
    get: async (key) => database.getBinary(key),
    getMany: async (keys) => keys.map((key) => database.getBinary(key)),
    setMany: (entries) => done(database.transaction(() => { for (const [key, value] of entries) database.putSync(key, value); })),
    deleteMany: (keys) => done(database.transaction(() => { for (const key of keys) database.removeSync(key); })),
    scan: async (start, end) => {
      let seen = 0;
      for (const { value } of database.getRange({ start, end })) seen += value.length > 0 ? 1 : 0;
      return seen;
    },
    close: () => database.close(),
  };
}
