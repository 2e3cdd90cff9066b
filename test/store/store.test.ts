// Every method of the store, and every bad input, over key spaces in memory.
import { Readable } from 'node:stream';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { ConflictError } from '../../src/keys/errors.ts';
import type { RangeEntry, RangeOptions, Store } from '../../src/store/store.ts';
import { modelStore } from '../support/model-store.ts';
import type { ModelStore } from '../support/model-store.ts';

const { inlineBytesMax, keyBytesMax, valueBytesMax, rowValueBytesMax, blockBytesMax, batchBytesMax } = LIMITS;

let made: ModelStore;
let store: Store;

beforeEach(() => {
  made = modelStore();
  store = made.store;
});

async function entriesOf(options?: RangeOptions): Promise<RangeEntry[]> {
  const entries: RangeEntry[] = [];
  for await (const entry of store.range(options)) entries.push(entry);
  return entries;
}

const keysOf = async (options?: RangeOptions) => (await entriesOf(options)).map(({ key }) => key.toString());
const code = (wanted: string) => expect.objectContaining({ name: 'StoreError', code: wanted });

describe('set and get', () => {
  test.each([0, 1, rowValueBytesMax, rowValueBytesMax + 1, inlineBytesMax, inlineBytesMax + 1, blockBytesMax, 3 * blockBytesMax + 17])('a value of %i bytes comes back', async (bytes) => {
    const value = Buffer.alloc(bytes, 'value ');
    const version = await store.set('key', value);
    expect((await store.get('key'))!.equals(value)).toBe(true);
    expect(await store.getEntry('key')).toMatchObject({ version, expires: undefined });
    expect(Buffer.concat(await (await store.getStream('key'))!.toArray()).equals(value)).toBe(true);
    expect(await store.has('key')).toBe(true);
  });

  test('keys and values are text or bytes, and text is UTF-8', async () => {
    await store.set('clé', 'çà');
    expect(await store.get(Buffer.from('clé'))).toEqual(Buffer.from('çà'));
    await store.set(Uint8Array.of(0, 255), Uint8Array.of(1, 2));
    expect(await store.get(Buffer.of(0, 255))).toEqual(Buffer.of(1, 2));
    await store.set('', '');
    expect(await store.get(new Uint8Array())).toEqual(Buffer.alloc(0));
    await store.set(Buffer.alloc(keyBytesMax, 1), 'long');
    expect(await store.get(Buffer.alloc(keyBytesMax, 1))).toEqual(Buffer.from('long'));
  });

  test('what is not there is undefined', async () => {
    expect([await store.get('a'), await store.getEntry('a'), await store.getStream('a'), await store.has('a'), await store.getMany(['a', 'b'])]).toEqual([undefined, undefined, undefined, false, [undefined, undefined]]);
  });

  test('many are in the order in which they were asked for', async () => {
    const large = Buffer.alloc(inlineBytesMax + 1, 'l');
    await store.set('a', 'A');
    await store.set('l', large);
    expect(await store.getMany(['l', 'x', 'a', 'a'])).toEqual([large, undefined, Buffer.from('A'), Buffer.from('A')]);
    expect(await store.getMany([])).toEqual([]);
  });

  test('neither what was given nor what was got is shared with the store', async () => {
    const [key, value] = [Buffer.from('key'), Buffer.from('value')];
    const set = store.set(key, value);
    value.fill('x');
    key.fill('x');
    await set;
    const got = (await store.get('key'))!;
    expect(got.toString()).toBe('value');
    got.fill('y');
    for await (const entry of store.range()) entry.value.fill('z');
    expect((await store.get('key'))!.toString()).toBe('value');
  });

  test('streams of any length are values', async () => {
    for (const bytes of [0, 10, inlineBytesMax + 1, 2 * blockBytesMax]) {
      await store.set('key', Readable.from([Buffer.alloc(Math.floor(bytes / 2), 'a'), Buffer.alloc(Math.ceil(bytes / 2), 'b')]));
      expect((await store.get('key'))!.length).toBe(bytes);
    }
    expect(made.keys.prepared.size).toBe(0);
  });

  test('a stream that fails, is of text, or too long, sets nothing', async () => {
    async function* failing() {
      yield Buffer.alloc(100_000);
      throw new Error('no more');
    }
    await expect(store.set('key', failing())).rejects.toThrow('no more');
    await expect(store.set('key', Readable.from(['text']) as never)).rejects.toEqual(code('INVALID'));
    async function* long() {
      const piece = Buffer.alloc(blockBytesMax);
      for (let bytes = 0; bytes <= valueBytesMax; bytes += piece.length) yield piece;
    }
    await expect(store.set('key', long())).rejects.toEqual(code('TOO_LARGE'));
    expect([await store.has('key'), made.keys.prepared.size]).toEqual([false, 0]);
  });

  test('a stream of a value that is replaced meanwhile ends with CHANGED', async () => {
    await store.set('key', Buffer.alloc(3 * blockBytesMax));
    const pieces = (await store.getStream('key'))!.iterator();
    await pieces.next();
    await store.set('key', 'new');
    await expect((async () => { while ((await pieces.next()).done !== true); })()).rejects.toEqual(code('CHANGED'));
  });
});

