// The key space over rows and blocks does what the model does, also for a successor of a killed process.
import { expect, onTestFinished, test, vi } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import type { KeyEntry, KeySpace, PreparedValue } from '../../src/keys/key-space.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { KEY_AREAS, decodeKeyRecord } from '../../src/metadata/key-rows.ts';
import { blockOfKey, ranges } from '../../src/metadata/schema.ts';
import { blockKey } from '../../src/base/ids.ts';
import { chances } from '../support/chances.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const key = (text: string) => Buffer.from(text);
const SIZES = [0, 1, 100, LIMITS.rowValueBytesMax, LIMITS.rowValueBytesMax + 1, 4000, LIMITS.inlineBytesMax, LIMITS.inlineBytesMax + 1, 200_000, 2 ** 20 + 5];

function spaceOf(harness: Harness, area = KEY_AREAS.keys as { key: number; expiry: number }): LocalKeySpace {
  return new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }), area });
}

async function open(): Promise<Harness> {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  return harness;
}

/** Blocks that rows name, and those that key rows name: they must be the same. */
function namedBlocks(harness: Harness): { rows: string[]; keys: string[] } {
  const rows = harness.engine.reader.range(...ranges.blocksAfter(null), 1e6).map(([row]) => blockKey(blockOfKey(row)));
  const keys = harness.engine.reader.range(Buffer.of(KEY_AREAS.keys.key), Buffer.of(KEY_AREAS.keys.key + 1), 1e6).flatMap(([, value]) => decodeKeyRecord(value).blocks.map(({ block }) => blockKey(block)));
  return { rows: rows.toSorted(), keys: keys.toSorted() };
}

async function give(space: KeySpace, value: Buffer): Promise<Buffer | PreparedValue> {
  return value.length <= LIMITS.inlineBytesMax ? value : space.prepare(value);
}

async function expectSame(space: KeySpace, model: KeySpace): Promise<void> {
  const [ours, theirs] = [space.page({}, 1e6).rows, model.page({}, 1e6).rows];
  expect(ours.map((row) => row.key.toString())).toEqual(theirs.map((row) => row.key.toString()));
  for (const [index, { entry }] of ours.entries()) {
    const wanted = theirs[index]!.entry;
    expect({ bytes: entry.bytes, expiresMs: entry.expiresMs }).toEqual({ bytes: wanted.bytes, expiresMs: wanted.expiresMs });
    expect((await space.load(entry)).equals(await model.load(wanted))).toBe(true);
  }
}

test.each([1, 2, 3, 4])('random changes from seed %i leave what they leave in the model, also for a successor', async (seed) => {
  const random = chances(seed);
  const pick = (count: number) => Math.floor(random() * count);
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  const model = new ModelKeySpace();
  let space = spaceOf(harness);
  let last = 0;
  for (let step = 0; step < 400; step++) {
    const count = 1 + pick(4);
    const changes: { readonly kind: 'set' | 'delete' | 'expire'; readonly name: Buffer; readonly expiresMs: number; readonly ours: Buffer | PreparedValue; readonly theirs: Buffer | PreparedValue }[] = [];
    for (let at = 0; at < count; at++) {
      const name = key(`key-${pick(30)}`);
      const value = Buffer.alloc(SIZES[pick(SIZES.length)]!, step);
      const kind = (['set', 'set', 'set', 'delete', 'expire'] as const)[pick(5)]!;
      changes.push({ kind, name, expiresMs: pick(3) === 0 ? Date.now() + 1e7 + step : 0, ours: kind === 'set' ? await give(space, value) : value, theirs: kind === 'set' ? await give(model, value) : value });
    }
    const results = (to: KeySpace, mine: 'ours' | 'theirs') => to.transact((tx) => changes.map(({ kind, name, expiresMs, ...values }) => {
      if (kind === 'delete') return tx.delete(name);
      if (kind === 'expire') return tx.expire(name, expiresMs);
      const version = tx.set(name, values[mine], { expiresMs });
      if (to === space) {
        expect(version).toBeGreaterThan(last);
        last = version;
      }
      return 'set';
    }));
    expect(results(space, 'ours')).toEqual(results(model, 'theirs'));
    expect(space.count).toBe(model.count);
    if (step % 100 === 50) await harness.context.durability.drain();
    if (step % 100 === 99) {
      harness = await harness.successor();
      space = spaceOf(harness);
      expect(space.count).toBe(model.count);
    }
    if (step % 50 === 0) await expectSame(space, model);
  }
  await expectSame(space, model);
  const { rows, keys } = namedBlocks(harness);
  expect(rows).toEqual(keys);
  space.transact((tx) => { for (let at = 0; at < 30; at++) tx.delete(key(`key-${at}`)); });
  expect(space.count).toBe(0);
  await harness.context.durability.drain();
  await harness.context.durability.reclaim();
  expect(namedBlocks(harness).rows).toEqual([]);
  expect(harness.blocks.stored.size).toBe(0);
});

