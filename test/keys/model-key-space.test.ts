// The model of a key space keeps what key-space.ts says, so that others can be compared with it.
import { expect, test } from 'vitest';
import { ModelKeySpace } from '../support/model-key-space.ts';

const key = (text: string) => Buffer.from(text);

test('a transaction that throws leaves keys, values and prepared values as they were', async () => {
  const keys = new ModelKeySpace();
  const large = await keys.prepare(Buffer.alloc(100_000, 1));
  const before = keys.transact((transaction) => transaction.set(key('a'), Buffer.from('old')));
  expect(() => keys.transact((transaction) => {
    transaction.set(key('a'), large);
    transaction.delete(key('a'));
    transaction.set(key('b'), Buffer.from('new'));
    throw new Error('no');
  })).toThrow('no');
  expect(large.used).toBe(false);
  expect(keys.get(key('a'))?.version).toBe(before);
  expect(keys.get(key('b'))).toBeUndefined();
  expect(keys.transact((transaction) => transaction.set(key('c'), large))).toBeGreaterThan(before);
  expect(keys.prepared.size).toBe(0);
});

test('a group that throws takes back what its transactions did', () => {
  const keys = new ModelKeySpace();
  expect(() => keys.group(() => {
    keys.transact((transaction) => transaction.set(key('a'), Buffer.from('1')));
    expect(keys.get(key('a'))).toBeDefined();
    throw new Error('no');
  })).toThrow('no');
  expect(keys.count).toBe(0);
  keys.transact((transaction) => transaction.set(key('b'), Buffer.from('2')));
  expect(() => keys.transact(() => { throw new Error('no'); })).toThrow('no');
  expect(keys.count).toBe(1);
});

test('a transaction that throws inside a group leaves those before it', () => {
  const keys = new ModelKeySpace();
  keys.group(() => {
    keys.transact((transaction) => transaction.set(key('a'), Buffer.from('1')));
    expect(() => keys.transact((transaction) => {
      transaction.set(key('a'), Buffer.from('2'));
      throw new Error('no');
    })).toThrow('no');
  });
  expect(keys.load(keys.get(key('a'))!).toString()).toBe('1');
  expect(keys.records).toBe(1);
});

test('a prepared value that was replaced cannot be read, and one whose time was changed can', async () => {
  const keys = new ModelKeySpace();
  for (const name of ['a', 'b']) {
    const large = await keys.prepare(Buffer.alloc(100_000, name));
    keys.transact((transaction) => transaction.set(key(name), large));
  }
  const [replaced, kept] = [keys.get(key('a'))!, keys.get(key('b'))!];
  const reading = keys.load(replaced);
  keys.transact((transaction) => {
    transaction.set(key('a'), Buffer.from('small'));
    transaction.expire(key('b'), Date.now() + 60_000);
  });
  await expect(reading).rejects.toMatchObject({ code: 'CHANGED' });
  expect((await keys.read(kept, 5, 3)).toString()).toBe('bbb');
});

test('an expired key is not there, and counted until it is swept', () => {
  let now = 1000;
  const keys = new ModelKeySpace(() => now);
  keys.transact((transaction) => transaction.set(key('a'), Buffer.from('1'), { expiresMs: 2000 }));
  now = 2000;
  expect(keys.get(key('a'))).toBeUndefined();
  expect(keys.page({}, 10).rows).toEqual([]);
  expect(keys.transact((transaction) => [transaction.expire(key('a'), 0), transaction.get(key('a'))])).toEqual([false, undefined]);
  expect(keys.count).toBe(1);
  expect(keys.sweep(10)).toBe(1);
  expect(keys.count).toBe(0);
});

test('pages are in the order of bytes, within bounds, from either end', () => {
  const keys = new ModelKeySpace();
  const all = [Buffer.alloc(0), Buffer.of(0), Buffer.of(1, 0), Buffer.of(0x7f), Buffer.of(0x80), Buffer.of(0xff), Buffer.of(0xff, 0xff)];
  keys.transact((transaction) => { for (const one of all.toReversed()) transaction.set(one, one); });
  expect(keys.page({}, 100).rows.map((row) => row.key)).toEqual(all);
  expect(keys.page({ start: Buffer.of(1), end: Buffer.of(0xff) }, 2).rows.map((row) => row.key)).toEqual([all[2], all[3]]);
  expect(keys.page({ end: Buffer.of(0xff), reverse: true }, 2).rows.map((row) => row.key)).toEqual([all[4], all[3]]);
});
