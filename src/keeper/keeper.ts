// The keeper of one mount: takes the lock, mounts, keeps driver and workers alive, and takes everything down in order.
//
//   new ─start()─► starting ─► serving ─unmount()─► unmounting ─► detached ─driver 'ended'─► ending ─► ended
//                                 ▲                     │ busy
//                                 └─────────────────────┘
// It never touches the mountpoint itself: the driver serves it, and the keeper must be free to replace the driver.
import { statSync } from 'node:fs';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { KnownMembership } from '../base/membership.ts';
import type { MountOptions } from '../base/mount-options.ts';
import type { ControlHandler, DiskAnswer, DiskRequest, DriverFileInfo, DriverKind, MountState, StatusReport, UnmountMode, UnmountResult, UpkeepAnswer, UpkeepQuestion, RescueAnswer, RescueQuestion } from '../control/api.ts';
import { identifyProcess } from '../control/process-identity.ts';
import { RuntimeDirectory } from '../control/running-mounts.ts';
import { ControlServer } from '../control/server.ts';
import { newestEpoch } from '../disk/disk-state.ts';
import type { DriverStart, ProcessLogOptions, VolumeDescription } from '../ipc/process-messages.ts';
import type { ChildModules } from './children.ts';
import { Crew } from './crew.ts';
import { deferred } from './deferred.ts';
import { newestDescription } from './description.ts';
import { DiskChanges } from './disk-changes.ts';
import { everyStep } from './every-step.ts';
import type { KernelEdge } from './kernel-edge.ts';
import { createMountHolder } from './mount-holder.ts';
import type { MountHolder } from './mount-holder.ts';
import { checkMountpoint } from './mountpoint.ts';
import { statusReport } from './status-report.ts';
import type { ChildEnd } from './supervisor.ts';
import { startWorkers } from './survey.ts';
import { upgrade } from './upgrade.ts';
import { VolumeHold } from './volume-hold.ts';
import { readVolume, volumePaths } from './volume.ts';

export interface KeeperComponents {
  readonly log: Logger;
  readonly kernel: KernelEdge;
  readonly modules: ChildModules;
}

export interface KeeperOptions {
  /** Absolute. */
  readonly volumeDirectory: string;
  /** Absolute, as resolveMountpoint gives it. */
  readonly mountpoint: string;
  readonly mount: MountOptions;
  /** Default: direct. */
  readonly driver?: DriverKind | undefined;
  /** The user's word that disks that are missing are gone for good. */
  readonly forceDegraded?: boolean;
  /** Of the children; the keeper has its logger already. */
  readonly log: ProcessLogOptions;
}

type Phase = 'new' | MountState | 'ended';
/** How the driver goes when everything is taken down: by itself, asked to, or killed with the workers. */
type DriverExit = 'expected' | 'asked' | 'killed';

export class Keeper implements ControlHandler {
  readonly #log: Logger;
  readonly #kernel: KernelEdge;
  readonly #options: KeeperOptions;
  readonly #description: VolumeDescription;
  readonly #runtime: RuntimeDirectory;
  readonly #crew: Crew;
  readonly #since = new Date().toISOString();
  readonly #finished = deferred<ExitCode>();
  /** Rejected by a shutdown that comes while the mount is still starting. */
  readonly #interrupted = deferred<never>();
  /** Resolved when the users of a busy mount have had time enough. */
  readonly #graceOver = deferred<void>();
  #phase: Phase = 'new';
  #hold: VolumeHold | undefined;
  #control: ControlServer | undefined;
  readonly #holder: MountHolder;
  /** The device (st_dev) below the volume's directory; and whether it hangs. Then no driver logs there: a thread that waits keeps its process from ending. */
  #device: number | undefined;
  #deviceHangs = false;
  /** What the first driver negotiated with the kernel, for its successors. */
  #session: string | undefined;
  /** What drivers said last of the membership, for their successors. */
  #membership: KnownMembership | undefined;
  /** Epoch of the first driver that this keeper started. */
  #mountEpoch: DriverEpoch | undefined;
  /** Drivers that died after the mount was taken out of the tree. */
  #lateDeaths = 0;
  #ending: Promise<void> | undefined;
  /** What is being changed under the mount, in words. */
  #changing: string | undefined;

