// Immutable, checksummed blocks, R copies of each, over the workers of a pool.
import type { BlockId } from '../base/ids.ts';
import { blockKey, formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { LogSeries } from '../base/log-series.ts';
import type { BlockPieces, BlockPut } from '../ipc/messages.ts';
import { inspectBlock } from './block-inspect.ts';
import type { CopyReport } from './block-inspect.ts';
import { readBlock } from './block-read.ts';
import type { BadCopy, PieceRange, ReadContext, VerifyPieces } from './block-read.ts';
import { BlockWrite } from './block-write.ts';
import type { WriteContext } from './block-write.ts';
import { CapacityMeter } from './capacity.ts';
import type { Capacity } from './capacity.ts';
import { PutBatcher } from './put-batcher.ts';
import { ReadHedge } from './read-hedge.ts';
import type { DegradedHook, ReplicationPolicy } from './replication.ts';
import { syncAll } from './sync-all.ts';
import { SyncBarrier } from './sync-barrier.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

/** What went wrong without an error to anybody, since start. */
export interface BlockCounters {
  /** Blocks of which a copy may not be where it belongs, and deletes that did not reach every disk. */
  strayed: number;
  missedDeletes: number;
  /** Blocks, and syncs, acknowledged with fewer than R copies. */
  degraded: number;
  degradedSyncs: number;
  /** Copies that were read and were not what was put, and those that were written anew of these and of missing ones. */
  damagedCopies: number;
  repairedCopies: number;
  /** Disks that should have had a block and did not. */
  missingCopies: number;
  /** Reads that were asked of another disk because one was slow. */
  hedgedReads: number;
}

export interface BlockStoreOptions {
  readonly policy: ReplicationPolicy;
  readonly logger: Logger;
  readonly onDegraded?: DegradedHook;
  /** Whether a disk counts as up to date, at the start. Default: all. */
  readonly isMember?: (link: WorkerLink) => boolean;
  /** Copies found bad, or not found, while a good one was read; see rewriteCopy. */
  readonly onBadCopy?: (copy: BadCopy, blockBytes: number) => void;
  /** Whether a block is still needed: one that is not is not written again. */
  readonly isNeeded?: (id: BlockId) => boolean;
}

export class ReplicatedBlockStore {
  readonly counters: BlockCounters = { strayed: 0, missedDeletes: 0, degraded: 0, degradedSyncs: 0, damagedCopies: 0, repairedCopies: 0, missingCopies: 0, hedgedReads: 0 };
  readonly #pool: WorkerPool;
  readonly #policy: ReplicationPolicy;
  readonly #logger: Logger;
  readonly #series: LogSeries;
  readonly #onDegraded: DegradedHook | undefined;
  readonly isNeeded: (id: BlockId) => boolean;
  readonly #barriers: readonly SyncBarrier[];
  readonly #meter: CapacityMeter;
  readonly #writing: WriteContext;
  readonly #reading: ReadContext;
  /** Copies that are being rewritten: block key and disk index. */
  readonly #repairs = new Set<string>();

  constructor(pool: WorkerPool, options: BlockStoreOptions) {
    this.#pool = pool;
    this.#policy = options.policy;
    this.#logger = options.logger;
    this.#series = new LogSeries(options.logger);
    this.#onDegraded = options.onDegraded;
    this.isNeeded = options.isNeeded ?? (() => true);
    // Fewer copies than R are acknowledged only when so few disks are left that are up to date.
    const isMember = (link: WorkerLink): boolean => options.isMember?.(link) !== false;
    const before = Math.max(1, Math.min(options.policy.copies, pool.links.filter(isMember).length));
    this.#barriers = pool.links.map((link) => new SyncBarrier(link, { copies: options.policy.copies, before, excused: !isMember(link) }));
    this.#meter = new CapacityMeter(pool, options.policy);
    this.#writing = {
      pool,
      policy: options.policy,
      batchers: pool.links.map((link, index) => new PutBatcher(link, index)),
      beforeDegraded: (degradation) => this.#degrade(degradation),
      written: (indexes, { strayed }) => {
        if (strayed) this.counters.strayed++;
        for (const index of indexes) this.#barriers[index]!.wrote(indexes.length);
      },
    };
    this.#reading = {
      pool,
      copies: options.policy.copies,
      hedge: new ReadHedge(pool.links.length),
      bad: (copies, blockBytes) => {
        for (const copy of copies) {
          if (copy.state === 'damaged') this.#reportDamage(copy);
          options.onBadCopy?.(copy, blockBytes);
        }
      },
      missing: (id, index) => {
        this.counters.missingCopies++;
        this.#logger.debug({ block: formatBlockId(id), worker: pool.link(index).worker }, 'a disk does not have its copy of a block');
      },
      slow: (id, index) => {
        this.counters.hedgedReads++;
        this.#logger.debug({ block: formatBlockId(id), worker: pool.link(index).worker }, 'a disk is slow; another one is asked for the same block');
      },
    };
  }

  /**
   * Resolves when R copies are process-proof, or fewer where fewer disks live (down to copiesMin, after onDegraded).
   * The bytes must not change until it settles. Rejects with FsError ENOSPC or EIO.
   */
  put(block: BlockPut): Promise<void> {
    const write = new BlockWrite(this.#writing, block);
    this.#meter.took(write.blockBytes);
    return write.done;
  }

  /** As put, for many; settles when all have. Small blocks share frames. */
  async putMany(blocks: readonly BlockPut[]): Promise<void> {
    const results = await Promise.allSettled(blocks.map((block) => this.put(block)));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Verified pieces of a block, from any disk that has a good copy. Rejects with FsError EIO that names the block. */
  get(range: PieceRange, verify: VerifyPieces): Promise<BlockPieces> {
    return readBlock(this.#reading, range, verify);
  }

  /** Forgets blocks on every disk that is there. False when a disk is away, or failed: it may have them still. */
  async delete(ids: readonly BlockId[]): Promise<boolean> {
    const requests: Promise<boolean>[] = [];
    for (const link of this.#pool.links) {
      for (let at = 0; at < ids.length; at += LIMITS.blockIdsMax) {
        const chunk = ids.length <= LIMITS.blockIdsMax ? ids : ids.slice(at, at + LIMITS.blockIdsMax);
        requests.push(link.request('deleteBlocks', { ids: chunk }, { absenceMs: 0 }).then(() => true, (error: unknown) => {
          this.#logger.debug({ err: error, worker: link.worker, blocks: chunk.length }, 'a disk keeps blocks that were deleted, until it is told again');
          return false;
        }));
      }
    }
    const done = (await Promise.all(requests)).every((each) => each);
    if (!done) this.counters.missedDeletes++;
    return done;
  }

  /** True when a worker may hold something that is not power-proof. */
  get dirty(): boolean {
    return this.#barriers.some((barrier) => barrier.dirty);
  }

  /**
   * All blocks acknowledged before the call are power-proof on the disks that hold them. A disk that stays away is
   * tolerated (after onDegraded) while at least copiesMin other copies of all its unsynced blocks are synced.
   * Rejects with FsError EIO when that cannot be had.
   */
  sync(): Promise<void> {
    return syncAll(this.#barriers, { copiesMin: this.#policy.copiesMin, beforeDegraded: (degradation) => this.#degrade(degradation) });
  }

  /** Everything that this disk was given is power-proof there when it resolves. Rejects as WorkerLink.request. */
  syncDisk(index: number): Promise<void> {
    return this.#barriers[index]!.sync({ absenceMs: 0 });
  }

  /** What is found of a block on the disks where it belongs, and on others that have it. Reads every copy. */
  inspect(id: BlockId, verify: VerifyPieces): Promise<CopyReport[]> {
    return inspectBlock(this.#pool, id, { copies: this.#policy.copies, verify });
  }

  /** Resolves when the numbers are at most so old, ms; see CapacityMeter. */
  refreshCapacity(ageMsMax: number): Promise<void> {
    return this.#meter.refresh(ageMsMax);
  }

  /** Numbers of a moment ago, at once: nobody waits for statistics. */
  capacity(): Capacity {
    return this.#meter.capacity();
  }

  /** Bytes put that those numbers may not know of yet. */
  get recentBytes(): number {
    return this.#meter.recentBytes;
  }

  /** Replaces the copy of a block on one disk by a good one of another, or adds it. Resolves whether it was done. */
  async rewriteCopy(copy: Pick<BadCopy, 'id' | 'index' | 'state'>, whole: PieceRange, verify: VerifyPieces): Promise<boolean> {
    const key = blockKey(copy.id) + String(copy.index);
    if (this.#repairs.has(key) || this.#repairs.size >= LIMITS.repairsMax) return false;
    this.#repairs.add(key);
    const { worker } = this.#pool.link(copy.index);
    try {
      const done = await this.copyTo(copy.index, whole, verify);
      if (!done) return false;
      this.counters.repairedCopies++;
      // A disk that comes back misses many.
      this.#logger[copy.state === 'missing' ? 'debug' : 'warn']({ block: formatBlockId(copy.id), worker }, `a ${copy.state} copy was replaced by a good one`);
      return true;
    } catch (error) {
      this.#series.say(`unrepaired ${worker}`, 'error', { err: error, block: formatBlockId(copy.id), worker }, `a ${copy.state} copy could not be replaced`);
      return false;
    } finally {
      this.#repairs.delete(key);
    }
  }

  /**
   * Puts a verified copy of a block from any other disk on this one; false when nobody needs the block any more.
   * Rejects with FsError EIO (no good copy elsewhere) or as WorkerLink.request.
   */
  async copyTo(index: number, whole: PieceRange, verify: VerifyPieces, options: { readonly patienceMs?: number } = {}): Promise<boolean> {
    if (!this.isNeeded(whole.id)) return false;
    const good = await readBlock(this.#reading, whole, verify, { ...options, except: index });
    if (!this.isNeeded(whole.id)) return false;
    const link = this.#pool.link(index);
    await link.request('putBlocks', { blocks: [{ id: whole.id, checksums: good.checksums, data: [good.data] }] });
    this.#barriers[index]!.wrote(this.#policy.copies);
    if (this.isNeeded(whole.id)) return true;
    // Forgotten meanwhile, perhaps before the copy came: it would stay for good.
    await link.request('deleteBlocks', { ids: [whole.id] });
    return false;
  }

  #reportDamage(copy: BadCopy): void {
    this.counters.damagedCopies++;
    const { worker } = this.#pool.link(copy.index);
    this.#series.say(`damaged ${worker}`, 'error', { err: copy.cause, block: formatBlockId(copy.id), worker }, 'a copy of a block is damaged, or cannot be read; another one was read');
  }

  #degrade(degradation: Parameters<DegradedHook>[0]): void | Promise<void> {
    // The first of a series is news; the driver says the rest in its status.
    const count = degradation.kind === 'sync' ? this.counters.degradedSyncs++ : this.counters.degraded++;
    const level = count === 0 ? 'error' : 'debug';
    this.#logger[level]({ degradation }, 'fewer disks are alive than there are to be copies: acknowledged with fewer');
    return this.#onDegraded?.(degradation);
  }
}

