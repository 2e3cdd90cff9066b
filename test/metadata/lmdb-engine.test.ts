// The LMDB engine: atomic transactions, and a journal that a successor replays.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, InodeNumber, Sequence } from '../../src/base/ids.ts';
import { setDatabaseAside } from '../../src/metadata/lmdb/database-files.ts';
import { JournalLostError, LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import type { ReplayedData } from '../../src/metadata/lmdb/engine.ts';
import { decodeOperations, decodeRecord } from '../../src/log/record.ts';

const key = (text: string): Buffer => Buffer.from(`\x90${text}`, 'latin1');
const value = (text: string): Buffer => Buffer.from(text);

describe('the LMDB engine', () => {
  let directory: string;
  let engine: LmdbEngine;
  let replayed: ReplayedData[];
  const openEngine = (epoch: number, closedCleanly = false): Promise<LmdbEngine> => {
    replayed = [];
    return LmdbEngine.open({ directory, epoch: epoch as DriverEpoch, mountEpoch: 1 as DriverEpoch, closedCleanly }, (data) => replayed.push(data));
  };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sdfs-engine-'));
    engine = await openEngine(1);
  });
  afterEach(async () => {
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('shows a transaction its own changes, and others nothing of one that throws', () => {
    engine.transact(null, (tx) => tx.put(key('a'), value('1')));
    expect(() => engine.transact(null, (tx) => {
      tx.put(key('a'), value('2'));
      tx.delete(key('a'));
      expect(tx.get(key('a'))).toBeUndefined();
      tx.put(key('b'), value('3'));
      expect(tx.get(key('b'))).toEqual(value('3'));
      throw new Error('no');
    })).toThrow('no');
    expect(engine.reader.get(key('a'))).toEqual(value('1'));
    expect(engine.reader.get(key('b'))).toBeUndefined();
    expect(engine.lastSequence).toBe(1);
  });

  it('lists a range in key order, with rows of the open batch', () => {
    for (const name of ['c', 'a', 'b', 'd']) engine.transact(null, (tx) => tx.put(key(name), value(name)));
    expect(engine.reader.range(key('a'), key('d'), 10).map(([, found]) => found.toString())).toEqual(['a', 'b', 'c']);
    expect(engine.reader.range(key('a'), key('d'), 2)).toHaveLength(2);
  });

  it('gives a successor everything that was acknowledged, committed to LMDB or not', async () => {
    engine.transact(null, (tx) => tx.put(key('committed'), value('1')));
    engine.commitBatch();
    engine.transact({ requestHi: 7, requestLo: 8 }, (tx) => {
      tx.put(key('journalled'), value('2'));
      tx.delete(key('committed'));
      tx.data({ hi: 1, lo: 2 }, value('small'));
      tx.result(99 as InodeNumber);
    });
    await engine.abandon();
    engine = await openEngine(2);
    expect(engine.reader.get(key('journalled'))).toEqual(value('2'));
    expect(engine.reader.get(key('committed'))).toBeUndefined();
    expect(engine.lastSequence).toBe(2);
    expect(replayed).toEqual([{ id: { hi: 1, lo: 2 }, data: value('small'), sequence: 2 }]);
    expect(engine.committedResult({ requestHi: 7, requestLo: 8 })).toBe(99);
    expect(engine.committedResult({ requestHi: 7, requestLo: 9 })).toBeUndefined();
  });

  it('refuses rows whose journal was taken away, since they lack what only it had', async () => {
    engine.transact(null, (tx) => tx.put(key('a'), value('1')));
    engine.commitBatch();
    engine.transact(null, (tx) => tx.put(key('b'), value('2')));
    await engine.abandon();
    rmSync(join(directory, 'journal'), { recursive: true });
    await expect(openEngine(2)).rejects.toThrow(JournalLostError);
    setDatabaseAside({ directory });
    engine = await openEngine(3);
    expect(engine.lastSequence).toBe(0);
    rmSync(`${directory}.aside`, { recursive: true });
  });

  it('takes nothing more after it is closed', async () => {
    await engine.close();
    expect(() => engine.transact(null, (tx) => tx.put(key('a'), value('1')))).toThrow('no more changes');
    engine = await openEngine(2, true);
    expect(engine.reader.get(key('a'))).toBeUndefined();
  });

  it('keeps counting where the last driver stopped', async () => {
    engine.transact(null, (tx) => tx.put(key('a'), value('1')));
    await engine.close();
    engine = await openEngine(2, true);
    engine.transact(null, (tx) => tx.put(key('b'), value('2')));
    expect(engine.lastSequence).toBe(2);
    const records = engine.recordsAfter(1 as Sequence, 1 << 20);
    expect(decodeRecord(records, 0)?.sequence).toBe(2);
    expect([...decodeOperations(records, 0)]).toEqual([{ kind: 'put', key: key('b'), value: value('2') }]);
  });

  it('loads a checkpoint and the records behind it', async () => {
    const record = (() => {
      engine.transact(null, (tx) => tx.put(key('later'), value('2')));
      return engine.recordsAfter(0 as Sequence, 1 << 20);
    })();
    const other = mkdtempSync(join(tmpdir(), 'sdfs-engine-'));
    const copy = await LmdbEngine.open({ directory: other, epoch: 3 as DriverEpoch }, () => {});
    copy.load([[key('early'), value('1')]]);
    await copy.setSequence(0 as Sequence);
    copy.applyRecord(record, 1 as Sequence, 1 as DriverEpoch);
    expect(copy.reader.get(key('early'))).toEqual(value('1'));
    expect(copy.reader.get(key('later'))).toEqual(value('2'));
    expect([...copy.rows()].map(([name]) => name)).toEqual([key('early'), key('later')]);
    await copy.close();
    rmSync(other, { recursive: true, force: true });
  });
});
