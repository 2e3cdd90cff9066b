// How the store in its own process carries changes out: together where they come together, and whole or not at all.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import type { Change } from '../../src/backend/backend.ts';
import { modelStore } from '../support/model-store.ts';
import type { ModelStore } from '../support/model-store.ts';

let made: ModelStore;

beforeEach(() => {
  made = modelStore();
});

const key = (name: string | number) => Buffer.from(String(name));
const set = (name: string | number, value: string | Buffer): Change => ({ kind: 'set', key: key(name), value: Buffer.from(value), expiresMs: 0 });
const commit = (...changes: Change[]) => made.backend.commit(changes, { sync: false });
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('changes of one turn', () => {
  test('are one record of the log, and all that fits in a turn and a record', async () => {
    await Promise.all(Array.from({ length: LIMITS.commitsPerTurnMax }, (_, index) => commit(set(index, 'value'))));
    expect(made.keys.records).toBe(1);
    await Promise.all(Array.from({ length: LIMITS.commitsPerTurnMax + 1 }, (_, index) => commit(set(index, 'value'))));
    expect(made.keys.records).toBe(3);
    const before = made.keys.records;
    const value = Buffer.alloc(LIMITS.inlineBytesMax);
    await Promise.all(Array.from({ length: LIMITS.batchBytesMax / LIMITS.inlineBytesMax }, (_, index) => commit(set(index, value))));
    expect(made.keys.records - before).toBe(2);
  });

  test('are carried out in the order in which they came, and each sees those before it', async () => {
    const outcomes = await Promise.allSettled([
      commit({ ...set('a', '1'), ifAbsent: true } as Change),
      commit({ ...set('a', '2'), ifAbsent: true } as Change),
      commit({ kind: 'delete', key: key('a') }),
      commit({ ...set('a', '3'), ifAbsent: true } as Change),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect((await made.backend.get(key('a')))!.value.toString()).toBe('3');
  });

  test('do not fail with one another', async () => {
    const outcomes = await Promise.allSettled([commit(set('a', '1')), commit({ kind: 'delete', key: key('x'), ifVersion: 7 }), commit(set('b', '1'), { ...set('c', '1'), ifVersion: 7 } as Change), commit(set('d', '1'))]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(made.keys.page({}, 10).rows.map((row) => row.key.toString())).toEqual(['a', 'd']);
  });

  test('all fail when their record cannot be written', async () => {
    vi.spyOn(made.keys, 'group').mockImplementationOnce(() => { throw new StoreError('FULL', 'no space'); });
    const outcomes = await Promise.allSettled([commit(set('a', '1')), commit(set('b', '1'))]);
    expect(outcomes).toMatchObject([{ reason: { code: 'FULL' } }, { reason: { code: 'FULL' } }]);
    await commit(set('a', '1'));
  });

  test('wait for room, and fail when there will be none', async () => {
    let give!: () => void;
    const room = vi.spyOn(made.keys, 'room').mockReturnValueOnce(new Promise((resolve) => (give = resolve)));
    const waiting = commit(set('a', '1'));
    await turn();
    expect(made.keys.count).toBe(0);
    give();
    await waiting;
    room.mockImplementationOnce(() => Promise.reject(new StoreError('UNAVAILABLE', 'no disks')));
    await expect(commit(set('b', '1'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await commit(set('c', '1'));
    expect(made.keys.count).toBe(2);
  });

  test('are synced together, and those that need no sync do not wait for it', async () => {
    let finish!: () => void;
    vi.spyOn(made.keys, 'sync').mockImplementation(() => { made.keys.syncs++; return new Promise((resolve) => (finish = resolve)); });
    const synced = [made.backend.commit([set('a', '1')], { sync: true }), made.backend.commit([set('b', '1')], { sync: true })];
    await commit(set('c', '1'));
    let done = 0;
    for (const one of synced) void one.then(() => done++);
    await turn();
    expect([done, made.keys.syncs]).toEqual([0, 1]);
    finish();
    await Promise.all(synced);
  });

  test('that could not be synced are refused, and done all the same', async () => {
    vi.spyOn(made.keys, 'sync').mockRejectedValueOnce(new StoreError('UNAVAILABLE', 'no disks'));
    await expect(made.store.set('a', Buffer.alloc(100_000), { sync: true })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect((await made.store.get('a'))!.length).toBe(100_000);
  });
});

test('a program that awaits one call after the other lets timers have their turn', async () => {
  for (const call of [() => made.backend.get(key('a')), () => made.backend.has(key('a')), () => made.backend.getMany([key('a')]), () => made.backend.page({}, { limit: 1, values: true }), () => commit(set('a', '1'))]) {
    let turns = 0;
    const count = setInterval(() => turns++, 1);
    const until = performance.now() + 20;
    while (performance.now() < until || turns === 0) await call();
    clearInterval(count);
    expect(turns).toBeGreaterThan(0);
  }
});

describe('large values', () => {
  const large = Buffer.alloc(LIMITS.inlineBytesMax + 1, 'large');

  test('that come as bytes are prepared, and given back when nothing comes of it', async () => {
    await commit(set('a', large));
    expect((await made.backend.get(key('a')))!.value.equals(large)).toBe(true);
    await expect(commit(set('b', large), { ...set('a', large), ifAbsent: true } as Change)).rejects.toMatchObject({ code: 'CONFLICT' });
    vi.spyOn(made.keys, 'prepare').mockImplementationOnce((value) => made.keys.prepare(value)).mockRejectedValueOnce(new StoreError('FULL', 'no space'));
    await expect(commit(set('b', large), set('c', large))).rejects.toMatchObject({ code: 'FULL' });
    expect([made.keys.prepared.size, made.keys.count]).toEqual([0, 1]);
  });

  test('that are replaced while they are read are read again', async () => {
    await commit(set('a', large));
    const replaced = commit(set('a', 'new'));
    const [one, many, page] = [made.backend.get(key('a')), made.backend.getMany([key('a'), key('b')]), made.backend.page({}, { limit: 5, values: true })];
    await replaced;
    expect((await one)!.value.toString()).toBe('new');
    expect((await many)[0]!.value.toString()).toBe('new');
    expect((await page).rows).toMatchObject([{ value: Buffer.from('new') }]);
  });

  test('that are deleted while they are read are not there', async () => {
    for (const name of ['a', 'b', 'c']) await commit(set(name, large));
    const deleted = commit({ kind: 'delete', key: key('a') }, { kind: 'delete', key: key('b') });
    const [one, page, rest] = [made.backend.get(key('a')), made.backend.page({}, { limit: 2, values: true }), made.backend.page({}, { limit: 5, values: true })];
    await deleted;
    expect(await one).toBeUndefined();
    expect(await page).toMatchObject({ rows: [{ key: key('c') }], more: false });
    expect((await rest).rows.map((row) => row.key.toString())).toEqual(['c']);
  });

  test('that are replaced again and again are given up with CHANGED', async () => {
    await commit(set('a', large));
    const load = vi.spyOn(made.keys, 'load').mockImplementation(() => Promise.reject(new StoreError('CHANGED', 'replaced')));
    await expect(made.backend.get(key('a'))).rejects.toMatchObject({ code: 'CHANGED' });
    expect(load).toHaveBeenCalledTimes(LIMITS.valueReadsMax);
  });

  test('make pages short, so that a page has a bound', async () => {
    for (let index = 0; index < 6; index++) await commit(set(index, Buffer.alloc(LIMITS.pageBytesMax / 2 - 10, index)));
    const page = await made.backend.page({}, { limit: 100, values: true });
    expect([page.rows.length, page.more]).toEqual([2, true]);
    expect((await made.backend.page({}, { limit: 100, values: false })).rows.length).toBe(6);
    await commit(set('big', Buffer.alloc(2 * LIMITS.pageBytesMax)));
    expect((await made.backend.page({ start: key('big') }, { limit: 100, values: true })).rows.length).toBe(1);
    let seen = 0;
    for await (const entry of made.store.range()) seen += entry.value.length > 0 ? 1 : 0;
    expect(seen).toBe(7);
  });
});

test('changes that come when the key space is closed are refused, and later ones as well', async () => {
  vi.spyOn(made.keys, 'room').mockImplementation(() => { throw new StoreError('CLOSED', 'the store is closed'); });
  for (let round = 0; round < 2; round++) {
    const outcomes = await Promise.allSettled([commit(set('a', 'x')), commit(set('b', 'x'))]);
    expect(outcomes).toEqual([1, 2].map(() => ({ status: 'rejected', reason: expect.objectContaining({ code: 'CLOSED' }) })));
  }
});
