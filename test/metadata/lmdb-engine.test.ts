// The LMDB engine: atomic transactions, and a journal that a successor replays.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, InodeNumber, Sequence } from '../../src/base/ids.ts';
import { setDatabaseAside } from '../../src/metadata/lmdb/database-files.ts';
import { JournalLostError } from '../../src/metadata/lmdb/database-errors.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import type { ReplayedData } from '../../src/metadata/lmdb/options.ts';
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

  /** Changes a byte of the rows while nobody has them open. */
  const change = (edit: (file: Buffer) => void): void => {
    const path = join(directory, 'rows', 'data.mdb');
    const file = readFileSync(path);
    edit(file);
    writeFileSync(path, file);
  };
  const flip = (text: string) => (file: Buffer): void => {
    for (let at = file.indexOf(text); at >= 0; at = file.indexOf(text, at + 1)) file[at + 2]! ^= 0x10;
  };
  const noPause = (): Promise<void> => Promise.resolve();

  it('does not hand out a row of which a bit has changed, takes no more changes, and says so once', async () => {
    engine.transact(null, (tx) => tx.put(key('a'), value('something')));
    await engine.abandon();
    engine = await openEngine(2);
    await engine.abandon();
    change(flip('something'));
    const told: Error[] = [];
    engine = await LmdbEngine.open({ directory, epoch: 3 as DriverEpoch, onFailure: (error) => told.push(error) }, () => {});
    expect(() => engine.reader.get(key('a'))).toThrow('cannot be written');
    expect(() => engine.reader.range(key(''), key('z'), 10)).toThrow('cannot be written');
    expect(() => [...engine.rows()]).toThrow('cannot be written');
    const view = await engine.view();
    expect(() => view.reader.get(key('a'))).toThrow('cannot be written');
    view.close();
    expect(told.map(({ name }) => name)).toEqual(['DatabaseDamagedError']);
    expect(() => engine.transact(null, (tx) => tx.put(key('b'), value('1')))).toThrow('no more changes');
    await engine.abandon();
    setDatabaseAside({ directory });
    engine = await openEngine(4);
    rmSync(`${directory}.aside`, { recursive: true });
  });

  it('reads through all rows while others change them, and finds a row that is gone or has another key', async () => {
    for (let number = 0; number < 2000; number++) engine.transact(null, (tx) => tx.put(key(`many ${number}`), value(`${number}`)));
    expect(await engine.verify(noPause)).toBe(2000);
    let more = 0;
    const changing = engine.verify(() => {
      engine.transact(null, (tx) => tx.put(key(`more ${more++}`), value('x')));
      if (more === 3) engine.transact(null, (tx) => tx.delete(key('many 7')));
      return noPause();
    });
    expect(await changing).toBe(2000);
    await engine.abandon();
    engine = await openEngine(2);
    const rows = await engine.verify(noPause);
    expect(rows).toBe(1999 + more);
    await engine.abandon();
    change(flip('many 1234'));
    engine = await openEngine(3);
    expect(engine.reader.get(key('many 1234'))).toBeUndefined();
    await expect(engine.verify(noPause)).rejects.toThrow('cannot be written');
    await engine.abandon();
    setDatabaseAside({ directory });
    engine = await openEngine(4);
    rmSync(`${directory}.aside`, { recursive: true });
  });

  it('gives the rows of an older database the checksums that they lack', async () => {
    await engine.close();
    const raw = open<Buffer, Buffer>({ path: join(directory, 'rows'), keyEncoding: 'binary', encoding: 'binary' });
    for (let number = 0; number < 10_000; number++) void raw.put(key(`old ${number}`), value(`value ${number}`));
    const number = (of: number): Buffer => {
      const bytes = Buffer.alloc(16);
      bytes[0] = 1;
      bytes.writeUInt32LE(of, 8);
      return bytes;
    };
    void raw.put(Buffer.from('\0applied'), number(77));
    await raw.put(Buffer.from('\0inodes'), number(5));
    await raw.close();
    engine = await openEngine(2, true);
    expect([engine.lastSequence, engine.inodeCount, engine.rowCount]).toEqual([77, 5, 10_000]);
    expect(engine.reader.get(key('old 9999'))).toEqual(value('value 9999'));
    expect(await engine.verify(noPause)).toBe(10_000);
    await engine.close();
    engine = await openEngine(3, true);
    expect(engine.reader.get(key('old 0'))).toEqual(value('value 0'));
  });
});
