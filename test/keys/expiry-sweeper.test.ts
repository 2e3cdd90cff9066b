// Keys whose time is up are deleted in the background, and no others.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import { ExpirySweeper } from '../../src/keys/expiry-sweeper.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';

const logger = createLogger({ role: 'test', level: 'silent' });
const start = new Date(2026, 0, 1).getTime();

let keys: ModelKeySpace;
let sweeper: ExpirySweeper;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: start });
  keys = new ModelKeySpace();
  sweeper = new ExpirySweeper(keys, { logger });
});
afterEach(async () => {
  await sweeper.stop();
  vi.useRealTimers();
});

function set(name: string, ttlMs = 0): void {
  keys.transact((transaction) => transaction.set(Buffer.from(name), Buffer.from('value'), { expiresMs: ttlMs === 0 ? 0 : Date.now() + ttlMs }));
}

test('keys go when their time is up, and those stay whose time was put off or taken away', async () => {
  sweeper.start();
  set('soon', 500);
  set('later', 5000);
  set('never');
  set('put off', 500);
  set('set again', 500);
  keys.transact((transaction) => transaction.expire(Buffer.from('put off'), Date.now() + 9000));
  set('set again');
  await vi.advanceTimersByTimeAsync(LIMITS.expirySweepMs);
  expect([keys.count, keys.get(Buffer.from('soon'))]).toEqual([4, undefined]);
  await vi.advanceTimersByTimeAsync(5000);
  expect(keys.page({}, 10).rows.map(({ key }) => key.toString())).toEqual(['never', 'put off', 'set again']);
  expect(keys.count).toBe(3);
});

test('thousands go in bounded steps, and other work has its turn between them', async () => {
  for (let index = 0; index < 2000; index++) set(`key${index}`, 10);
  set('stays');
  vi.setSystemTime(start + 1000);
  let turns = 0;
  const before = keys.records;
  const sweeping = sweeper.sweep();
  const count = (): unknown => (keys.count > 1 ? (turns++, setImmediate(count)) : undefined);
  count();
  expect(await sweeping).toBe(2000);
  expect(keys.records - before).toBe(Math.ceil(2000 / LIMITS.expirySweepKeys));
  expect(turns).toBeGreaterThan(4);
  expect(keys.count).toBe(1);
});

test('a failure is tried again, and a stop ends it', async () => {
  sweeper.start();
  set('key', 10);
  vi.spyOn(keys, 'transact').mockImplementationOnce(() => { throw new StoreError('FULL', 'no'); });
  await vi.advanceTimersByTimeAsync(LIMITS.expirySweepMs);
  expect(keys.count).toBe(1);
  await vi.advanceTimersByTimeAsync(LIMITS.expirySweepMs);
  expect(keys.count).toBe(0);
  set('key', 10);
  await sweeper.stop();
  await vi.advanceTimersByTimeAsync(10 * LIMITS.expirySweepMs);
  expect(keys.count).toBe(1);
});

test('a row by time that contradicts the key deletes nothing, and does not keep the sweeper busy', async () => {
  set('key');
  vi.spyOn(keys, 'expired').mockReturnValue(Array.from({ length: LIMITS.expirySweepKeys }, () => Buffer.from('key')));
  expect(await sweeper.sweep()).toBe(0);
  expect(keys.get(Buffer.from('key'))).toBeDefined();
});
