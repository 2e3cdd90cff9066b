// A sync that fails, and the next process: the kernel calls pages clean that it could not write, and says so only once.
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { BlockStore } from '../../src/disk/block-store.ts';
import { diskErrno } from '../../src/disk/disk-health.ts';
import { DiskSpace } from '../../src/disk/disk-space.ts';
import { COPY_STATE } from '../../src/ipc/messages.ts';
import { LogFile } from '../../src/log/log-file.ts';
import { encodeRecord } from '../../src/log/record.ts';
import { blockOf } from '../support/block-data.ts';
import { LoopDisk } from '../support/loop-disk.ts';
import { hasProgram } from '../support/programs.ts';
import { DISK_VOLUME, silentLog } from '../support/temporary-disk.ts';
import { ThinPool } from '../support/thin-pool.ts';

const MiB = 1024 * 1024;
const missing = process.getuid?.() === 0 ? ['mkfs.ext4', 'python3', 'losetup'].find((name) => !hasProgram(name)) : 'root';

let parent: string;
let pool: ThinPool;
let disk: LoopDisk;
let opened: { close(): Promise<void> } | undefined;

async function openBlocks(options: { trusted: boolean }): Promise<BlockStore> {
  const store = await BlockStore.open({ directory: disk.mountpoint, volume: DISK_VOLUME, space: new DiskSpace(disk.mountpoint), trusted: options.trusted, log: silentLog, segmentBytes: 8 * MiB });
  opened = store;
  return store;
}

function openLog(options: { rewrite: boolean }): LogFile {
  const log = LogFile.open(join(disk.mountpoint, 'log'), { segmentBytes: MiB, sparesMax: 0, ...options });
  opened = log;
  return log;
}

async function close(): Promise<void> {
  await opened?.close().catch(() => undefined);
  opened = undefined;
}

async function cutPower(): Promise<void> {
  await disk.fail();
  await close();
  await disk.comeBack();
}

describe.skipIf(missing !== undefined)('after a sync that failed', { timeout: 60_000 }, () => {
  beforeEach(async () => {
    parent = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-unsynced-'));
    pool = await ThinPool.create(join(parent, 'pool'), 160 * MiB);
    disk = await LoopDisk.create(join(pool.directory, 'image'), join(parent, 'disk'), 128 * MiB, { solidBytes: 16 * MiB });
  });
  afterEach(async () => {
    await close();
    await disk.remove();
    await pool.remove();
    fs.rmSync(parent, { recursive: true });
  });

  const [first, second] = [blockOf(1, 300_000), blockOf(2, 2000)];
  const later = Array.from({ length: 8 }, (_, number) => blockOf(10 + number, 500_000));

  async function failSync(): Promise<void> {
    const store = await openBlocks({ trusted: true });
    await store.put([first, second]);
    await store.sync();
    pool.fill();
    await store.put(later);
    const error: unknown = await store.sync().catch((reason: unknown) => reason);
    expect(diskErrno(error), 'a failed disk, not a full one').toBe('EIO');
    expect(() => store.put([blockOf(3)])).toThrow('could not be synced');
    await close();
    pool.free();
  }

  it('the next process syncs what that one could not', async () => {
    await failSync();
    const store = await openBlocks({ trusted: true });
    await store.sync();
    await cutPower();
    const after = await openBlocks({ trusted: false });
    for (const { id, checksums, data } of [first, second, ...later]) {
      const pieces = await after.read(id, 0, checksums.length);
      expect(Buffer.concat(data).equals(pieces.data), `block ${id.lo}`).toBe(true);
    }
  });

  it('the next process says once what is lost, and does not have it any more, when the kernel has dropped it', async () => {
    await failSync();
    fs.writeFileSync('/proc/sys/vm/drop_caches', '1');
    // The index is on the same disk: whoever read it might be ended by LMDB, and the next one makes it anew.
    const store = await openBlocks({ trusted: false });
    expect([...store.has([first.id, second.id])]).toEqual([1, 1]);
    const states = [...(await store.verify(later.map(({ id }) => id)))];
    expect(new Set(states), 'none that is there is bad').not.toContain(COPY_STATE.damaged);
    await expect(store.sync()).rejects.toThrow('lost');
    await store.sync();
    await store.put(later);
    await store.sync();
    expect(new Set(await store.verify([first, second, ...later].map(({ id }) => id)))).toEqual(new Set([COPY_STATE.good]));
  });

  it('a log that is opened anew is written anew', async () => {
    const log = openLog({ rewrite: true });
    await log.reset(0 as Sequence);
    pool.fill();
    const records = Array.from({ length: 20 }, (_, index) => encodeRecord({ sequence: (index + 1) as Sequence, epoch: 1 as DriverEpoch, requestHi: 0, requestLo: 0, result: 0 }, [{ kind: 'put', key: Buffer.from('key'), value: Buffer.alloc(5_000, index) }]));
    log.append(records, 1 as Sequence, 20 as Sequence, 1 as DriverEpoch);
    await expect(log.sync()).rejects.toThrow('not to be trusted');
    await close();
    pool.free();
    expect(openLog({ rewrite: true }).lastSequence).toBe(20);
    await cutPower();
    expect(openLog({ rewrite: true }).lastSequence).toBe(20);
  });
});
