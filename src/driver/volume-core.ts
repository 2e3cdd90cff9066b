// A volume as one process has it open: workers, recovered metadata, blocks, and what goes on in the background. Whoever
// serves it, as a file system or as a key-value store, does so over this.
import { KvBlockEngine } from '../blocks/kv-engine.ts';
import type { Logger } from '../base/log.ts';
import type { WorkerId } from '../base/ids.ts';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { DriverStart, DriverStatus, DriverToKeeper, UpkeepAnswer, UpkeepQuestion } from '../ipc/process-messages.ts';
import { Durability } from '../durability/durability.ts';
import { PendingBlocks } from '../durability/pending.ts';
import { Space } from '../durability/space.ts';
import { ExpirySweeper } from '../keys/expiry-sweeper.ts';
import { LocalKeySpace } from '../keys/local-key-space.ts';
import { Versions } from '../keys/versions.ts';
import { LogReplicas } from '../kv/log-replicas.ts';
import type { Members } from '../kv/membership.ts';
import { replicationPolicy } from '../kv/replication.ts';
import { workerSocket } from '../kv/worker-client.ts';
import { WorkerPool } from '../kv/worker-pool.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import { Allocator } from '../metadata/allocator.ts';
import { KEY_AREAS } from '../metadata/key-rows.ts';
import { isNewer } from '../metadata/schema-version.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';
import { Compactor } from '../vfs/compactor.ts';
import { AccessTimes } from '../vfs/context.ts';
import type { VfsContext } from '../vfs/context.ts';
import { Orphans } from '../vfs/orphans.ts';
import { DriverBlockUpkeep, blockRows } from './block-upkeep.ts';
import { mendBookkeeping } from './bookkeeping.ts';
import type { DatabaseTrust } from './database-trust.ts';
import { DumpSchedule } from './dump-schedule.ts';
import { JournalShipping } from './journal-shipping.ts';
import { loadDump } from './load-dump.ts';
import { metadataScrub } from './metadata-scrub.ts';
import { mountMembers } from './mount-members.ts';
import { status } from './queries.ts';
import { RowsCheck } from './rows-check.ts';
import { logSource, openMetadata } from './recovery.ts';
import { placeState } from './state-place.ts';
import { WhatIf } from './what-if.ts';
import type { RequestsInWork } from './stuck.ts';

export interface CoreCallbacks {
  readonly logger: Logger;
  /** What a successor has to know. */
  readonly tell: (message: Extract<DriverToKeeper, { type: 'membership' }>) => void;
  /** This worker lives and does not answer. */
  readonly onHung: (worker: WorkerId) => void;
  /** A worker serves another opener of the volume. */
  readonly onRefused: (worker: WorkerId, refusal: { cause: Error }) => void;
  /** An assertion is broken, or the metadata cannot be written: this process must not acknowledge anything more. */
  readonly onDefect: (error: Error) => void;
  /** Memory for small values of keys. Default: a share of it. */
  readonly keyCacheBytes?: number | undefined;
}

export class VolumeCore {
  readonly pool: WorkerPool;
  readonly members: Members;
  readonly replicas: LogReplicas;
  readonly blocks: KvBlockEngine;
  readonly engine: LmdbEngine;
  readonly context: VfsContext;
  /** The volume's keys, and what is leased: apart from its files, in the same log and on the same shards. */
  readonly keys: LocalKeySpace;
  readonly leases: LocalKeySpace;
  readonly rowsCheck: RowsCheck;
  readonly upkeep: DriverBlockUpkeep;
  readonly dumps: DumpSchedule;
  readonly #whatIf: WhatIf;
  readonly #sweepers: readonly ExpirySweeper[];
  readonly #trust: DatabaseTrust;
  readonly #pending: PendingBlocks;
  readonly #readOnly: boolean;
  readonly #logger: Logger;