describe('conditions', () => {
  test('ifAbsent sets what is not there, and nothing else', async () => {
    const version = await store.set('key', '1', { ifAbsent: true });
    const conflict = await store.set('key', '2', { ifAbsent: true }).catch((error: unknown) => error);
    expect(conflict).toBeInstanceOf(ConflictError);
    expect(conflict).toMatchObject({ code: 'CONFLICT', key: Buffer.from('key'), version });
    expect((await store.get('key'))!.toString()).toBe('1');
  });

  test('ifVersion sets and deletes what nobody changed', async () => {
    const first = await store.set('key', '1');
    const second = await store.set('key', '2', { ifVersion: first });
    expect(second).toBeGreaterThan(first);
    await expect(store.set('key', '3', { ifVersion: first })).rejects.toMatchObject({ code: 'CONFLICT', version: second });
    await expect(store.delete('key', { ifVersion: first })).rejects.toMatchObject({ code: 'CONFLICT', version: second });
    expect(await store.delete('key', { ifVersion: second })).toBe(true);
    await expect(store.set('key', '3', { ifVersion: second })).rejects.toMatchObject({ code: 'CONFLICT', version: undefined });
  });

  test('a key that was deleted and set again has another version', async () => {
    const first = await store.set('key', '1');
    await store.delete('key');
    await store.set('key', '1');
    await expect(store.set('key', '2', { ifVersion: first })).rejects.toEqual(expect.any(ConflictError));
  });

  test('of many who add one to a number none is lost', async () => {
    await store.set('count', '0');
    async function add(): Promise<void> {
      for (;;) {
        const { value, version } = (await store.getEntry('count'))!;
        try {
          await store.set('count', String(Number(value.toString()) + 1), { ifVersion: version });
          return;
        } catch (error) {
          if (!(error instanceof ConflictError)) throw error;
        }
      }
    }
    await Promise.all(Array.from({ length: 40 }, add));
    expect((await store.get('count'))!.toString()).toBe('40');
  });

  test('a large value of a condition that fails is given back', async () => {
    await store.set('key', '1');
    await expect(store.set('key', Buffer.alloc(100_000), { ifAbsent: true })).rejects.toEqual(expect.any(ConflictError));
    expect(made.keys.prepared.size).toBe(0);
  });
});

describe('delete and expire', () => {
  test('a delete says whether there was such a key', async () => {
    await store.set('key', '1');
    expect([await store.delete('key'), await store.delete('key'), await store.has('key')]).toEqual([true, false, false]);
  });

  test('a key goes by itself, unless its time is taken away', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => { vi.useRealTimers(); });
    await store.set('a', '1', { ttlMs: 20 });
    await store.set('b', '1', { ttlMs: 20 });
    await store.set('c', '1');
    expect((await store.getEntry('a'))!.expires!.getTime()).toBeGreaterThan(Date.now());
    expect([await store.expire('b', null), await store.expire('c', 20), await store.expire('x', 20)]).toEqual([true, true, false]);
    vi.setSystemTime(Date.now() + 40);
    expect(await keysOf()).toEqual(['b']);
    expect([await store.get('a'), await store.has('c'), await store.delete('a'), await store.expire('a', 1000)]).toEqual([undefined, false, false, false]);
    await store.set('a', 'again', { ifAbsent: true });
  });

  test('a set without a time takes away the time that there was', async () => {
    await store.set('a', '1', { ttlMs: 60_000 });
    await store.set('a', '2');
    expect((await store.getEntry('a'))!.expires).toBeUndefined();
  });
});

