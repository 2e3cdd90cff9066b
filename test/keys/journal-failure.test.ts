// What is told of a change whose record could not be written, or could be, and the rows not: never that it is undone when it may not be.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { EmbeddedBackend } from '../../src/backend/embedded-backend.ts';
import type { DriverEpoch } from '../../src/base/ids.ts';
import { StoreError } from '../../src/keys/errors.ts';
import { Leases } from '../../src/keys/leases.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { KEY_AREAS } from '../../src/metadata/key-rows.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import { serveKeys } from '../support/key-servers.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { command, shown } from '../support/resp-client.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const key = (text: string) => Buffer.from(text);

afterEach(() => {
  vi.restoreAllMocks();
});

function spacesOf(harness: Harness) {
  const versions = new Versions(harness.engine, { leap: false });
  return { keys: new LocalKeySpace(harness.context, { versions }), leases: new LocalKeySpace(harness.context, { versions, area: KEY_AREAS.leases }) };
}

/** The next write of a file fails, with all of its bytes in the file or none. */
function failWrite({ isWritten }: { readonly isWritten: boolean }): void {
  const write = fs.writeSync.bind(fs) as (...args: readonly unknown[]) => number;
  vi.spyOn(fs, 'writeSync').mockImplementationOnce(((...args: readonly unknown[]) => {
    if (isWritten) write(...args);
    throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
  }) as never);
}

test.each([true, false])('a change whose journal write fails is told as one of which nothing is known (in the file: %s), and nothing is done after it', async (isWritten) => {
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  const { keys, leases } = spacesOf(harness);
  const backend = new EmbeddedBackend({ keys, leases: new Leases(leases), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const set = (name: string, value: string) => backend.commit([{ kind: 'set', key: key(name), value: Buffer.from(value), expiresMs: 0 }], { sync: false });
  const [before] = await set('a', 'old');
  failWrite({ isWritten });
  await expect(set('a', 'new')).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('is not known') });
  await expect(set('b', 'later')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  harness = await harness.successor();
  const found = spacesOf(harness).keys;
  expect([found.get(key('a'))?.inline?.toString(), found.get(key('b'))]).toEqual([isWritten ? 'new' : 'old', undefined]);
  expect(found.get(key('a'))!.version >= before!.version).toBe(true);
  expect(found.transact((tx) => tx.set(key('c'), key('')))).toBeGreaterThan(found.get(key('a'))!.version);
});

test('a change that is in the journal is acknowledged, though the rows cannot be written; nothing more is', async () => {
  const harness = await openHarness();
  const directory = join(harness.directory, 'other');
  onTestFinished(() => harness.end());
  const told: Error[] = [];
  const full = new Error('no rows any more');
  const row = (text: string) => Buffer.from(`\x90${text}`, 'latin1');
  let isBroken = false;
  const reserveSpace = () => {
    if (isBroken) throw full;
    return true;
  };
  const engine = await LmdbEngine.open({ directory, epoch: 1 as DriverEpoch, batchOperationsMax: 1, reserveSpace, onFailure: (error) => told.push(error) }, () => {});
  engine.transact(null, (tx) => tx.put(row('a'), key('1')));
  isBroken = true;
  engine.transact(null, (tx) => tx.put(row('b'), key('2')));
  expect(told).toEqual([full]);
  expect(() => engine.transact(null, (tx) => tx.put(row('c'), key('3')))).toThrow('no more changes');
  await engine.abandon();
  const successor = await LmdbEngine.open({ directory, epoch: 2 as DriverEpoch }, () => {});
  expect(['a', 'b', 'c'].map((name) => successor.reader.get(row(name))?.toString())).toEqual(['1', '2', undefined]);
  await successor.abandon();
});

test('a group in which a lease fails is not written behind it', async () => {
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  spacesOf(harness).keys.transact((tx) => tx.set(key('b'), key('1')));
  const { keys } = spacesOf(harness);
  failWrite({ isWritten: false });
  expect(() => keys.group(() => {
    // Who carries out the commands of many goes on with the next.
    expect(() => keys.transact((tx) => tx.set(key('a'), key('1')))).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(keys.transact((tx) => tx.delete(key('b')))).toBe(true);
  })).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
  harness = await harness.successor();
  const found = spacesOf(harness).keys;
  expect([found.count, found.get(key('b'))?.inline?.toString()]).toEqual([1, '1']);
});

test('commands of a group that may have been done are told so, and are not done again', async () => {
  class HalfDeadKeySpace extends ModelKeySpace {
    failing = false;
    override group<T>(work: () => T): T {
      const result = super.group(work);
      if (!this.failing) return result;
      this.failing = false;
      throw new StoreError('UNAVAILABLE', 'whether this change is in the journal is not known');
    }
  }
  const keys = new HalfDeadKeySpace();
  const { client } = await serveKeys(keys);
  const one = await client();
  expect(await one.call('INCR', 'n')).toBe(1);
  keys.failing = true;
  one.send(Buffer.concat([command('INCR', 'n'), command('INCR', 'n'), command('GET', 'n')]));
  const answers = [shown(await one.next()), shown(await one.next()), shown(await one.next())];
  const unknown = '(error) ERR whether this change is in the journal is not known';
  expect(answers).toEqual([unknown, unknown, '3']);
  expect(await one.show('GET', 'n')).toBe('3');
});
