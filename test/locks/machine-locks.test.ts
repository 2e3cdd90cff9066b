// The engine of one machine, over real rows; and what is its alone.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import type { DriverEpoch, InodeNumber } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { lockRows } from '../../src/locks/lock-rows.ts';
import { MachineLocks } from '../../src/locks/machine-locks.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import { describeLockEngine } from './conformance.ts';

describeLockEngine('of one machine', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-locks-'));
  const open = (epoch: number, mountEpoch: number) => LmdbEngine.open({ directory, epoch: epoch as DriverEpoch, mountEpoch: mountEpoch as DriverEpoch }, () => {});
  let rows = await open(1, 1);
  const next = async (epoch: number, mountEpoch: number): Promise<MachineLocks> => {
    await rows.abandon();
    rows = await open(epoch, mountEpoch);
    return new MachineLocks({ store: lockRows(rows, mountEpoch as DriverEpoch), epoch });
  };
  return {
    engine: new MachineLocks({ store: lockRows(rows, 1 as DriverEpoch), epoch: 1 }),
    successor: () => next(2, 1),
    nextMount: () => next(3, 3),
    async end() {
      await rows.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});

describe('the locks of one machine', () => {
  const inode = 1 as InodeNumber;
  const claim = (owner: bigint, first: bigint) => ({ kind: 'range', owner, handle: owner, first, last: first, mode: 'exclusive', pid: 1 }) as const;

  it('are as they were when a change cannot be kept, and whoever waited still waits', async () => {
    let full = false;
    const locks = new MachineLocks({
      epoch: 1,
      store: {
        load: () => [],
        save() {
          if (full) throw new FsError('ENOSPC');
        },
      },
    });
    locks.lock(inode, claim(1n, 0n));
    const waiter = locks.lock(inode, claim(2n, 0n), { pid: 1 });
    full = true;
    expect(() => locks.closed(inode, 1n)).toThrow('ENOSPC');
    expect(() => locks.lock(inode, claim(1n, 5n))).toThrow('ENOSPC');
    expect(locks.counts).toEqual({ held: 1, waiting: 1 });
    full = false;
    locks.closed(inode, 1n);
    await waiter;
    expect(locks.counts).toEqual({ held: 1, waiting: 0 });
  });

  it('of open files are waited for in circles, as on Linux', () => {
    const locks = new MachineLocks({ epoch: 1, store: { load: () => [], save() {} }, waitsForOpenFile: (thread) => thread === 9 });
    for (const owner of [1n, 2n, 3n]) locks.lock(inode, claim(owner, owner));
    void locks.lock(inode, claim(2n, 1n), { pid: 1 });
    void locks.lock(inode, claim(1n, 2n), { pid: 9 });
    expect(locks.counts.waiting).toBe(2);
    // The circle through an owner that is an open file is none either: others may close it.
    void locks.lock(inode, claim(3n, 1n), { pid: 1 });
    void locks.lock(inode, claim(2n, 3n), { pid: 1 });
    expect(locks.counts.waiting).toBe(4);
  });

  it('have a number that neither locking nor unlocking exceeds, and what is held at it can be asked for again and given up', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sdfs-locks-'));
    const rows = await LmdbEngine.open({ directory, epoch: 1 as DriverEpoch, mountEpoch: 1 as DriverEpoch }, () => {});
    const held = Array.from({ length: LIMITS.locksMax }, (_, index) => ({ inode, claim: { ...claim(1n, BigInt(4 * index)), last: BigInt(4 * index + 2), handle: 1n } }));
    const { save } = lockRows(rows, 1 as DriverEpoch);
    const locks = new MachineLocks({ epoch: 1, store: { load: () => held, save } });
    const [first] = held as [(typeof held)[number]];
    expect(() => locks.lock(inode, claim(2n, 3n))).toThrow('locks are held');
    expect(() => locks.unlock(inode, first.claim, { first: 1n, last: 1n })).toThrow('locks are held');
    locks.lock(inode, first.claim);
    expect(locks.counts.held).toBe(LIMITS.locksMax);
    // All of them in one record of the log.
    locks.released(inode, 1n);
    expect(locks.counts.held).toBe(0);
    await rows.close();
    rmSync(directory, { recursive: true, force: true });
  });
});