  private constructor(parts: { start: DriverStart; logger: Logger; pool: WorkerPool; members: Members; replicas: LogReplicas; blocks: KvBlockEngine; engine: LmdbEngine; trust: DatabaseTrust; pending: PendingBlocks; context: VfsContext; versions: Versions; rowsVerified: boolean; keyCacheBytes: number | undefined }) {
    const { start, logger, pool, context } = parts;
    this.pool = pool;
    this.members = parts.members;
    this.replicas = parts.replicas;
    this.blocks = parts.blocks;
    this.engine = parts.engine;
    this.context = context;
    this.keys = new LocalKeySpace(context, { versions: parts.versions, cacheBytes: parts.keyCacheBytes });
    this.leases = new LocalKeySpace(context, { versions: parts.versions, area: KEY_AREAS.leases });
    this.#sweepers = [this.keys, this.leases].map((keys) => new ExpirySweeper(keys, { logger }));
    this.rowsCheck = new RowsCheck(parts.engine, { verified: parts.rowsVerified, logger });
    const scrubMetadata = metadataScrub({ rows: this.rowsCheck, replicas: parts.replicas, logger });
    this.upkeep = new DriverBlockUpkeep({ scrubMetadata, rowsVerified: () => this.rowsCheck.verified, engine: parts.engine, pending: parts.pending, allocator: context.allocator, durability: context.durability, pool, blocks: parts.blocks, copies: start.description.copies, logger });
    this.dumps = new DumpSchedule({ context, description: start.description, pool, logger, intervalMs: start.readOnly ? 0 : start.dumpIntervalMs });
    this.#whatIf = new WhatIf({
      start, pool, context, members: parts.members, replicas: parts.replicas, journalDirectory: parts.engine.journalDirectory, dumps: () => this.dumps.status, disks: () => parts.blocks.store.capacity().disks,
      rows: blockRows({ engine: parts.engine, pending: parts.pending, allocator: context.allocator, durability: context.durability, rowsVerified: () => this.rowsCheck.verified }),
    });
    this.#trust = parts.trust;
    this.#pending = parts.pending;
    this.#readOnly = start.readOnly;
    this.#logger = logger;
  }

  /** Reaches the workers and recovers the metadata; nothing goes on by itself until `startUpkeep`. UserError where trying again would not help. */
  static async open(start: DriverStart, callbacks: CoreCallbacks): Promise<VolumeCore> {
    const { logger } = callbacks;
    const { description } = start;
    const policy = replicationPolicy(description.copies);
    const pool = await reachWorkers(start, callbacks);
    const { members, forced, begin } = mountMembers(pool, { start, logger, tell: callbacks.tell });
    const loaded = start.edge.kind === 'offline' && start.edge.load !== undefined ? await loadDump({ start, order: start.edge.load, pool, logger }) : [];
    const { engine, trust, pendingData, best, ahead, damaged, ...opened } = await openMetadata({ start, place: placeState(start, pool, logger), pool, members, logger, onFailure: callbacks.onDefect });
    if (isNewer(engine.reader)) {
      await engine.abandon();
      throw new UserError('the metadata was written by a newer sdfs; install that version', EXIT.unsupported);
    }
    const newBlockEpoch = opened.newBlockEpoch || forced;
    await begin(best);
    const onDegraded = members.beforeDegraded;
    const replicas = new LogReplicas(pool, { policy, source: logSource(engine), logger, keepers: members, onDegraded });
    const durable = await replicas.start({ ahead, damaged });
    const blocks = new KvBlockEngine(pool, { policy, logger, onDegraded, isMember: (link) => members.isMember(link), isNeeded: (id) => engine.hasBlock(id) });
    const pending = new PendingBlocks();
    for (const { id, data, sequence } of [...pendingData, ...loaded]) if (engine.hasBlock(id)) pending.add(id, data, sequence, 0, { replayed: true });
    mendBookkeeping(engine, logger);
    const allocator = new Allocator(engine, { newBlockEpoch, leap: forced, inodesMayBeKnown: opened.newBlockEpoch && start.session !== undefined });
    const accessTimes = new AccessTimes({ accessTime: start.readOnly ? 'noatime' : start.accessTime, directories: start.directoryAccessTime });
    const space = new Space({ blocks, pending, engine });
    const compactor = new Compactor({ engine, blocks, pending, allocator, space, logger });
    const log = new JournalShipping(engine, replicas, durable);
    const durability = new Durability({ engine, blocks, pending, log, logger, beforeSync: () => accessTimes.flush(engine), afterSync: () => compactor.run() });
    const context: VfsContext = {
      engine, allocator, blocks, pending, durability, accessTimes, compactor, logger,
      space, readOnly: start.readOnly, blockBytes: Math.min(description.blockBytes, LIMITS.blockBytesMax), orphans: new Orphans(),
    };
    const isNew = engine.lastSequence === 0 && !start.readOnly;
    const versions = new Versions(engine, { leap: newBlockEpoch });
    // A power cut that takes all that a new volume has would take the versions with it that were told.
    if (isNew) versions.lease();
    // A raised block epoch has to be safe before a block is named by it, and versions that leaped before one is told.
    if (newBlockEpoch || isNew) await durability.sync();
    return new VolumeCore({ rowsVerified: opened.verified, keyCacheBytes: callbacks.keyCacheBytes, start, logger, pool, members, replicas, blocks, engine, trust, pending, context, versions });
  }

  /** Small data that is not on the workers yet. */
  get pendingBytes(): number {
    return this.#pending.bytes;
  }

  /** From now on what is acknowledged reaches the disks by itself, copies are kept, and backups are made. */
  startUpkeep(): void {
    this.context.durability.start();
    this.rowsCheck.start();
    if (!this.#readOnly) {
      this.upkeep.upkeep.start();
      for (const sweeper of this.#sweepers) sweeper.start();
    }
    this.dumps.start();
    this.members.start({ completeLogs: () => this.replicas.completeLogs(), hasCaughtUp: (link) => this.replicas.hasCaughtUp(link) && this.upkeep.isComplete(link) });
  }

  answer(question: UpkeepQuestion): Promise<UpkeepAnswer> {
    if (question.ask === 'whatIf' || question.ask === 'whatIfResult') return Promise.resolve(this.#whatIf.answer(question));
    return this.upkeep.answer(question);
  }

  /** For people. */
  status(extra: { locks?: LockEngine | undefined; requests?: RequestsInWork } = {}): Promise<DriverStatus> {
    return status({ pool: this.pool, members: this.members, blocks: this.blocks, context: this.context, locks: extra.locks, requests: extra.requests, upkeep: this.upkeep.report(), dumps: this.dumps.status });
  }

  /** Nothing goes on by itself any more, as far as it can be waited for. */
  async stopUpkeep(): Promise<void> {
    this.#whatIf.stop();
    const ends = {
      'a backup of the metadata': this.dumps.stop(),
      'the look at all rows': this.rowsCheck.stop(),
      'the background work on blocks': this.upkeep.upkeep.stop(),
      'the deletion of expired keys': Promise.all(this.#sweepers.map((sweeper) => sweeper.stop())).then(() => {}),
    };
    for (const [what, end] of Object.entries(ends)) {
      await within(`the end of ${what}`, LIMITS.upkeepEndMs, end).catch((error: unknown) => this.#logger.warn({ err: error }, `${what} is left behind; it is begun again`));
    }
  }

  /** Makes room for a successor: what is acknowledged is on the disks as far as that can be, and in the journal for certain. */
  async leave(): Promise<void> {
    this.context.durability.halt();
    await within('the sync before a handover', LIMITS.handOverSyncMs, this.context.durability.sync()).catch((error: unknown) => this.#logger.warn({ err: error }, 'handing over without a sync'));
    await this.stopUpkeep();
    await this.engine.abandon();
    this.members.close();
    this.replicas.close();
    this.pool.close();
  }

  /** Everything power-proof on the workers, the database closed cleanly. What goes on in the background has been stopped. */
  async close(): Promise<void> {
    await this.context.durability.stop();
    await this.engine.close();
    await this.#trust.markClean();
    this.members.close();
    this.replicas.close();
    this.pool.close();
    this.#logger.info({ sequence: this.engine.lastSequence }, 'volume closed');
  }
}

export async function within(what: string, timeoutMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new TimeoutError(what, timeoutMs)), timeoutMs);
  });
  await Promise.race([work, expired]).finally(() => clearTimeout(timer));
}

async function reachWorkers(start: DriverStart, { logger, onHung, onRefused }: CoreCallbacks): Promise<WorkerPool> {
  const { description } = start;
  const pool = new WorkerPool({
    volume: description.volume,
    epoch: start.epoch,
    disks: description.disks.map(({ worker, disk, weight, state }) => ({
      worker, disk, weight: state === 'draining' ? 0 : weight, connect: workerSocket(start.sockets[worker] as string), away: start.away.includes(worker),
    })),
    logger,
  });
  pool.listen({
    hung: (link, cause) => {
      logger.error({ worker: link.worker, err: cause }, 'a worker lives and does not answer');
      onHung(link.worker);
    },
    refused: (link, cause) => {
      logger.fatal({ worker: link.worker, err: cause }, 'a worker serves another driver');
      onRefused(link.worker, { cause });
    },
  });
  pool.start();
  const missing = await pool.allReady(LIMITS.workerAbsenceMs);
  for (const link of missing) logger.error({ worker: link.worker, state: link.state.kind }, 'a worker is not there; going on without it');
  return pool;
}