describe('batches', () => {
  test('are carried out as a whole, and say the versions', async () => {
    await store.set('old', '1');
    const versions = await store.batch([{ type: 'set', key: 'a', value: '1' }, { type: 'delete', key: 'old' }, { type: 'set', key: 'l', value: Buffer.alloc(100_000) }, { type: 'set', key: 'a', value: '2', ttlMs: 60_000 }]);
    expect(versions).toEqual([expect.any(Number), 0, expect.any(Number), expect.any(Number)]);
    expect(await keysOf()).toEqual(['a', 'l']);
    expect(await store.getEntry('a')).toMatchObject({ value: Buffer.from('2'), version: versions[3], expires: expect.any(Date) });
    expect(await store.batch([])).toEqual([]);
  });

  test('do nothing when a condition, a key or a value is not right', async () => {
    await store.set('there', '1');
    const large = { type: 'set', key: 'l', value: Buffer.alloc(100_000) } as const;
    await expect(store.batch([large, { type: 'set', key: 'a', value: '1' }, { type: 'set', key: 'there', value: '2', ifAbsent: true }])).rejects.toEqual(expect.any(ConflictError));
    await expect(store.batch([large, { type: 'delete', key: 'x', ifVersion: 7 }])).rejects.toEqual(expect.any(ConflictError));
    await expect(store.batch([large, { type: 'delete', key: Buffer.alloc(keyBytesMax + 1) }])).rejects.toEqual(code('TOO_LARGE'));
    await expect(store.batch([large, { type: 'set', key: 'b', value: 7 as never }])).rejects.toEqual(code('INVALID'));
    await expect(store.batch([large, { type: 'put', key: 'b', value: '7' } as never])).rejects.toEqual(code('INVALID'));
    await expect(store.batch('set' as never)).rejects.toEqual(code('INVALID'));
    expect([await keysOf(), made.keys.prepared.size]).toEqual([['there'], 0]);
  });

  test('of more bytes than there is room for are TOO_LARGE, and do nothing', async () => {
    const value = Buffer.alloc(inlineBytesMax, 1);
    const operations = Array.from({ length: Math.floor(batchBytesMax / inlineBytesMax) + 1 }, (_, index) => ({ type: 'set', key: `k${index}`, value }) as const);
    await expect(store.batch(operations)).rejects.toEqual(code('TOO_LARGE'));
    expect(await keysOf()).toEqual([]);
    await store.batch(operations.slice(0, -2));
    expect((await keysOf()).length).toBe(operations.length - 2);
  });

  test('see what they did themselves', async () => {
    await expect(store.batch([{ type: 'set', key: 'a', value: '1' }, { type: 'set', key: 'a', value: '2', ifAbsent: true }])).rejects.toEqual(expect.any(ConflictError));
    await store.set('a', '1');
    await store.batch([{ type: 'delete', key: 'a' }, { type: 'set', key: 'a', value: '2', ifAbsent: true }]);
    expect((await store.get('a'))!.toString()).toBe('2');
  });
});

describe('ranges', () => {
  beforeEach(async () => {
    await store.batch(['a', 'ab', 'b', 'ba', 'bb', 'c'].map((key) => ({ type: 'set', key, value: key })));
  });

  test.each<[RangeOptions, string]>([
    [{}, 'a ab b ba bb c'],
    [{ reverse: true }, 'c bb ba b ab a'],
    [{ gte: 'ab' }, 'ab b ba bb c'],
    [{ gt: 'ab' }, 'b ba bb c'],
    [{ lt: 'ba' }, 'a ab b'],
    [{ lte: 'ba' }, 'a ab b ba'],
    [{ gt: 'a', lt: 'bb', reverse: true }, 'ba b ab'],
    [{ prefix: 'b' }, 'b ba bb'],
    [{ prefix: 'b', reverse: true, limit: 2 }, 'bb ba'],
    [{ prefix: 'x' }, ''],
    [{ limit: 0 }, ''],
    [{ gte: 'b', limit: 1 }, 'b'],
    [{ gte: 'c', lt: 'a' }, ''],
    [{ prefix: '' }, 'a ab b ba bb c'],
  ])('%j', async (options, wanted) => {
    expect((await keysOf(options)).join(' ')).toBe(wanted);
  });

  test('a prefix of bytes 255 has no end', async () => {
    await store.set(Buffer.of(255, 255, 1), 'x');
    expect((await entriesOf({ prefix: Buffer.of(255) })).length).toBe(1);
  });

  test('give values and versions, or leave the values out', async () => {
    const entries = await entriesOf({ limit: 2 });
    expect(entries).toEqual([{ key: Buffer.from('a'), value: Buffer.from('a'), version: 1, expires: undefined }, { key: Buffer.from('ab'), value: Buffer.from('ab'), version: 2, expires: undefined }]);
    expect((await entriesOf({ limit: 1, values: false }))[0]!.value.length).toBe(0);
  });

  test('of thousands of keys have each once, in either direction', async () => {
    const all = Array.from({ length: 3000 }, (_, index) => `n${String(index).padStart(5, '0')}`);
    for (let at = 0; at < all.length; at += 500) await store.batch(all.slice(at, at + 500).map((key) => ({ type: 'set', key, value: key })));
    expect(await keysOf({ prefix: 'n' })).toEqual(all);
    expect(await keysOf({ prefix: 'n', reverse: true })).toEqual(all.toReversed());
    expect(await keysOf({ prefix: 'n', limit: 1000 })).toEqual(all.slice(0, 1000));
  });

  test('go on while what they pass is changed and deleted', async () => {
    const seen: string[] = [];
    for await (const { key } of store.range()) {
      seen.push(key.toString());
      await store.delete(key);
      await store.set(`a${seen.length}`, 'new');
    }
    expect(seen.filter((key) => ['a', 'ab', 'b', 'ba', 'bb', 'c'].includes(key))).toEqual(['a', 'ab', 'b', 'ba', 'bb', 'c']);
  });

  test.each<[string, RangeOptions]>([
    ['a prefix and bounds', { prefix: 'a', gte: 'b' }],
    ['gt and gte', { gt: 'a', gte: 'a' }],
    ['lt and lte', { lt: 'a', lte: 'a' }],
    ['a negative limit', { limit: -1 }],
    ['a limit that is no whole number', { limit: 1.5 }],
    ['a limit that is no number', { limit: 'x' as never }],
    ['a bound that is no key', { gte: 7 as never }],
  ])('refuse %s', async (_, options) => {
    await expect(keysOf(options)).rejects.toEqual(code('INVALID'));
  });
});

