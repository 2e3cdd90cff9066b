// A store that the conformance suite runs on: how it is opened, and what it cannot do, with the reason.
import type { KeyLike, Store } from '../../src/store/store.ts';
import { afterAll, beforeAll, it } from 'vitest';

export interface StoreUnderTest {
  readonly store: Store;
  /** Another user of the same data at the same time. */
  second?(): Promise<Store>;
  /** Ends it as `close` does, and opens what is left. */
  reopen?(): Promise<Store>;
  /** Ends all its processes by SIGKILL, without a word to anybody, and opens what is left. */
  crash?(): Promise<Store>;
  /** Of all that was opened. */
  close(): Promise<void>;
}

/** What a way to reach a store may lack. */
export type Feature = 'versions' | 'ranges' | 'batches' | 'locks' | 'statistics' | 'expiry times' | 'streams' | 'reopen' | 'crash' | 'second';

/** For each that it lacks: why. */
export type Lacks = { readonly [feature in Feature]?: string };

type Test = (store: Store, key: (name?: string) => string) => Promise<void>;

/** One store for the tests of a group; each test has keys of its own. */
export class Group {
  readonly #open: () => Promise<StoreUnderTest>;
  readonly #lacks: Lacks;
  #under: StoreUnderTest | undefined;
  #tests = 0;

  constructor(open: () => Promise<StoreUnderTest>, lacks: Lacks) {
    this.#open = open;
    this.#lacks = lacks;
    beforeAll(async () => {
      this.#under = await open();
    });
    afterAll(async () => {
      await this.#under?.close();
    });
  }

  get under(): StoreUnderTest {
    return this.#under!;
  }

  /** Skipped, with the reason, where a feature that it needs is lacking. */
  test(name: string, needs: readonly Feature[], run: Test, timeoutMs?: number): void {
    it(name, { timeout: timeoutMs }, async ({ skip }) => {
      for (const feature of needs) if (this.#lacks[feature] !== undefined) skip(`${feature}: ${this.#lacks[feature]}`);
      const prefix = `test ${this.#tests++}/`;
      await run(this.under.store, (key = '') => `${prefix}${key}`);
    });
  }

  /** As test, on a store that this test may close. */
  testOnOwn(name: string, needs: readonly Feature[], run: (under: StoreUnderTest) => Promise<void>, timeoutMs?: number): void {
    it(name, { timeout: timeoutMs }, async ({ skip }) => {
      for (const feature of needs) if (this.#lacks[feature] !== undefined) skip(`${feature}: ${this.#lacks[feature]}`);
      const under = await this.#open();
      try {
        await run(under);
      } finally {
        await under.close();
      }
    });
  }

  /** As test, on the same store when nothing else is in it. */
  testOnEmpty(name: string, needs: readonly Feature[], run: (store: Store) => Promise<void>): void {
    this.test(name, [...needs, 'ranges'], async (store) => {
      await clear(store);
      await run(store);
      await clear(store);
    });
  }
}

async function clear(store: Store): Promise<void> {
  for await (const { key } of store.range({ values: false })) await store.delete(key);
}

export async function collect<T>(range: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of range) all.push(one);
  return all;
}

export async function keysOf(range: AsyncIterable<{ readonly key: Buffer }>): Promise<string[]> {
  return (await collect(range)).map(({ key }) => key.toString());
}

export async function readAll(stream: AsyncIterable<Uint8Array> | undefined): Promise<Buffer | undefined> {
  if (stream === undefined) return undefined;
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

export async function* piecesOf(data: Buffer, bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < data.length; at += bytes) yield data.subarray(at, at + bytes);
}

/** What somebody who does not know the types may give. */
export const unchecked = (value: unknown): never => value as never;

export const BAD_KEYS: readonly (readonly [string, KeyLike, string])[] = [
  ['a number', unchecked(7), 'INVALID'], ['null', unchecked(null), 'INVALID'], ['nothing', unchecked(undefined), 'INVALID'],
  ['an object', unchecked({}), 'INVALID'], ['an array', unchecked([1, 2]), 'INVALID'], ['1025 bytes', Buffer.alloc(1025), 'TOO_LARGE'],
  ['513 characters of two bytes', 'ä'.repeat(513), 'TOO_LARGE'],
];
