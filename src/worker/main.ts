// The worker process: forked by the keeper for one disk, serves it to the driver over a socket until it is told to stop.
import { z } from 'zod';
import { LIMITS, assertLimits } from '../base/limits.ts';
import { EXIT, FormatError, UserError } from '../base/errors.ts';
import { createLogger } from '../base/log.ts';
import type { Logger } from '../base/log.ts';
import { Disk } from '../disk/disk.ts';
import { DiskHealth, openFailure } from '../disk/disk-health.ts';
import { volumeSchema } from '../disk/identity.ts';
import type { KeeperToWorker, VolumeDescription, WorkerToKeeper } from '../ipc/process-messages.ts';
import type { MessageName } from '../ipc/messages.ts';
import { WorkerServer } from '../ipc/worker-server.ts';
import { checkCheckpoint } from './checkpoint-check.ts';
import { diskHandlers } from './service.ts';

/** Requests that read the disk; all others write it. */
const READS: ReadonlySet<MessageName> = new Set(['hello', 'getBlock', 'hasBlocks', 'listBlocks', 'verifyBlocks', 'readLog', 'readCheckpoint', 'checkCheckpoint', 'statistics']);

type Start = Extract<KeeperToWorker, { type: 'start' }>;
const messageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('start'), volume: z.string(), worker: z.number(), disk: z.string(), directory: z.string(), socket: z.string(),
    log: z.object({ level: z.string(), file: z.string().optional() }), crashed: z.boolean().optional(),
  }),
  z.object({ type: z.literal('describe'), description: volumeSchema }),
  z.object({ type: z.literal('stop') }),
]);

/** Everything that runs; exists from the start message on. */
class Worker {
  readonly #log: Logger;
  readonly #start: Start;
  #disk: Disk | undefined;
  #health: DiskHealth | undefined;
  #server: WorkerServer | undefined;
  #state: 'opening' | 'serving' | 'orphaned' | 'stopping' = 'opening';
  #stopWanted = false;

  constructor(start: Start) {
    this.#start = start;
    this.#log = createLogger({ level: start.log.level, role: `worker-${start.worker}`, file: start.log.file });
  }

