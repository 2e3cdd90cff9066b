// The composition root of the driver process: puts the rooms together and takes them apart.
import { KvBlockEngine } from '../blocks/kv-engine.ts';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { DriverStart, DriverToKeeper, UpkeepQuestion } from '../ipc/process-messages.ts';
import type { RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import { LIMITS } from '../base/limits.ts';
import { LogReplicas } from '../kv/log-replicas.ts';
import type { Members } from '../kv/membership.ts';
import { replicationPolicy } from '../kv/replication.ts';
import { workerSocket } from '../kv/worker-client.ts';
import { WorkerPool } from '../kv/worker-pool.ts';
import { lockRows } from '../locks/lock-rows.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import { MachineLocks } from '../locks/machine-locks.ts';
import { Allocator } from '../metadata/allocator.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';
import { Compactor } from '../vfs/compactor.ts';
import { AccessTimes, Space } from '../vfs/context.ts';
import type { VfsContext } from '../vfs/context.ts';
import { Durability } from '../vfs/durability.ts';
import { LocalFileSystem } from '../vfs/local-filesystem.ts';
import { Orphans } from '../vfs/orphans.ts';
import { PendingBlocks } from '../vfs/pending.ts';
import { DriverBlockUpkeep } from './block-upkeep.ts';
import type { DatabaseTrust } from './database-trust.ts';
import { detachMount } from './detach.ts';
import { openEdge } from './edge.ts';
import type { DriverEdge } from './edge.ts';
import { DriverDumps } from './dump-queries.ts';
import { DumpSchedule } from './dump-schedule.ts';
import { DriverFsck } from './fsck-queries.ts';
import { JournalShipping } from './journal-shipping.ts';
import { loadDump } from './load-dump.ts';
import { mountMembers } from './mount-members.ts';
import { fileInfo, status } from './queries.ts';
import { waitsForOpenFileLock } from './open-file-locks.ts';
import { logSource, openMetadata } from './recovery.ts';
import { placeState } from './state-place.ts';

/** A step of the background work waits for a worker at most. */
const UPKEEP_END_MS = LIMITS.workerTimeoutMs + 2_000;

export interface DriverCallbacks {
  readonly logger: Logger;
  readonly tell: (message: DriverToKeeper) => void;
  /** The kernel ended the connection: the mount is gone. */
  readonly onEnd: () => void;
  /** An assertion is broken, or the metadata cannot be written: this process must not acknowledge anything more. */
  readonly onDefect: (error: Error) => void;
}

export class Driver {
  readonly #start: DriverStart;
  readonly #callbacks: DriverCallbacks;
  readonly #pool: WorkerPool;
  readonly #blocks: KvBlockEngine;
  readonly #upkeep: DriverBlockUpkeep;
  readonly #fsck: DriverFsck;
  readonly #dumps: DriverDumps;
  readonly #schedule: DumpSchedule;
  readonly #context: VfsContext;
  readonly #engine: LmdbEngine;
  readonly #trust: DatabaseTrust;
  readonly #members: Members;
  readonly #replicas: LogReplicas;
  readonly #edge: DriverEdge;
  /** Absent: the kernel keeps locks. */
  readonly #locks: LockEngine | undefined;
  #state: 'serving' | 'stopping' = 'serving';

  private constructor(parts: { start: DriverStart; callbacks: DriverCallbacks; pool: WorkerPool; members: Members; replicas: LogReplicas; blocks: KvBlockEngine; upkeep: DriverBlockUpkeep; fsck: DriverFsck; context: VfsContext; engine: LmdbEngine; trust: DatabaseTrust; edge: DriverEdge; locks: LockEngine | undefined }) {
    this.#start = parts.start;
    this.#callbacks = parts.callbacks;
    this.#pool = parts.pool;
    this.#members = parts.members;
    this.#replicas = parts.replicas;
    this.#blocks = parts.blocks;
    this.#upkeep = parts.upkeep;
    this.#fsck = parts.fsck;
    this.#dumps = new DriverDumps(parts.context, parts.start.description);
    this.#schedule = new DumpSchedule({ context: parts.context, description: parts.start.description, pool: parts.pool, logger: parts.callbacks.logger, intervalMs: parts.start.readOnly ? 0 : parts.start.dumpIntervalMs });
    this.#context = parts.context;
    this.#engine = parts.engine;
    this.#trust = parts.trust;
    this.#locks = parts.locks;
    this.#edge = parts.edge;
  }

  /** Recovers the metadata, serves the mount. UserError where starting again would not help. */
  static async start(start: DriverStart, callbacks: DriverCallbacks): Promise<Driver> {
    const { logger } = callbacks;
    const { description } = start;
    const policy = replicationPolicy(description.copies);
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
        callbacks.tell({ type: 'hung', worker: link.worker });
      },
      refused: (link, cause) => {
        logger.fatal({ worker: link.worker, err: cause }, 'a worker serves another driver');
        if (cause instanceof WorkerError && cause.code === 'staleEpoch') process.exit(EXIT.busy);
      },
    });
    pool.start();
    const missing = await pool.allReady(LIMITS.workerAbsenceMs);
    for (const link of missing) logger.error({ worker: link.worker, state: link.state.kind }, 'a worker is not there; going on without it');
    const { members, forced, begin } = mountMembers(pool, { start, logger, tell: callbacks.tell });
    const loaded = start.edge.kind === 'offline' && start.edge.load !== undefined ? await loadDump({ start, order: start.edge.load, pool, logger }) : [];
    const { engine, trust, pendingData, best, ahead, damaged, ...opened } = await openMetadata({ start, place: placeState(start, pool, logger), pool, members, logger, onFailure: callbacks.onDefect });
    const newBlockEpoch = opened.newBlockEpoch || forced;
    await begin(best);
    const onDegraded = members.beforeDegraded;
    const replicas = new LogReplicas(pool, { policy, source: logSource(engine), logger, keepers: members, onDegraded });
    const durable = await replicas.start({ ahead, damaged });
    const blocks = new KvBlockEngine(pool, { policy, logger, onDegraded, isMember: (link) => members.isMember(link), isNeeded: (id) => engine.hasBlock(id) });
    const pending = new PendingBlocks();
    for (const { id, data, sequence } of [...pendingData, ...loaded]) if (engine.hasBlock(id)) pending.add(id, data, sequence, 0, { replayed: true });
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
    // A raised block epoch has to be safe before a block is named by it.
    if (newBlockEpoch) await durability.sync();
    // Who mounts a volume first has made it: an ordinary user, too, can write to the root of their own.
    const isOffline = start.edge.kind === 'offline';
    const fs = isOffline ? undefined : new LocalFileSystem(context, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    const locks = start.locks === 'sdfs' ? new MachineLocks({ store: lockRows(engine, start.mountEpoch), epoch: start.epoch, waitsForOpenFile: waitsForOpenFileLock }) : undefined;
    const orphans = fs?.recoverOrphans({ free: start.session === undefined });
    logger.info({ epoch: start.epoch, sequence: engine.lastSequence, durable, orphans, locks: locks?.counts.held, pendingBytes: pending.bytes, takeover: start.session !== undefined }, 'driver serves');
    const upkeep = new DriverBlockUpkeep({ engine, pending, allocator, durability, pool, blocks, copies: description.copies, logger });
    const fsck = new DriverFsck({ context, pool, blocks, replicas, upkeep, copies: description.copies, exclusive: isOffline });
    const edge = await openEdge({ fs, orphans: context.orphans, locks }, start, callbacks);
    const driver = new Driver({ start, callbacks, pool, members, replicas, blocks, upkeep, fsck, context, engine, trust, edge, locks });
    // Without a mount nothing is done by itself: what is damaged must be looked at before it is acted on.
    if (isOffline) return driver;
    durability.start();
    if (!start.readOnly) upkeep.upkeep.start();
    driver.#schedule.start();
    members.start({ completeLogs: () => replicas.completeLogs(), hasCaughtUp: (link) => replicas.hasCaughtUp(link) && upkeep.isComplete(link) });
    return driver;
  }

  async query(name: string, argument: unknown): Promise<unknown> {
    switch (name) {
      case 'ping': return null;
      case 'sync': return this.#context.durability.sync();
      case 'status': return status({ pool: this.#pool, members: this.#members, blocks: this.#blocks, context: this.#context, locks: this.#locks, upkeep: this.#upkeep.report(), dumps: this.#schedule.status });
      case 'upkeep': return this.#upkeep.answer(argument as UpkeepQuestion);
      case 'rescue': return this.#rescue(argument as RescueQuestion);
      case 'info': return fileInfo({ pool: this.#pool, context: this.#context }, (argument as { inode: number }).inode);
      default: throw new UserError(`the driver knows no query "${name}"`, EXIT.usage);
    }
  }

  async #rescue(question: RescueQuestion): Promise<RescueAnswer> {
    switch (question.ask) {
      case 'fsck': return this.#fsck.begin(question);
      case 'fsckResult': return this.#fsck.result(question.ticket);
      case 'fsckEnd': return this.#fsck.cancel(question.ticket);
      case 'dump': return this.#dumps.begin();
      case 'dumpText': return this.#dumps.read(question.ticket);
    }
  }

  /**
   * Nobody restarts anything any more: the mount goes away. In another process, while this one goes on serving, since
   * the end of a mount writes what programs have mapped.
   */
  async keeperDied(): Promise<void> {
    const { logger } = this.#callbacks;
    if (this.#start.edge.kind === 'offline') return;
    logger.error({ mountpoint: this.#start.mountpoint }, 'the keeper died: unmounting, and finishing what was acknowledged');
    await detachMount(this.#start.mountpoint, logger);
  }

  /**
   * Makes room for a successor: reads no more requests, answers those in work, and leaves what is acknowledged in
   * the journal, as a killed driver does. What is not answered in time, the kernel sends to the successor.
   */
  async handOver(): Promise<void> {
    if (this.#state !== 'serving') return;
    const { logger } = this.#callbacks;
    // Before programs have to wait, so that they wait for less.
    await within('the sync before a handover', LIMITS.handOverSyncMs, this.#context.durability.sync()).catch((error: unknown) => logger.warn({ err: error }, 'handing over without a sync'));
    await this.#answerAll();
    this.#engine.commitBatch();
    logger.info({ sequence: this.#engine.lastSequence, unanswered: this.#edge.waitingCount }, 'driver hands over');
  }

  /** No more requests are read; those in work get some time to be answered. */
  async #answerAll(): Promise<void> {
    this.#state = 'stopping';
    this.#fsck.stop();
    this.#dumps.stop();
    const scheduleEnded = within('the end of a backup of the metadata', UPKEEP_END_MS, this.#schedule.stop());
    this.#context.orphans.end();
    this.#edge.stop();
    const upkeepEnded = within('the end of the background work on blocks', UPKEEP_END_MS, this.#upkeep.upkeep.stop());
    for (let waited = 0; this.#edge.waitingCount > 0 && waited < LIMITS.requestsEndMs; waited += 10) await new Promise((resolve) => { setTimeout(resolve, 10); });
    await scheduleEnded.catch((error: unknown) => this.#callbacks.logger.warn({ err: error }, 'a backup of the metadata is left behind'));
    await upkeepEnded.catch((error: unknown) => this.#callbacks.logger.warn({ err: error }, 'background work is left behind; the next driver begins it again'));
  }

  /** Everything power-proof on the workers, the database closed cleanly. */
  async stop(): Promise<void> {
    if (this.#state === 'stopping') return;
    await this.#answerAll();
    this.#locks?.close();
    await this.#context.durability.stop();
    await this.#engine.close();
    await this.#trust.markClean();
    this.#members.close();
    this.#replicas.close();
    this.#pool.close();
    this.#callbacks.logger.info({ sequence: this.#engine.lastSequence }, 'driver ended');
  }
}

async function within(what: string, timeoutMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new TimeoutError(what, timeoutMs)), timeoutMs);
  });
  await Promise.race([work, expired]).finally(() => clearTimeout(timer));
}