test('versions grow across successors and areas, and jump where the rows may have been lost', async () => {
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  const versions = new Versions(harness.engine, { leap: false });
  const keys = new LocalKeySpace(harness.context, { versions });
  const leases = new LocalKeySpace(harness.context, { versions, area: KEY_AREAS.leases });
  const first = keys.transact((tx) => tx.set(key('a'), key('1')));
  const second = leases.transact((tx) => tx.set(key('a'), key('2')));
  expect(second).toBeGreaterThan(first);
  expect([keys.count, leases.count]).toEqual([1, 1]);
  harness = await harness.successor();
  const third = spaceOf(harness).transact((tx) => tx.set(key('a'), key('3')));
  expect(third).toBeGreaterThan(second);
  expect(new Versions(harness.engine, { leap: true }).next()).toBeGreaterThan(third + 2 ** 31);
});

test('a transaction that throws, alone or in a group, leaves nothing, and its prepared value can be discarded', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  const large = await space.prepare(Buffer.alloc(100_000, 1));
  const fail = () => space.transact((tx) => {
    tx.set(key('a'), large);
    throw new Error('no');
  });
  expect(fail).toThrow('no');
  space.group(() => {
    space.transact((tx) => tx.set(key('b'), key('1')));
    expect(fail).toThrow('no');
    expect(space.get(key('b'))?.inline?.toString()).toBe('1');
  });
  expect(space.page({}, 10).rows.map((row) => row.key.toString())).toEqual(['b']);
  expect(large.used).toBe(false);
  space.discard(large);
  await harness.context.durability.reclaim();
  expect(harness.blocks.stored.size).toBe(0);
  expect(() => space.group(() => {
    space.transact((tx) => tx.set(key('c'), key('1')));
    throw new Error('no');
  })).toThrow('no');
  expect([space.get(key('c')), space.count]).toEqual([undefined, 1]);
});

test('a value that is replaced while it is read is read whole, or as one that was changed', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  const large = await space.prepare(Buffer.alloc(3 * 2 ** 20, 7));
  space.transact((tx) => tx.set(key('a'), large));
  const entry = space.get(key('a')) as KeyEntry;
  expect((await space.read(entry, 2 ** 20 - 5, 10)).equals(Buffer.alloc(10, 7))).toBe(true);
  space.transact((tx) => tx.set(key('a'), key('small')));
  expect((await space.load(entry)).length).toBe(3 * 2 ** 20);
  await harness.context.durability.reclaim();
  const error = await Promise.resolve(space.load(entry)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StoreError);
  expect((error as StoreError).code).toBe('CHANGED');
});

test('pages leave out what has expired, which the list of the expired has until it is deleted', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  space.transact((tx) => {
    for (let at = 0; at < 600; at++) tx.set(key(`k${String(at).padStart(3, '0')}`), key('v'), { expiresMs: at % 2 === 0 ? Date.now() - 1000 - at : 0 });
  });
  expect(space.page({}, 1000).rows.length).toBe(300);
  expect(space.page({ reverse: true }, 3).rows.map((row) => row.key.toString())).toEqual(['k599', 'k597', 'k595']);
  expect(space.page({ start: key('k100'), end: key('k106') }, 1000).rows.map((row) => row.key.toString())).toEqual(['k101', 'k103', 'k105']);
  expect(space.get(key('k000'))).toBeUndefined();
  const expired = space.expired(1000);
  expect(expired.length).toBe(300);
  expect(expired[0]?.toString()).toBe('k598');
  space.transact((tx) => { for (const each of expired) expect(tx.delete(each)).toBe(false); });
  expect([space.expired(10).length, space.count]).toEqual([0, 300]);
});

test('a full store says so, and still deletes', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  space.transact((tx) => tx.set(key('a'), Buffer.alloc(1000)));
  harness.blocks.availableBytes = 0;
  expect(() => space.transact((tx) => tx.set(key('b'), Buffer.alloc(1000)))).toThrow(expect.objectContaining({ code: 'FULL' }));
  await expect(space.prepare(Buffer.alloc(100_000))).rejects.toThrow(expect.objectContaining({ code: 'FULL' }));
  expect(space.transact((tx) => tx.delete(key('a')))).toBe(true);
  expect(space.count).toBe(0);
});

