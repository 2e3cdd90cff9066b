// A LocalFileSystem over a real LMDB engine and an in-memory block engine, for tests of vfs and metadata.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockEngine } from '../../src/blocks/block-engine.ts';
import { FsError } from '../../src/base/errors.ts';
import { blockKey } from '../../src/base/ids.ts';
import type { BlockId, DriverEpoch, Sequence } from '../../src/base/ids.ts';
import { createLogger } from '../../src/base/log.ts';
import { Allocator } from '../../src/metadata/allocator.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import { Space } from '../../src/durability/space.ts';
import { Compactor } from '../../src/vfs/compactor.ts';
import { AccessTimes } from '../../src/vfs/context.ts';
import type { VfsContext } from '../../src/vfs/context.ts';
import { Durability } from '../../src/durability/durability.ts';
import type { Caller, WriteOptions } from '../../src/vfs/filesystem.ts';
import { LocalFileSystem } from '../../src/vfs/local-filesystem.ts';
import { Orphans } from '../../src/vfs/orphans.ts';
import { PendingBlocks } from '../../src/durability/pending.ts';

export const ROOT_CALLER = { uid: 0, gid: 0, pid: 1 };
export const PLAIN_WRITE: WriteOptions = { killPrivileges: false, durability: 'process' };

/** Keeps blocks in a Map; counts syncs, so that tests can ask for the order of data and metadata. */
export class MemoryBlocks {
  readonly stored = new Map<string, Buffer>();
  syncs = 0;
  dirty = false;
  availableBytes = 2 ** 40;
  /** What puts and syncs fail with, while it is set. */
  failure: Error | undefined;

  async put(id: BlockId, data: readonly Uint8Array[]): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.stored.set(blockKey(id), Buffer.concat(data));
    this.dirty = true;
  }
  async putMany(blocks: readonly { id: BlockId; data: readonly Uint8Array[] }[]): Promise<void> {
    for (const block of blocks) await this.put(block.id, block.data);
  }
  async get(id: BlockId, offset: number, bytes: number): Promise<Uint8Array[]> {
    const block = this.stored.get(blockKey(id));
    if (block === undefined) throw new FsError('EIO', 'no such block');
    return [block.subarray(offset, offset + bytes)];
  }
  async delete(ids: readonly BlockId[]): Promise<boolean> {
    for (const id of ids) this.stored.delete(blockKey(id));
    return true;
  }
  async sync(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.dirty = false;
    this.syncs++;
  }
  async locate(): Promise<never[]> {
    return [];
  }
  async refreshStatistics(): Promise<void> {}
  statistics(): { totalBytes: number; availableBytes: number; recentBytes: number } {
    return { totalBytes: 2 ** 41, availableBytes: this.availableBytes, recentBytes: 0 };
  }
}

type WaitsForRoom = 'makeSymlink' | 'makeNode' | 'makeDirectory' | 'createUnnamed' | 'setXattr';

/** Where there is room these do not wait, which keeps tests short. */
export type RoomyFileSystem = Omit<LocalFileSystem, WaitsForRoom> & {
  [method in WaitsForRoom]: (...parameters: Parameters<LocalFileSystem[method]>) => Exclude<ReturnType<LocalFileSystem[method]>, Promise<unknown>>;
};

export interface Harness {
  readonly directory: string;
  readonly fs: RoomyFileSystem;
  readonly context: VfsContext;
  readonly engine: LmdbEngine;
  readonly blocks: MemoryBlocks;
  /** What shipping the log fails with, while it is set. */
  readonly log: { failure: Error | undefined };
  caller(who?: Partial<Caller>): Caller;
  /** Opens the same state again without closing it, as a successor of a killed driver does. */
  successor(): Promise<Harness>;
  end(): Promise<void>;
}

let requests = 2;

export async function openHarness(options: { directory?: string; blocks?: MemoryBlocks; readOnly?: boolean; epoch?: number } = {}): Promise<Harness> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'sdfs-vfs-'));
  const blocks = options.blocks ?? new MemoryBlocks();
  const pending = new PendingBlocks();
  const epoch = options.epoch ?? 1;
  const replayed: Parameters<Parameters<typeof LmdbEngine.open>[1]>[0][] = [];
  const engine = await LmdbEngine.open({ directory, epoch: epoch as DriverEpoch, mountEpoch: 1 as DriverEpoch }, (datum) => replayed.push(datum));
  for (const datum of replayed) if (engine.hasBlock(datum.id)) pending.add(datum.id, datum.data, datum.sequence, 0, { replayed: true });
  let durable = 0 as Sequence;
  const log = {
    failure: undefined as Error | undefined,
    get durableSequence() { return durable; },
    async ship(through: Sequence) {
      if (log.failure !== undefined) throw log.failure;
      durable = through;
    },
    trim() {},
    neededFrom: undefined,
  };
  const accessTimes = new AccessTimes({ accessTime: 'relatime', directories: true });
  const logger = createLogger({ role: 'test', level: 'silent' });
  const durability = new Durability({ engine, blocks: blocks as unknown as BlockEngine, pending, log, logger, beforeSync: () => accessTimes.flush(engine), afterSync: async () => {} });
  const allocator = new Allocator(engine, { newBlockEpoch: false });
  const space = new Space({ blocks: blocks as unknown as BlockEngine, pending, engine });
  const compactor = new Compactor({ engine, blocks: blocks as unknown as BlockEngine, pending, allocator, space, logger });
  const context: VfsContext = {
    engine, allocator, compactor, blocks: blocks as unknown as BlockEngine, pending, durability, accessTimes,
    space, logger, readOnly: options.readOnly ?? false, blockBytes: 1024 * 1024, orphans: new Orphans(),
  };
  const fs = new LocalFileSystem(context);
  return {
    directory, fs: fs as unknown as RoomyFileSystem, context, engine, blocks, log,
    caller: (who) => ({ ...ROOT_CALLER, requestHi: 0, requestLo: (requests += 2), resent: false, ...who }),
    async successor() {
      await engine.abandon();
      return openHarness({ directory, blocks, epoch: epoch + 1 });
    },
    async end() {
      await durability.stop();
      await engine.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