describe('bad input', () => {
  const badKeys: [string, unknown, string][] = [['undefined', undefined, 'INVALID'], ['null', null, 'INVALID'], ['a number', 7, 'INVALID'], ['an array', [1], 'INVALID'], ['a key that is too long', 'x'.repeat(keyBytesMax + 1), 'TOO_LARGE'], ['a key that is too long in UTF-8', 'é'.repeat(keyBytesMax / 2 + 1), 'TOO_LARGE']];

  test.each(badKeys)('%s as a key is refused by every method', async (_, bad, wanted) => {
    const key = bad as string;
    for (const call of [() => store.get(key), () => store.getEntry(key), () => store.getMany(['a', key]), () => store.getStream(key), () => store.has(key), () => store.set(key, '1'), () => store.delete(key), () => store.expire(key, 10), () => store.batch([{ type: 'set', key, value: '1' }]), () => store.lock(key, { ttlMs: 10 }), () => store.lease(key, { ttlMs: 10 })]) {
      await expect(call()).rejects.toEqual(code(wanted));
    }
    if (bad !== undefined) await expect(keysOf({ prefix: key })).rejects.toEqual(code(wanted));
  });

  test.each([['undefined', undefined], ['null', null], ['a number', 7], ['an object', {}], ['an array', ['a']], ['a buffer without a view', new ArrayBuffer(3)]])('%s as a value is refused', async (_, value) => {
    await expect(store.set('key', value as never)).rejects.toEqual(code('INVALID'));
    await expect(store.batch([{ type: 'set', key: 'key', value: value as never }])).rejects.toEqual(code('INVALID'));
    expect(await store.has('key')).toBe(false);
  });

  test('a value above the limit is TOO_LARGE', async () => {
    await expect(store.set('key', Buffer.alloc(valueBytesMax + 1))).rejects.toEqual(code('TOO_LARGE'));
  });

  test.each([0, -1, NaN, Infinity, LIMITS.ttlMsMax + 1, '5' as never, null as never])('%s as a time to live is refused', async (ttlMs) => {
    for (const call of [() => store.set('key', '1', { ttlMs }), () => store.batch([{ type: 'set', key: 'key', value: '1', ttlMs }]), () => store.lock('key', { ttlMs }), () => store.lease('key', { ttlMs })]) await expect(call()).rejects.toEqual(code('INVALID'));
    if (ttlMs !== null) await expect(store.expire('key', ttlMs)).rejects.toEqual(code('INVALID'));
    expect(await store.has('key')).toBe(false);
  });

  test.each([0, -1, 1.5, NaN, '1' as never])('%s as a version is refused', async (ifVersion) => {
    await expect(store.set('key', '1', { ifVersion })).rejects.toEqual(code('INVALID'));
    await expect(store.delete('key', { ifVersion })).rejects.toEqual(code('INVALID'));
  });

  test('two conditions at once, and waits that are no numbers, are refused', async () => {
    await expect(store.set('key', '1', { ifVersion: 1, ifAbsent: true })).rejects.toEqual(code('INVALID'));
    for (const waitMs of [-1, NaN, 'x' as never]) await expect(store.lock('key', { ttlMs: 10, waitMs })).rejects.toEqual(code('INVALID'));
  });
});
