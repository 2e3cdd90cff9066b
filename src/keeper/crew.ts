// The children of one mount: one driver and one worker per disk, each under its supervisor.
import { rmSync } from 'node:fs';
import { ChannelClosedError, UserError } from '../base/errors.ts';
import type { WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { KnownMembership } from '../base/membership.ts';
import { identifyProcess } from '../control/process-identity.ts';
import type { ProcessIdentity } from '../control/process-identity.ts';
import type { RuntimeDirectory } from '../control/running-mounts.ts';
import type { DiskDescription, DriverStart, DriverToKeeper, KeeperToDriver, KeeperToWorker, ProcessLogOptions, VolumeDescription, WorkerToKeeper } from '../ipc/process-messages.ts';
import { forkChild } from './children.ts';
import type { ChildModules } from './children.ts';
import { ChildWatch } from './child-watch.ts';
import { DriverLink } from './driver-link.ts';
import { Supervisor } from './supervisor.ts';
import type { ChildEnd } from './supervisor.ts';

export interface CrewOptions {
  readonly log: Logger;
  readonly modules: ChildModules;
  readonly description: VolumeDescription;
  readonly runtime: RuntimeDirectory;
  readonly mountpoint: string;
  readonly childLog: ProcessLogOptions;
  /** The mounted /dev/fuse, asked for at every start of a driver; undefined where drivers mount by themselves. */
  readonly fuseFd: () => number | undefined;
  /** Asked for at every start of a driver. */
  readonly driverStart: (crashed: boolean) => DriverStart;
  readonly onSession: (session: string) => void;
  /** The driver has mounted by itself. */
  readonly onMounted: (connection: number | null) => void;
  readonly onMembership: (membership: KnownMembership) => void;
  /** The driver says that the kernel ended the connection and that all is flushed. */
  readonly onDriverEnded: () => void;
  readonly onDriverDeath: (end: ChildEnd) => 'restart' | 'leave';
  /** The driver waits for the disk below its database, and goes on no sooner than that. */
  readonly onDriverHangs?: (reason: string) => void;
  /** After each change of any child's state. */
  readonly onChange: () => void;
}

type WorkerSupervisor = Supervisor<KeeperToWorker, WorkerToKeeper>;

export class Crew {
  readonly #options: CrewOptions;
  /** What the next child of each kind is forked from. */
  modules: ChildModules;
  readonly driver: Supervisor<KeeperToDriver, DriverToKeeper>;
  /** By worker id. */
  readonly workers = new Map<WorkerId, WorkerSupervisor>();
  /** What the next children are told, and the present workers note. */
  #description: VolumeDescription;
  /** Questions to the driver; they fail at once while it is not ready. */
  readonly link: DriverLink;
  readonly #watch: ChildWatch;

  constructor(options: CrewOptions) {
    this.#options = options;
    this.modules = options.modules;
    this.link = new DriverLink((message) => this.driver.state.kind === 'ready' && this.driver.send(message));
    this.driver = this.#superviseDriver();
    this.#description = options.description;
    for (const disk of options.description.disks) this.workers.set(disk.worker, this.#superviseWorker(disk));
    this.#watch = new ChildWatch({ driver: this.driver, workers: this.workers, link: this.link, ...(options.onDriverHangs !== undefined && { onDiskHangs: options.onDriverHangs }) });
  }

  get description(): VolumeDescription {
    return this.#description;
  }

  /** Of the next driver; every disk notes it, those that are away when they come back. */
  set description(description: VolumeDescription) {
    this.#description = description;
    for (const worker of this.workers.values()) if (worker.state.kind === 'ready') worker.send({ type: 'describe', description });
  }

  /** Resolves when it serves its disk. UserError when it cannot; then there is no such worker. */
  async addWorker(disk: DiskDescription): Promise<void> {
    const worker = this.#superviseWorker(disk);
    this.workers.set(disk.worker, worker);
    worker.start();
    try {
      await worker.untilReady();
    } catch (error) {
      await this.removeWorker(disk.worker);
      throw error;
    }
  }

  async removeWorker(id: WorkerId): Promise<void> {
    const worker = this.workers.get(id);
    this.workers.delete(id);
    await worker?.stop();
    this.#options.onChange();
  }

  /**
   * All workers at once. `onLost` is told which cannot be used, and throws when that is too much; those are tried again
   * and again, since a disk may come back.
   */
  async startWorkers(onLost: (worker: WorkerId, error: Error) => void): Promise<void> {
    this.#watch.start();
    const workers = [...this.workers];
    for (const [, worker] of workers) worker.start();
    const starts = await Promise.allSettled(workers.map(([, worker]) => worker.untilReady()));
    for (const [index, [id, worker]] of workers.entries()) {
      const start = starts[index]!;
      if (start.status === 'fulfilled') continue;
      onLost(id, start.reason as Error);
      worker.keepTrying();
    }
  }

  /** Workers whose disks cannot be used now. */
  get away(): WorkerId[] {
    return [...this.workers].flatMap(([id, { shown }]) => (shown.kind === 'unusable' ? [id] : []));
  }

  async startDriver(): Promise<void> {
    this.driver.start();
    await this.driver.untilReady();
  }

  /** A new driver takes the place of the present one; programs see a pause. Rejects with the UserError of one that cannot be used. */
  handOver(): Promise<void> {
    return this.driver.succeed({ type: 'handOver' });
  }

  /** Asks the driver; while it is being replaced the question waits for the successor. UserError when the time is up. */
  async askDriver<T>(what: string, timeoutMs: number, ask: (link: DriverLink) => Promise<T>): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        return await ask(this.link);
      } catch (cause) {
        if (!(cause instanceof ChannelClosedError) || performance.now() > deadline) throw new UserError(`${what} failed: ${(cause as Error).message}`, undefined, { cause });
        await new Promise((resolve) => setTimeout(resolve, LIMITS.restartDelayMinMs));
      }
    }
  }

  /** True when all of them wrote what they had and ended by themselves. */
  async stopWorkers(): Promise<boolean> {
    this.#watch.close();
    const ends = await Promise.all([...this.workers.values()].map((worker) => worker.stop()));
    return ends.every((end) => end.code === 0);
  }

  async killAll(): Promise<void> {
    this.#watch.close();
    await Promise.all([this.driver.kill(), ...[...this.workers.values()].map((worker) => worker.kill())]);
  }

  identities(): ProcessIdentity[] {
    return [this.driver, ...this.workers.values()].flatMap((child) => (child.pid === undefined ? [] : identifyProcess(child.pid) ?? []));
  }

  #superviseDriver(): Supervisor<KeeperToDriver, DriverToKeeper> {
    const { log, mountpoint, onChange, onDriverDeath, driverStart, fuseFd } = this.#options;
    return new Supervisor<KeeperToDriver, DriverToKeeper>(log, {
      name: 'driver',
      fork: () => forkChild({ module: this.modules.driver, label: [mountpoint], fuseFd: fuseFd(), log }),
      startMessage: driverStart,
      stopMessage: { type: 'stop' },
      startMs: LIMITS.driverStartMs,
      stopMs: LIMITS.driverStopMs,
      onMessage: (message) => this.#fromDriver(message),
      onChange: () => {
        if (this.driver.state.kind !== 'ready' && this.driver.state.kind !== 'stopping') this.link.failAll('the driver is being replaced');
        onChange();
      },
      onDeath: onDriverDeath,
    });
  }

  #fromDriver(message: DriverToKeeper): void {
    switch (message.type) {
      case 'membership': return this.#options.onMembership(message.membership);
      case 'session': return this.#options.onSession(message.session);
      case 'mounted': return this.#options.onMounted(message.connection);
      case 'reply': return this.link.take(message);
      case 'hung': return this.workers.get(message.worker)?.replace('it does not answer the driver');
      case 'ended': return this.#options.onDriverEnded();
      case 'ready':
      case 'unusable': // the supervisor's
    }
  }

  #superviseWorker(disk: DiskDescription): WorkerSupervisor {
    const { log, runtime, childLog, onChange } = this.#options;
    const socket = runtime.workerSocket(disk.worker);
    const supervisor: WorkerSupervisor = new Supervisor<KeeperToWorker, WorkerToKeeper>(log, {
      name: `worker ${disk.worker}`,
      fork: () => {
        // What a killed worker left: a new one could not bind to it.
        rmSync(socket, { force: true });
        return forkChild({ module: this.modules.worker, label: [String(disk.worker), disk.directory], log });
      },
      startMessage: (crashed) => ({ type: 'start', volume: this.#description.volume, worker: disk.worker, disk: disk.disk, directory: disk.directory, socket, log: childLog, crashed }),
      stopMessage: { type: 'stop' },
      startMs: LIMITS.workerStartMs,
      stopMs: LIMITS.workerStopMs,
      onChange: () => {
        // It may have been away while the description changed.
        if (supervisor.state.kind === 'ready') supervisor.send({ type: 'describe', description: this.#description });
        onChange();
      },
    });
    return supervisor;
  }
}