test('a change of too many bytes is refused, and nothing of it is done', async () => {
  const space = spaceOf(await open());
  expect(() => space.transact((tx) => {
    for (let at = 0; at < 1000; at++) tx.set(key(`k${at}`), Buffer.alloc(LIMITS.inlineBytesMax));
  })).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
  expect(space.count).toBe(0);
  await expect(space.prepare((async function* endless() { for (;;) yield Buffer.alloc(2 ** 20); })())).rejects.toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
});

test('a value that a running group has set can be read in it', async () => {
  const space = spaceOf(await open());
  const value = Buffer.alloc(5000, 'x');
  const found = space.group(() => {
    space.transact((transaction) => transaction.set(key('a'), value));
    const entry = space.get(key('a'))!;
    return [space.load(entry), space.read(entry, 1, 3)];
  });
  expect(found).toEqual([value, value.subarray(1, 4)]);
});

test('a change of a group for which there is no room is refused with FULL, and the others are carried out', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  const full = (bytes: number) => { if (bytes > 1000) throw new FsError('ENOSPC', 'no room'); };
  vi.spyOn(harness.context.space, 'admit').mockImplementation(full);
  const codes = space.group(() => [2000, 10, 2000].map((bytes, at) => {
    try {
      space.transact((transaction) => transaction.set(key(`k${at}`), Buffer.alloc(bytes)));
      return 'done';
    } catch (error) {
      return (error as StoreError).code;
    }
  }));
  expect([codes, space.count, [0, 1, 2].map((at) => space.get(key(`k${at}`))?.bytes)]).toEqual([['FULL', 'done', 'FULL'], 1, [undefined, 10, undefined]]);
});

test('while many small values wait to be moved, further ones are put on the shards first, and read as the others are', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  const { pending, durability } = harness.context;
  expect(space.isLarge(LIMITS.inlineBytesMax)).toBe(false);
  for (let at = 0; pending.bytes <= LIMITS.pendingBytesSoft / 2; at++) space.transact((tx) => tx.set(key(`k${at}`), Buffer.alloc(LIMITS.inlineBytesMax, at)));
  expect([LIMITS.directValueBytesMin - 1, LIMITS.directValueBytesMin].map((bytes) => space.isLarge(bytes))).toEqual([false, true]);
  const waiting = pending.bytes;
  const value = await space.prepare(Buffer.alloc(4096, 'direct'));
  const unwanted = await space.prepare(Buffer.alloc(4096, 'unwanted'));
  space.discard(unwanted);
  space.transact((tx) => tx.set(key('k0'), value));
  expect([pending.bytes < waiting, value.used]).toEqual([true, true]);
  const entry = space.get(key('k0'))!;
  expect((await space.load(entry)).equals(Buffer.alloc(4096, 'direct'))).toBe(true);
  // A successor has nothing in memory.
  const successor = spaceOf(harness);
  expect((await successor.load(successor.get(key('k0'))!)).equals(Buffer.alloc(4096, 'direct'))).toBe(true);
  await durability.drain();
  await durability.reclaim();
  expect(space.isLarge(LIMITS.inlineBytesMax)).toBe(false);
  const { rows, keys } = namedBlocks(harness);
  expect(rows).toEqual(keys);
  expect(harness.blocks.stored.size).toBe(rows.length);
});

test('a small value that the shards do not take rides in the log', async () => {
  const harness = await open();
  const space = spaceOf(harness);
  harness.blocks.failure = new FsError('EIO', 'no shard answers');
  const value = await space.prepare(Buffer.alloc(4096, 'rides'));
  space.transact((tx) => tx.set(key('a'), value));
  const unwanted = await space.prepare(Buffer.alloc(4096, 'unwanted'));
  space.discard(unwanted);
  expect([value.used, unwanted.used, harness.context.pending.bytes > 4096, harness.blocks.stored.size]).toEqual([true, true, true, 0]);
  expect((await space.load(space.get(key('a'))!)).equals(Buffer.alloc(4096, 'rides'))).toBe(true);
  harness.blocks.failure = undefined;
  await harness.context.durability.drain();
  await harness.context.durability.reclaim();
  const successor = spaceOf(harness);
  expect((await successor.load(successor.get(key('a'))!)).equals(Buffer.alloc(4096, 'rides'))).toBe(true);
  expect([harness.context.pending.bytes, harness.blocks.stored.size]).toEqual([0, 1]);
});
