// The composition root of the driver process: puts the rooms together and takes them apart.
import { EXIT, UserError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { DriverStart, DriverToKeeper, UpkeepQuestion } from '../ipc/process-messages.ts';
import type { RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import { LIMITS } from '../base/limits.ts';
import { lockRows } from '../locks/lock-rows.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import { MachineLocks } from '../locks/machine-locks.ts';
import { LocalFileSystem } from '../vfs/local-filesystem.ts';
import { detachMount } from './detach.ts';
import { openEdge } from './edge.ts';
import type { DriverEdge } from './edge.ts';
import { DriverDumps } from './dump-queries.ts';
import { DriverFsck } from './fsck-queries.ts';
import { serveKeys } from './key-service.ts';
import type { KeyService } from './key-service.ts';
import { fileInfo } from './queries.ts';
import { waitsForOpenFileLock } from './open-file-locks.ts';
import { VolumeCore, within } from './volume-core.ts';

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
  readonly #core: VolumeCore;
  readonly #fsck: DriverFsck;
  readonly #dumps: DriverDumps;
  readonly #edge: DriverEdge;
  /** Absent: the kernel keeps locks. */
  readonly #locks: LockEngine | undefined;
  /** Absent: the mount serves no keys. */
  readonly #keys: KeyService | undefined;
  #state: 'serving' | 'stopping' = 'serving';

  private constructor(parts: { start: DriverStart; callbacks: DriverCallbacks; core: VolumeCore; fsck: DriverFsck; edge: DriverEdge; locks: LockEngine | undefined; keys: KeyService | undefined }) {
    this.#start = parts.start;
    this.#callbacks = parts.callbacks;
    this.#core = parts.core;
    this.#fsck = parts.fsck;
    this.#dumps = new DriverDumps(parts.core.context, parts.start.description);
    this.#locks = parts.locks;
    this.#edge = parts.edge;
    this.#keys = parts.keys;
  }

  /** Recovers the metadata, serves the mount. UserError where starting again would not help. */
  static async start(start: DriverStart, callbacks: DriverCallbacks): Promise<Driver> {
    const { logger } = callbacks;
    const core = await VolumeCore.open(start, {
      logger, tell: callbacks.tell, onDefect: callbacks.onDefect,
      onHung: (worker) => callbacks.tell({ type: 'hung', worker }),
      onRefused: (_worker, { cause }) => {
        if (cause instanceof WorkerError && cause.code === 'staleEpoch') process.exit(EXIT.busy);
      },
    });
    const { context, engine } = core;
    // Who mounts a volume first has made it: an ordinary user, too, can write to the root of their own.
    const isOffline = start.edge.kind === 'offline';
    const fs = isOffline ? undefined : new LocalFileSystem(context, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    const locks = start.locks === 'sdfs' ? new MachineLocks({ store: lockRows(engine, start.mountEpoch), epoch: start.epoch, waitsForOpenFile: waitsForOpenFileLock }) : undefined;
    const orphans = fs?.recoverOrphans({ free: start.session === undefined });
    logger.info({ epoch: start.epoch, sequence: engine.lastSequence, orphans, locks: locks?.counts.held, pendingBytes: core.pendingBytes, takeover: start.session !== undefined }, 'driver serves');
    const fsck = new DriverFsck({ context, pool: core.pool, blocks: core.blocks, replicas: core.replicas, upkeep: core.upkeep, copies: start.description.copies, keySpaces: [core.keys, core.leases], exclusive: isOffline });
    const edge = await openEdge({ fs, orphans: context.orphans, locks }, start, callbacks);
    const keys = await serveKeys(core, start, logger);
    const driver = new Driver({ start, callbacks, core, fsck, edge, locks, keys });
    // Without a mount nothing is done by itself: what is damaged must be looked at before it is acted on.
    if (!isOffline) core.startUpkeep();
    return driver;
  }

  async query(name: string, argument: unknown): Promise<unknown> {
    switch (name) {
      case 'ping': return null;
      case 'sync': return this.#core.context.durability.sync();
      case 'status': return this.#core.status({ locks: this.#locks, requests: this.#edge });
      case 'upkeep': return this.#core.answer(argument as UpkeepQuestion);
      case 'rescue': return this.#rescue(argument as RescueQuestion);
      case 'info': return fileInfo({ pool: this.#core.pool, context: this.#core.context }, (argument as { inode: number }).inode);
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
    await within('the sync before a handover', LIMITS.handOverSyncMs, this.#core.context.durability.sync()).catch((error: unknown) => logger.warn({ err: error }, 'handing over without a sync'));
    await this.#answerAll();
    this.#core.engine.commitBatch();
    logger.info({ sequence: this.#core.engine.lastSequence, unanswered: this.#edge.waitingCount }, 'driver hands over');
  }

  /** No more requests are read; those in work get some time to be answered. */
  async #answerAll(): Promise<void> {
    this.#state = 'stopping';
    this.#fsck.stop();
    this.#dumps.stop();
    const keysEnded = this.#keys?.close();
    const upkeepEnded = this.#core.stopUpkeep();
    this.#core.context.orphans.end();
    this.#edge.stop();
    for (let waited = 0; this.#edge.waitingCount > 0 && waited < LIMITS.requestsEndMs; waited += 10) await new Promise((resolve) => { setTimeout(resolve, 10); });
    await upkeepEnded;
    await keysEnded;
  }

  /** Everything power-proof on the workers, the database closed cleanly. */
  async stop(): Promise<void> {
    if (this.#state === 'stopping') return;
    await this.#answerAll();
    this.#locks?.close();
    await this.#core.close();
  }
}
