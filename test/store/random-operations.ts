// Random operations from a printed seed on a store and on a model of it, compared after every step and by two walks.
import assert from 'node:assert/strict';
import { it } from 'vitest';
import { bytesOf } from '../support/block-data.ts';
import { chances } from '../support/chances.ts';
import type { BatchOperation, RangeOptions, SetOptions, Store } from '../../src/store/store.ts';
import { collect, readAll } from './under-test.ts';

const STEPS_DEFAULT = 1500;
const SEED = Number(process.env['SDFS_STORE_SEED'] ?? Date.now() % 1_000_000);
const STEPS_PER_WALK = 100;
/** So long that none goes during a test. */
const TTL_MS = 10_000_000;
const NEVER = 2 ** 50;

interface Row {
  readonly value: Buffer;
  readonly version: number;
  readonly expires: boolean;
}

/** What a fault is called, and what does it: resolves with the store to go on with. */
export type Faults = Readonly<Record<string, (store: Store) => Promise<Store>>>;

class Run {
  readonly #chance: () => number;
  /** By the key as latin1, which sorts as its bytes do. */
  readonly #rows = new Map<string, Row>();
  #lastVersion = 0;
  readonly history: string[] = [];

  constructor(seed: number) {
    this.#chance = chances(seed);
  }

  below(end: number): number {
    return Math.floor(this.#chance() * end);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Few enough that keys meet again; some are neighbours, some long, some no text. */
  #key(): Buffer {
    const number = this.below(60);
    const kind = this.below(10);
    if (kind === 0) return Buffer.alloc(1 + number * 17, number);
    if (kind === 1) return Buffer.of(0xff, number, 0);
    return Buffer.from(`${this.pick(['a', 'b', 'ab'])}/${number}`);
  }

  #value(): Buffer {
    const bytes = this.pick([0, 5, 100, 256, 257, 3000, 16_384, 16_385, 60_000, 400_000, 1_200_000]);
    return bytesOf(this.below(1 << 30), Math.max(0, bytes - this.below(3)));
  }

