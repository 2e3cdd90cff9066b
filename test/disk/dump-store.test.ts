// Backups of the metadata on a disk: one takes the place of the last only when it was read back as it was sent.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DumpStore } from '../../src/disk/dump-store.ts';

const FIRST = 'metadata-5-20260101T000000Z.jsonl.gz';
const SECOND = 'metadata-12-20260101T010000Z.jsonl.gz';
const sha = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();

describe('backups of the metadata on a disk', () => {
  let disk: string;
  let store: DumpStore;
  beforeEach(() => {
    disk = mkdtempSync(join(tmpdir(), 'sdfs-dumps-'));
    store = new DumpStore(disk);
  });
  afterEach(() => rmSync(disk, { recursive: true, force: true }));

  const write = async (name: string, bytes: Buffer): Promise<void> => {
    await store.append(name, 0, [bytes.subarray(0, 3)]);
    await store.append(name, 3, [bytes.subarray(3, 5), bytes.subarray(5)]);
    await store.commit(name, bytes.length, sha(bytes));
  };

  it('are there when they are whole, and then the one before is not', async () => {
    expect(store.list()).toEqual([]);
    await write(FIRST, Buffer.from('first backup'));
    expect(store.list()).toEqual([{ name: FIRST, bytes: 12 }]);
    await store.append(SECOND, 0, [Buffer.from('half')]);
    expect(store.list()).toEqual([{ name: FIRST, bytes: 12 }]);
    await write(SECOND, Buffer.from('second backup'));
    expect(readdirSync(join(disk, 'dumps'))).toEqual([SECOND]);
    expect(readFileSync(join(disk, 'dumps', SECOND), 'utf8')).toBe('second backup');
  });

  it('leave the last good one when they are not read back as they were sent', async () => {
    await write(FIRST, Buffer.from('first backup'));
    await store.append(SECOND, 0, [Buffer.from('second backup')]);
    writeFileSync(join(disk, 'dumps', `${SECOND}.new`), 'second backuq');
    await expect(store.commit(SECOND, 13, sha(Buffer.from('second backup')))).rejects.toMatchObject({ code: 'damaged' });
    expect(store.list()).toEqual([{ name: FIRST, bytes: 12 }]);
  });

  it('are refused with a gap, and under a name that is none', async () => {
    await expect(store.append(FIRST, 7, [Buffer.from('x')])).rejects.toThrow('cannot be written');
    await expect(store.append('../../evil', 0, [Buffer.from('x')])).rejects.toMatchObject({ code: 'badRequest' });
  });
});