  /** Reads the volume's description: UserError as readVolume. Changes nothing. */
  constructor(components: KeeperComponents, options: KeeperOptions) {
    this.#log = components.log;
    this.#kernel = components.kernel;
    this.#options = options;
    this.#description = newestDescription(readVolume(options.volumeDirectory));
    this.#runtime = new RuntimeDirectory(this.#description.volume);
    this.#holder = createMountHolder(components.kernel, { ...options, driver: options.driver ?? 'direct' });
    this.#interrupted.promise.catch(() => {});
    this.#crew = new Crew({
      log: components.log, modules: components.modules, description: this.#description, runtime: this.#runtime,
      mountpoint: options.mountpoint, childLog: options.log,
      fuseFd: () => this.#holder.fuseFd,
      driverStart: (crashed) => this.#driverStart(crashed),
      onSession: (session) => {
        this.#session = session;
      },
      onMounted: (connection) => this.#mountedByDriver(connection),
      onMembership: (membership) => {
        this.#membership = membership;
      },
      onDriverEnded: () => this.#driverEnded(),
      onDriverDeath: (end) => this.#driverDied(end),
      onDriverHangs: (reason) => this.#driverHangs(reason),
      onChange: () => this.#register(),
    });
  }

  /** Resolves when everything of the mount has ended: with ok when the unmount was clean. */
  get finished(): Promise<ExitCode> {
    return this.#finished.promise;
  }

  /** Resolves when the mount is usable. Rejects with the reason when it is not; then everything is taken down again. */
  async start(): Promise<void> {
    this.#phase = 'starting';
    try {
      await Promise.race([this.#bringUp(), this.#interrupted.promise]);
    } catch (error) {
      await this.#takeDown('killed');
      throw error;
    }
  }

  async #bringUp(): Promise<void> {
    const { mountpoint, volumeDirectory } = this.#options;
    const { dead } = checkMountpoint(mountpoint);
    this.#hold = await VolumeHold.acquire(this.#description, this.#runtime, { volumeDirectory, mountpoint, log: this.#log });
    this.#assertStarting();
    if (dead) {
      this.#log.warn({ mountpoint }, 'a dead sdfs mount is in the way: detaching it');
      await this.#kernel.unmount(mountpoint, 'detach');
      checkMountpoint(mountpoint);
    }
    this.#assertStarting();
    this.#register();
    this.#control = await ControlServer.listen(this, { socket: this.#runtime.controlSocket, log: this.#log });
    this.#assertStarting();
    await startWorkers(this.#crew, this.#description, { forced: this.#options.forceDegraded === true, log: this.#log });
    this.#device = statSync(volumeDirectory).dev;
    this.#hold.state.startBehind(newestEpoch(this.#description.disks.map(({ directory }) => directory)));
    this.#assertStarting();
    this.#holder.mount();
    this.#register();
    await this.#crew.startDriver();
    this.#assertStarting();
    // Only now: the kernel lowers it to its own default when INIT is answered.
    this.#holder.setReadAhead(this.#log);
    this.#phase = 'serving';
    this.#log.info({ volume: this.#description.volume, name: this.#description.name, volumeDirectory, mountpoint }, 'mounted');
  }

  /** What is brought up must not go on while it is being taken down. */
  #assertStarting(): void {
    if (this.#currentPhase() !== 'starting') throw new UserError('the mount was interrupted');
  }

  async status(): Promise<StatusReport> {
    const { mountpoint, mount, driver, log } = this.#options;
    const driverStatus = await this.#crew.link.status().catch((error: unknown) => {
      this.#log.debug({ err: error }, 'no status from the driver');
      return undefined;
    });
    const state = this.#phase === 'new' ? 'starting' : this.#phase === 'ended' ? 'ending' : this.#phase;
    return statusReport({
      description: this.#crew.description, volumeDirectory: this.#options.volumeDirectory, driverStatus,
      mount: { mountpoint, driver: driver ?? 'direct', state, since: this.#since, readOnly: mount.readOnly, logFile: log.file ?? null },
      driver: this.#crew.driver, workers: this.#crew.workers, directoryHangs: this.#deviceHangs,
    });
  }

  async sync(): Promise<void> {
    await this.#crew.askDriver('the sync', LIMITS.controlSyncMs, (link) => link.sync());
  }

  async info(inode: number): Promise<DriverFileInfo> {
    return this.#crew.askDriver('the question', LIMITS.controlCallMs, (link) => link.info(inode));
  }

  async upkeep(question: UpkeepQuestion): Promise<UpkeepAnswer> {
    return this.#crew.askDriver('the question', LIMITS.controlCallMs, (link) => link.upkeep(question));
  }

  async rescue(question: RescueQuestion): Promise<RescueAnswer> {
    return this.#crew.askDriver('the question', LIMITS.controlCallMs, (link) => link.rescue(question));
  }

  async upgrade(modules: ChildModules): Promise<void> {
    if (!this.#holder.outlivesDriver) throw new UserError('a mount by fuse-native ends with its driver, so new code cannot be put under it: unmount, and mount again', EXIT.unsupported);
    await this.#change('an upgrade', () => upgrade(this.#crew, modules, this.#log));
  }

  async changeDisks(request: DiskRequest): Promise<DiskAnswer> {
    let answer: DiskAnswer | undefined;
    await this.#change('a change of disks', async () => {
      answer = await new DiskChanges(this.#crew, { volumeDirectory: this.#options.volumeDirectory, log: this.#log }).carryOut(request);
    });
    return answer!;
  }

  /** One change of what runs under the mount at a time, and none while it comes or goes. */
  async #change(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#phase !== 'serving') throw new UserError(`${what} needs a mount that serves, and this one is ${this.#phase}`, EXIT.busy);
    if (this.#options.driver === 'fuse-native') throw new UserError(`${what} is not possible with --driver fuse-native: that mount ends with its driver; unmount, and mount with the direct driver`, EXIT.unsupported);
    if (this.#changing !== undefined) throw new UserError(`${this.#changing} is going on: try again when it is done`, EXIT.busy);
    this.#changing = what;
    try {
      await work();
    } finally {
      this.#changing = undefined;
    }
  }

  async unmount(mode: UnmountMode): Promise<UnmountResult> {
    if (mode === 'force') return this.#forceUnmount();
    if (this.#phase !== 'serving') throw new UserError(this.#phase === 'detached' ? `${this.#options.mountpoint} is detached already; its processes end with its last user, or with --force` : `the mount is ${this.#phase}; try again in a moment`, EXIT.busy);
    this.#phase = 'unmounting';
    try {
      await this.#syncBeforeUnmount();
      const result = await this.#kernel.unmount(this.#options.mountpoint, mode === 'lazy' ? 'detach' : 'wait');
      if (result === 'busy') throw new UserError(`${this.#options.mountpoint} is in use`, EXIT.busy);
    } catch (error) {
      // A driver that ended meanwhile has moved on; only the phase of this call is taken back.
      if (this.#currentPhase() === 'unmounting') this.#phase = 'serving';
      throw error;
    }
    this.#detached();
    return { result: mode === 'lazy' ? 'detached' : 'unmounted' };
  }

  /**
   * Ends the mount whatever its state, as on SIGTERM: a busy one is detached, and its users are cut off after a
   * grace. A second call cuts the grace.
   */
  async shutdown(reason: string): Promise<void> {
    this.#log.info({ reason, phase: this.#phase }, 'shutting down');
    if (this.#phase === 'starting') return this.#interrupted.reject(new UserError(`the mount was interrupted (${reason})`));
    if (this.#phase === 'serving') await this.#leaveTree();
    else if (this.#phase === 'detached') this.#graceOver.resolve();
    else return;
    const timer = setTimeout(() => this.#graceOver.resolve(), LIMITS.detachGraceMs);
    await Promise.race([this.#graceOver.promise, this.#finished.promise]);
    clearTimeout(timer);
    await this.#takeDown('asked');
  }

  async #leaveTree(): Promise<void> {
    const { mountpoint } = this.#options;
    try {
      await this.unmount('clean');
    } catch (error) {
      this.#log.warn({ err: error, mountpoint, graceMs: LIMITS.detachGraceMs }, 'the mount is busy: detaching it; its users are cut off after a grace');
      await this.unmount('lazy').catch((cause: unknown) => this.#log.error({ err: cause, mountpoint }, 'the mount could not be detached'));
    }
  }

  /** What is not power-proof yet is process-proof: a sync that fails is no reason to stay mounted. */
  async #syncBeforeUnmount(): Promise<void> {
    await this.sync().catch((error: unknown) => this.#log.error({ err: error }, 'sync before unmount'));
  }

  async #forceUnmount(): Promise<UnmountResult> {
    this.#log.warn({ mountpoint: this.#options.mountpoint }, 'forced unmount: ending the connection and all processes');
    // Not awaited: the answer goes out first, and the caller watches the processes.
    if (this.#phase === 'starting') this.#interrupted.reject(new UserError('the mount was ended by a forced unmount'));
    else void this.#takeDown('killed');
    return { result: 'killed' };
  }

  /** Every step is tried, whatever the others do. Resolves `finished`. */
  #takeDown(driverExit: DriverExit): Promise<void> {
    this.#ending ??= this.#end(driverExit);
    return this.#ending;
  }

  async #end(driverExit: DriverExit): Promise<void> {
    const { mountpoint } = this.#options;
    const { connection } = this.#holder;
    this.#phase = 'ending';
    let clean = false;
    clean = (await everyStep([
      ['end the connection', () => driverExit === 'killed' && connection !== null && this.#kernel.abort(mountpoint, connection)],
      // Also after an end that came from the kernel: an aborted connection leaves a dead mount in the tree.
      ['detach the mount', () => connection !== null && this.#kernel.isMounted(mountpoint, connection) && this.#kernel.unmount(mountpoint, 'detach')],
      ['end the driver', async () => {
        const { driver } = this.#crew;
        const end = await (driverExit === 'expected' ? driver.expectEnd() : driverExit === 'asked' ? driver.stop() : driver.kill());
        clean = driverExit !== 'killed' && end.code === 0;
      }],
      // The last descriptor of the connection: who still waits on it gets an error.
      ['close /dev/fuse', () => this.#holder.close()],
      ['end the workers', async () => {
        if (driverExit === 'killed') await this.#crew.killAll();
        else clean = (await this.#crew.stopWorkers()) && clean;
      }],
      ['mark the volume clean', (well) => well && clean && this.#hold?.state.markClean()],
      ['close the control socket', () => this.#control?.close()],
      ['let the volume go', () => this.#hold?.release()],
    ], this.#log)) && clean;
    this.#phase = 'ended';
    this.#log.info({ clean }, 'ended');
    this.#finished.resolve(clean || driverExit === 'killed' ? EXIT.ok : EXIT.failure);
  }

  #detached(): void {
    if (this.#currentPhase() !== 'unmounting') return;
    this.#phase = 'detached';
    this.#register();
  }

  /** The kernel ended the connection: by our unmount, by umount(8), or by an abort. */
  #driverEnded(): void {
    if (this.#phase === 'starting') return this.#interrupted.reject(new UserError(`${this.#options.mountpoint} was unmounted while it was being mounted`));
    void this.#takeDown('expected');
  }

  #driverDied(end: ChildEnd): 'restart' | 'leave' {
    if (this.#phase === 'ending' || this.#phase === 'ended') return 'leave';
    // Its last message may be lost, its exit code is not: 0 means that all is flushed.
    if (end.code === 0) {
      this.#driverEnded();
      return 'leave';
    }
    if (!this.#holder.outlivesDriver && this.#phase !== 'serving') {
      this.#log.error('the driver died, and the mount with it, while it was being unmounted: what was acknowledged is finished at the next mount');
      void this.#takeDown('killed');
      return 'leave';
    }
    if (this.#phase === 'detached' && (this.#lateDeaths += 1) >= LIMITS.unmountDriversMax) {
      this.#log.error('the driver keeps dying after the unmount; giving up: what was acknowledged is finished at the next mount');
      void this.#takeDown('killed');
      return 'leave';
    }
    return 'restart';
  }

  /** The disk below its database hangs. Once in the life of a mount: of those that cannot end, there is one at most. */
  #driverHangs(reason: string): void {
    const { kind } = this.#crew.driver.state;
    if (this.#deviceHangs || !this.#holder.outlivesDriver || (kind !== 'ready' && kind !== 'starting')) return;
    this.#deviceHangs = true;
    this.#hold?.letGo();
    this.#crew.driver.abandon(reason);
  }

  #driverStart(crashed: boolean): DriverStart {
    const { mountpoint, volumeDirectory, mount, log } = this.#options;
    if (this.#hold === undefined) throw new Error('a driver was started before the volume was locked');
    const description = this.#crew.description;
    const epoch = this.#hold.state.nextEpoch();
    this.#mountEpoch ??= epoch;
    return {
      type: 'start', description, stateDirectory: volumePaths(volumeDirectory).driver, hangingDevice: this.#deviceHangs ? this.#device : undefined, epoch, mountEpoch: this.#mountEpoch,
      sockets: Object.fromEntries(description.disks.map(({ worker }) => [worker, this.#runtime.workerSocket(worker)])),
      keySocket: this.#runtime.keySocket,
      edge: this.#holder.edge, mountpoint, readOnly: mount.readOnly, accessTime: mount.accessTime, directoryAccessTime: mount.directoryAccessTime, posixAcl: mount.posixAcl, locks: mount.locks, dumpIntervalMs: mount.dumpIntervalMs, log: this.#deviceHangs ? { ...log, file: '/dev/null' } : log,
      session: this.#session, crashed, away: this.#crew.away, forceDegraded: this.#options.forceDegraded ?? false, membership: this.#membership,
    };
  }

  #mountedByDriver(connection: number | null): void {
    this.#holder.mountedByDriver(connection);
    this.#register();
    if (this.#phase === 'serving') this.#holder.setReadAhead(this.#log);
  }

  /** Notes who runs this mount, for the time when the keeper cannot be asked. */
  #register(): void {
    if (this.#hold === undefined || this.#phase === 'ended') return;
    const keeper = identifyProcess(process.pid);
    if (keeper === undefined) return;
    try {
      this.#hold.register({
        version: 1, volume: this.#description.volume, name: this.#description.name, volumeDirectory: this.#options.volumeDirectory,
        mountpoint: this.#options.mountpoint, connection: this.#holder.connection, attached: this.#phase !== 'detached',
        since: this.#since, keeper, children: this.#crew.identities(),
      });
    } catch (error) {
      this.#log.error({ err: error, directory: this.#runtime.path }, 'the register of running mounts could not be written');
    }
  }

  /** TypeScript takes a field for unchanged across an await; it is not. */
  #currentPhase(): Phase {
    return this.#phase;
  }
}