  #condition(key: Buffer): { ifVersion?: number; ifAbsent?: boolean } {
    const kind = this.below(8);
    if (kind === 0) return { ifAbsent: true };
    if (kind === 1) return { ifVersion: this.#rows.get(key.toString('latin1'))?.version ?? NEVER };
    if (kind === 2) return { ifVersion: Math.max(1, this.#lastVersion - this.below(3)) };
    return {};
  }

  #holds(rows: ReadonlyMap<string, Row>, key: Buffer, { ifVersion, ifAbsent }: { ifVersion?: number; ifAbsent?: boolean }): boolean {
    const row = rows.get(key.toString('latin1'));
    return ifAbsent === true ? row === undefined : ifVersion === undefined || row?.version === ifVersion;
  }

  #takeVersion(version: number): number {
    if (version <= this.#lastVersion) throw new Error(`version ${version} after ${this.#lastVersion}`);
    return (this.#lastVersion = version);
  }

  /** One operation on the store, and what it should have done. */
  async step(store: Store): Promise<void> {
    const key = this.#key();
    const name = key.toString('latin1');
    const kind = this.pick(['get', 'getMany', 'stream', 'set', 'set', 'set', 'delete', 'expire', 'batch', 'range'] as const);
    this.history.push(`${kind} ${key.toString('hex').slice(0, 40)}`);
    const row = this.#rows.get(name);
    if (kind === 'get') {
      const entry = await store.getEntry(key);
      this.#same(entry === undefined ? undefined : { value: entry.value, version: entry.version, expires: entry.expires !== undefined }, row);
      assert.deepEqual(await store.has(key), row !== undefined);
    } else if (kind === 'getMany') {
      const keys = [key, this.#key(), this.#key()];
      const found = await store.getMany(keys);
      keys.forEach((one, index) => this.#sameBytes(found[index], this.#rows.get(one.toString('latin1'))?.value));
    } else if (kind === 'stream') this.#sameBytes(await readAll(await store.getStream(key)), row?.value);
    else if (kind === 'set') await this.#set(store, key);
    else if (kind === 'delete') {
      const { ifVersion } = this.#condition(key);
      const options = ifVersion === undefined ? {} : { ifVersion };
      const outcome = await store.delete(key, options).catch((error: { code: string }) => error.code);
      assert.deepEqual(outcome, this.#holds(this.#rows, key, options) ? row !== undefined : 'CONFLICT');
      if (outcome === true) this.#rows.delete(name);
    } else if (kind === 'expire') {
      const expires = this.below(2) === 0;
      assert.deepEqual(await store.expire(key, expires ? TTL_MS : null), row !== undefined);
      if (row !== undefined) this.#rows.set(name, { ...row, expires });
    } else if (kind === 'batch') await this.#batch(store);
    else await this.#range(store);
  }

  async #set(store: Store, key: Buffer): Promise<void> {
    const value = this.#value();
    const expires = this.below(6) === 0;
    const options: SetOptions = { ...this.#condition(key), ...(expires ? { ttlMs: TTL_MS } : {}), ...(this.below(10) === 0 ? { sync: true } : {}) };
    const streamed = this.below(8) === 0;
    const outcome = await store.set(key, streamed ? (async function* pieces() { yield value.subarray(0, 7); yield value.subarray(7); })() : value, options).catch((error: { code: string }) => error.code);
    if (!this.#holds(this.#rows, key, options)) assert.deepEqual(outcome, 'CONFLICT');
    else {
      if (typeof outcome !== 'number') throw new Error(`set: ${outcome}`);
      this.#rows.set(key.toString('latin1'), { value, version: this.#takeVersion(outcome), expires });
    }
  }

  async #batch(store: Store): Promise<void> {
    const operations: BatchOperation[] = Array.from({ length: 1 + this.below(12) }, () => {
      const key = this.#key();
      const condition = this.below(4) === 0 ? this.#condition(key) : {};
      if (this.below(3) > 0) return { type: 'set', key, value: this.#value(), ...condition };
      return { type: 'delete', key, ...(condition.ifVersion === undefined ? {} : { ifVersion: condition.ifVersion }) };
    });
    const outcome = await store.batch(operations).catch((error: { code: string }) => error.code);
    const after = new Map(this.#rows);
    let possible = true;
    for (const [index, operation] of operations.entries()) {
      possible &&= this.#holds(after, operation.key as Buffer, operation);
      const name = (operation.key as Buffer).toString('latin1');
      if (operation.type === 'delete') after.delete(name);
      // Larger than any that a condition names, when the versions are not known because it failed.
      else after.set(name, { value: operation.value as Buffer, version: Array.isArray(outcome) ? outcome[index]! : NEVER + 1, expires: false });
    }
    if (!possible) {
      assert.deepEqual(outcome, 'CONFLICT');
      return;
    }
    if (!Array.isArray(outcome)) throw new Error(`batch: ${outcome}`);
    outcome.forEach((version, index) => (operations[index]!.type === 'delete' ? assert.deepEqual(version, 0) : this.#takeVersion(version)));
    this.#rows.clear();
    for (const [name, row] of after) this.#rows.set(name, row);
  }

  async #range(store: Store): Promise<void> {
    const bounds = [this.#key(), this.#key()].toSorted(Buffer.compare) as [Buffer, Buffer];
    const reverse = this.below(2) === 0;
    const limit = this.below(30);
    const options: RangeOptions = this.below(2) === 0 ? { gte: bounds[0], lt: bounds[1], reverse, limit } : { gt: bounds[0], lte: bounds[1], reverse, limit };
    const [low, high] = bounds.map((bound) => bound.toString('latin1')) as [string, string];
    const names = [...this.#rows.keys()].toSorted().filter((name) => (options.gte === undefined ? name > low && name <= high : name >= low && name < high));
    const wanted = (reverse ? names.toReversed() : names).slice(0, limit);
    const found = await collect(store.range(options));
    assert.deepEqual(found.map(({ key }) => key.toString('latin1')), wanted);
    for (const { key, value, version, expires } of found) this.#same({ value, version, expires: expires !== undefined }, this.#rows.get(key.toString('latin1')));
  }

  /** All of it, by a range and by single gets. */
  async walk(store: Store): Promise<void> {
    const names = [...this.#rows.keys()].toSorted();
    const found = await collect(store.range({ values: false, reverse: true }));
    assert.deepEqual(found.map(({ key }) => key.toString('latin1')).toReversed(), names);
    for (const { key, value, version, expires } of await collect(store.range())) this.#same({ value, version, expires: expires !== undefined }, this.#rows.get(key.toString('latin1')));
    for (const [name, row] of this.#rows) {
      const entry = await store.getEntry(Buffer.from(name, 'latin1'));
      this.#same(entry === undefined ? undefined : { value: entry.value, version: entry.version, expires: entry.expires !== undefined }, row);
    }
  }

  #same(found: Row | undefined, wanted: Row | undefined): void {
    assert.deepEqual(found && [found.version, found.expires], wanted && [wanted.version, wanted.expires]);
    this.#sameBytes(found?.value, wanted?.value);
  }

  #sameBytes(found: Buffer | undefined, wanted: Buffer | undefined): void {
    assert.equal(found?.length, wanted?.length);
    if (found !== undefined && !found.equals(wanted!)) throw new Error(`other bytes in a value of ${found.length}`);
  }
}

/** `open` gives a store and the faults that it is to stand; `close` ends all. */
export function testRandomOperations(name: string, open: () => Promise<{ store: Store; faults: Faults; stepsPerFault: number; close(): Promise<void> }>, { steps: stepsDefault = STEPS_DEFAULT }: { steps?: number } = {}): void {
  const steps = Number(process.env['SDFS_STORE_STEPS'] ?? stepsDefault);
  it(`${name} does what the model does (SDFS_STORE_SEED=${SEED} SDFS_STORE_STEPS=${steps})`, { timeout: 120_000 + steps * 60 }, async () => {
    const { store: first, faults, stepsPerFault, close } = await open();
    const run = new Run(SEED);
    let store = first;
    try {
      for (let count = 1; count <= steps; count++) {
        await run.step(store);
        if (count % stepsPerFault === 0 && Object.keys(faults).length > 0) {
          const fault = run.pick(Object.keys(faults));
          run.history.push(fault);
          store = await faults[fault]!(store);
        }
        if (count % STEPS_PER_WALK === 0) await run.walk(store);
      }
    } catch (error) {
      throw new Error(`step ${run.history.length}, after:\n${run.history.slice(-12).join('\n')}`, { cause: error });
    } finally {
      await close();
    }
  });
}