  async open(): Promise<void> {
    const { directory, volume, worker, disk, socket } = this.#start;
    const onProgress = (): void => void tell({ type: 'progress' });
    const crashed = this.#start.crashed === true ? { checkpointIsWhole: (checkpoint: string) => checkCheckpoint(checkpoint, onProgress) } : undefined;
    try {
      this.#disk = await Disk.open({ directory, log: this.#log, expect: { volume, worker, disk }, onFailure: (error) => this.#health?.failed('write', error), onProgress, crashed });
      this.#health = new DiskHealth({ directory, log: this.#log, onFailed: (reason) => void this.#diskFailed(reason) });
      this.#server = new WorkerServer({
        path: socket,
        handlers: diskHandlers(this.#disk, this.#log),
        log: this.#log,
        epoch: this.#disk.epoch,
        onEpoch: (epoch) => this.#disk?.raiseEpoch(epoch),
        onRefused: (name, error) => this.#health?.failed(READS.has(name) ? 'read' : 'write', error),
        onIdle: () => {
          if (this.#state === 'orphaned') this.stop('the keeper and the driver are gone');
        },
      });
    } catch (error) {
      await this.#fail(error as Error);
      return;
    }
    this.#state = 'serving';
    this.#log.info({ directory }, 'serving the disk');
    tell({ type: 'ready' });
    if (this.#stopWanted) this.stop('told to stop while opening');
  }

  /** A disk that cannot note it is told again when its worker starts the next time. */
  describe(description: VolumeDescription): void {
    try {
      this.#disk?.describe(description);
    } catch (error) {
      this.#log.error({ err: error, generation: description.generation }, 'the description of the volume could not be noted');
    }
  }

  stop(reason: string): void {
    if (this.#state === 'stopping') return;
    if (this.#state === 'opening') {
      this.#stopWanted = true;
      return;
    }
    this.#state = 'stopping';
    this.#log.info({ reason }, 'ending');
    this.#server?.close();
    this.#health?.close();
    this.#disk!.close().then(
      () => process.exit(EXIT.ok),
      (error: unknown) => {
        this.#log.error({ err: error }, 'the disk could not be closed cleanly; what was acknowledged is in it, and checked at the next start');
        process.exit(EXIT.failure);
      },
    );
  }

  /** The keeper died: the driver may still have something to finish. */
  orphan(): void {
    if (this.#state === 'stopping') return;
    if (this.#state === 'opening' || this.#server!.connectionCount === 0) return this.stop('the keeper is gone');
    this.#state = 'orphaned';
    setTimeout(() => this.stop(`the keeper is gone, and the driver still connected after ${LIMITS.workerOrphanMs} ms`), LIMITS.workerOrphanMs);
  }

  /** After a broken invariant nothing may be flushed: what was acknowledged is in the page cache or on the disk already. */
  crash(error: unknown): never {
    this.#log.fatal({ err: error }, 'the worker ends because of an error that it does not understand');
    process.exit(EXIT.failure);
  }

  /** Tells the keeper when another start would meet the same. */
  async #fail(error: Error): Promise<void> {
    const { directory } = this.#start;
    const failure = error instanceof UserError ? undefined : openFailure(directory, error);
    const exitCode = error instanceof UserError ? error.exitCode : error instanceof FormatError || failure !== undefined ? EXIT.damaged : undefined;
    // The keeper says it, once for each reason: a disk that failed is tried again and again.
    this.#log[exitCode === undefined ? 'error' : 'debug']({ err: error, directory }, 'the disk cannot be served');
    if (exitCode !== undefined) await tell({ type: 'unusable', reason: failure ?? error.message, exitCode });
    process.exit(exitCode ?? EXIT.failure);
  }

  /** Nothing is flushed: it would fail, or hang. Only a new process gets rid of a file system that is dead. */
  async #diskFailed(reason: string): Promise<void> {
    if (this.#state === 'stopping') return;
    this.#state = 'stopping';
    this.#log.debug({ reason }, 'the disk has failed: ending');
    this.#disk?.distrust();
    this.#server?.close();
    await tell({ type: 'unusable', reason, exitCode: EXIT.damaged });
    process.exit(EXIT.damaged);
  }
}

/** Resolves when the message is on its way, or cannot be. */
function tell(message: WorkerToKeeper): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) return resolve();
    process.send(message, () => resolve());
  });
}

function main(): void {
  assertLimits();
  let worker: Worker | undefined;
  // Ctrl-C goes to every process of a terminal; the keeper says when a worker ends.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  const impatience = setTimeout(() => process.exit(EXIT.usage), LIMITS.workerOrdersMs);
  process.on('message', (json) => {
    const message = messageSchema.parse(json) as KeeperToWorker;
    if (message.type === 'stop') {
      if (worker === undefined) process.exit(EXIT.ok);
      worker.stop('told to stop');
      return;
    }
    if (message.type === 'describe') {
      worker?.describe(message.description);
      return;
    }
    if (worker !== undefined) return;
    clearTimeout(impatience);
    const started = new Worker(message);
    worker = started;
    process.on('uncaughtException', (error) => started.crash(error));
    process.on('unhandledRejection', (error) => started.crash(error));
    void worker.open();
  });
  process.on('disconnect', () => {
    if (worker === undefined) process.exit(EXIT.ok);
    worker.orphan();
  });
  // Who started it may be gone before it could listen: then nobody says so any more.
  if (process.send !== undefined && !process.connected) process.exit(EXIT.ok);
  if (process.send === undefined) {
    process.stderr.write('This is a part of sdfs that "sdfs mount" starts; it does nothing by itself.\n');
    process.exit(EXIT.usage);
  }
}

main();
