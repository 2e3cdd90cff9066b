// A volume without a mount: its workers, and a driver that serves nobody, so that its metadata can be checked, written out or replaced.
import { EXIT, UserError } from '../base/errors.ts';
import type { DriverEpoch } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { KnownMembership } from '../base/membership.ts';
import { RuntimeDirectory } from '../control/running-mounts.ts';
import { newestEpoch } from '../disk/disk-state.ts';
import type { DriverStart, OfflineEdge, ProcessLogOptions, VolumeDescription } from '../ipc/process-messages.ts';
import type { RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';
import { CHILD_MODULES } from './children.ts';
import type { ChildModules } from './children.ts';
import { Crew } from './crew.ts';
import { newestDescription } from './description.ts';
import { startWorkers } from './survey.ts';
import { VolumeHold } from './volume-hold.ts';
import { readVolume, volumePaths } from './volume.ts';

export interface OfflineOptions {
  readonly volumeDirectory: string;
  /** For those who want the volume meanwhile: "sdfs fsck". */
  readonly purpose: string;
  readonly logger: Logger;
  readonly log: ProcessLogOptions;
  readonly edge?: OfflineEdge;
  readonly forceDegraded?: boolean;
  readonly modules?: ChildModules;
}

export class OfflineVolume {
  readonly #options: OfflineOptions;
  readonly #description: VolumeDescription;
  readonly #runtime: RuntimeDirectory;
  readonly #crew: Crew;
  #hold: VolumeHold | undefined;
  #mountEpoch: DriverEpoch | undefined;
  #membership: KnownMembership | undefined;

  private constructor(options: OfflineOptions) {
    this.#options = options;
    this.#description = newestDescription(readVolume(options.volumeDirectory));
    this.#runtime = new RuntimeDirectory(this.#description.volume);
    this.#crew = new Crew({
      log: options.logger, modules: options.modules ?? CHILD_MODULES, description: this.#description, runtime: this.#runtime,
      mountpoint: `(${options.purpose})`, childLog: options.log,
      fuseFd: () => undefined,
      driverStart: () => this.#driverStart(),
      onSession: () => {},
      onMounted: () => {},
      onMembership: (membership) => { this.#membership = membership; },
      onDriverEnded: () => {},
      // Nobody waits for it: what it was asked for fails, and the person asks again.
      onDriverDeath: () => 'leave',
      onChange: () => {},
    });
  }

  /** UserError: busy when the volume is in use, and what a mount would say. */
  static async open(options: OfflineOptions): Promise<OfflineVolume> {
    const volume = new OfflineVolume(options);
    try {
      await volume.#bringUp();
    } catch (error) {
      await volume.#end(() => volume.#crew.killAll());
      throw error;
    }
    return volume;
  }

  async #bringUp(): Promise<void> {
    const { volumeDirectory, purpose, logger } = this.#options;
    this.#hold = await VolumeHold.acquire(this.#description, this.#runtime, { volumeDirectory, mountpoint: `(${purpose})`, log: logger });
    await startWorkers(this.#crew, this.#description, { forced: this.#options.forceDegraded === true, log: logger });
    this.#hold.state.startBehind(newestEpoch(this.#description.disks.map(({ directory }) => directory)));
    await this.#crew.startDriver();
  }

  rescue(question: RescueQuestion): Promise<RescueAnswer> {
    return this.#crew.link.rescue(question);
  }

  /** Writes everything to the disks and lets the volume go. Rejects when that did not go well. */
  async close(): Promise<void> {
    let clean = false;
    await this.#end(async () => {
      const driver = await this.#crew.driver.stop();
      clean = (await this.#crew.stopWorkers()) && driver.code === 0;
      if (clean) this.#hold?.state.markClean();
    });
    if (!clean) throw new UserError(`the volume was not closed cleanly; its log says why: ${this.#options.log.file ?? 'stderr'}`, EXIT.failure);
  }

  async #end(endChildren: () => Promise<void>): Promise<void> {
    try {
      await endChildren();
    } finally {
      await this.#hold?.release();
      this.#hold = undefined;
    }
  }

  #driverStart(): DriverStart {
    const { volumeDirectory, log, edge, forceDegraded } = this.#options;
    const epoch = this.#hold!.state.nextEpoch();
    this.#mountEpoch ??= epoch;
    return {
      type: 'start', description: this.#description, stateDirectory: volumePaths(volumeDirectory).driver, epoch, mountEpoch: this.#mountEpoch,
      sockets: Object.fromEntries(this.#description.disks.map(({ worker }) => [worker, this.#runtime.workerSocket(worker)])),
      edge: edge ?? { kind: 'offline' }, mountpoint: '', readOnly: false, accessTime: 'noatime', directoryAccessTime: false, posixAcl: false, locks: 'kernel', dumpIntervalMs: 0,
      away: this.#crew.away, forceDegraded: forceDegraded ?? false, membership: this.#membership, log,
    };
  }
}
