// Processes that end between the record of a lease and that of the group that uses it, and journals whose write fails: on real shards.
import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { BUILT_API, openReal, otherProcess, storeDirectory } from '../../support/real-store.ts';

const ENGINE = `${dirname(dirname(BUILT_API))}/metadata/lmdb/engine.js`;

/** Ends the process by SIGKILL, or throws once, after the record of the `at`th lease that a group makes from now on. */
const AFTER_LEASE = `
const { LmdbEngine } = await import(${JSON.stringify(ENGINE)});
const transact = LmdbEngine.prototype.transact;
let depth = 0;
let left = 0;
let then = () => {};
LmdbEngine.prototype.transact = function (cause, work) {
  depth++;
  try {
    return transact.call(this, cause, work);
  } finally {
    depth--;
    if (depth > 0 && --left === 0) then();
  }
};
const afterLease = (at, what) => { left = at; then = what; };
const die = () => { process.kill(process.pid, 'SIGKILL'); };
`;

const set = (name: string) => `say('set ' + await store.set(${JSON.stringify(name)}, Buffer.alloc(1000, ${JSON.stringify(name)})));`;

test('no version or block is used twice when processes are killed, or groups fail, behind the record of a lease', { timeout: 120_000 }, async () => {
  const path = `${storeDirectory()}/store`;
  const openers = [
    { says: 2, body: `${set('a')} ${set('b')} die();` },
    { says: 0, body: `afterLease(1, die); ${set('never')}` },
    { says: 0, body: `afterLease(2, die); ${set('never')}` },
    { says: 2, body: `afterLease(2, () => { throw new Error('after the lease'); }); await store.set('failed', Buffer.alloc(1000)).catch((error) => say(error.message)); ${set('c')} die();` },
  ];
  const said: string[] = [];
  for (const { says, body } of openers) {
    const other = await otherProcess({ path, shards: 2, copies: 2 }, `${AFTER_LEASE} const store = await openStore(options); say('ready'); ${body}`);
    expect(await other.ended).toBe(null);
    // What it said may come a moment after its end.
    await expect.poll(() => other.said.length).toBe(1 + says);
    said.push(...other.said.slice(1));
  }
  const store = await openReal({ path });
  const last = await store.set('d', Buffer.alloc(1000, 'd'));
  const told = said.filter((line) => line.startsWith('set ')).map((line) => Number(line.slice(4)));
  expect([told.length, said.length]).toEqual([3, 4]);
  expect([...told, last]).toEqual([...new Set([...told, last])].toSorted((one, other) => one - other));
  expect((await store.getMany(['a', 'b', 'c', 'd', 'never', 'failed'])).map((found) => found?.toString('latin1', 0, 1))).toEqual(['a', 'b', 'c', 'd', undefined, undefined]);
  expect((await store.get('a'))!.equals(Buffer.alloc(1000, 'a'))).toBe(true);
});

test('no version is told twice though a power cut takes all that was not synced, in the first second of a store too', { timeout: 120_000 }, async () => {
  const path = `${storeDirectory()}/store`;
  const told: number[] = [];
  for (let round = 0; round < 3; round++) {
    const other = await otherProcess({ path, shards: 2, copies: 2 }, `${AFTER_LEASE} const store = await openStore(options); say('ready'); say(String(await store.set('a', 'v'))); die();`);
    expect(await other.ended).toBe(null);
    await expect.poll(() => other.said.length).toBe(2);
    told.push(Number(other.said[1]));
    // What the opener had belongs to another boot of the machine now: it is not believed, and its journal is forgotten.
    writeFileSync(`${path}/driver/TRUST`, 'another-boot\n');
  }
  const store = await openReal({ path });
  told.push(await store.set('a', 'v'));
  expect(told).toEqual([...new Set(told)].toSorted((one, other) => one - other));
});

test.each([true, false])('a write of the journal that fails (its bytes in the file: %s) is told as one of which nothing is known; the store goes on, and nothing is done twice', { timeout: 120_000 }, async (isWritten) => {
  const path = `${storeDirectory()}/store`;
  const { said, ended } = await otherProcess({ path, shards: 2, copies: 2 }, `
const fs = (await import('node:fs')).default;
const store = await openStore(options);
const before = await store.set('a', 'old');
const write = fs.writeSync;
fs.writeSync = (...words) => {
  fs.writeSync = write;
  if (${isWritten}) write(...words);
  throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
};
say('ready');
await store.set('a', 'new').catch((error) => say(error.code + (error.message.includes('is not known') ? ' and says so' : error.message)));
const { value, version } = await store.getEntry('a');
say(String(value));
say(String((await store.set('a', 'newest', { ifVersion: version })) > version && version >= before));
await store.close();
`);
  await ended;
  await expect.poll(() => said).toEqual(['ready', 'UNAVAILABLE and says so', isWritten ? 'new' : 'old', 'true']);
  const store = await openReal({ path });
  expect(String(await store.get('a'))).toBe('newest');
});
