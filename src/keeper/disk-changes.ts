// Adds, drains, removes and replaces disks of a volume that is mounted.
//
// A change makes a new description: the volume file is written, workers come, every disk notes it, the driver hands over
// to a successor that knows it, workers go. A keeper that dies in between leaves the new description or the old one, both
// of which can be mounted; a successor that cannot use the new one is followed by one with the old one.
import { randomBytes } from 'node:crypto';
import { EXIT, UserError } from '../base/errors.ts';
import type { Uuid, WorkerId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { DiskAnswer, DiskRequest } from '../control/api.ts';
import { initDisk } from '../disk/identity.ts';
import type { DiskDescription, DriverStatus, VolumeDescription } from '../ipc/process-messages.ts';
import { nextWorker } from './description.ts';
import { emptyDirectory, inspectNewDisk } from './init.ts';
import { writeVolume } from './volume.ts';

/** What runs over the disks: keeper/crew.ts, or the process of a key-value store. */
export interface ChangedCrew {
  /** What the next children are told, and the present workers note. */
  description: VolumeDescription;
  /** Resolves when it serves its disk. UserError when it cannot; then there is no such worker. */
  addWorker(disk: DiskDescription): Promise<void>;
  removeWorker(worker: WorkerId): Promise<void>;
  /** Whoever places blocks begins anew, with the present description. */
  handOver(): Promise<void>;
  readonly link: { status(): Promise<DriverStatus> };
}

export class DiskChanges {
  readonly #crew: ChangedCrew;
  readonly #volumeDirectory: string;
  readonly #log: Logger;

  constructor(crew: ChangedCrew, options: { volumeDirectory: string; log: Logger }) {
    this.#crew = crew;
    this.#volumeDirectory = options.volumeDirectory;
    this.#log = options.log;
  }

  /** Resolves when the successor of the driver serves. UserError when that cannot be; then all is as it was. */
  async carryOut(request: DiskRequest): Promise<DiskAnswer> {
    switch (request.action) {
      case 'add': {
        const { disk, notes } = this.#newDisk(request.directory);
        await this.#change({ add: disk });
        return { disk: disk.worker, notes };
      }
      case 'replace': {
        const old = this.#find(request.disk);
        const { disk, notes } = this.#newDisk(request.directory);
        await this.#change({ add: disk, set: { ...old, state: 'draining' } });
        return { disk: disk.worker, notes };
      }
      case 'drain': {
        const disk = this.#find(request.disk);
        if (disk.state === 'draining') return { disk: disk.worker, notes: [`disk ${disk.worker} is being drained already`] };
        this.#assertEnoughLeft(disk);
        await this.#change({ set: { ...disk, state: 'draining' } });
        return { disk: disk.worker, notes: [] };
      }
      case 'undrain': {
        const disk = this.#find(request.disk);
        await this.#change({ set: { ...disk, state: undefined } });
        return { disk: disk.worker, notes: [] };
      }
      case 'remove': {
        const disk = this.#find(request.disk);
        this.#assertEnoughLeft(disk);
        const left = await this.#whatIsLost(disk);
        if (left !== undefined && !request.force) throw new UserError(`disk ${disk.worker} (${disk.directory}) is still needed: ${left}; --force removes it nevertheless`, EXIT.busy);
        await this.#change({ remove: disk });
        return { disk: disk.worker, notes: left === undefined ? [] : [`removed by force: ${left}`] };
      }
    }
  }

  #find(worker: number): DiskDescription {
    const found = this.#crew.description.disks.find((disk) => disk.worker === worker);
    if (found === undefined) throw new UserError(`the volume has no disk ${worker}; it has ${this.#crew.description.disks.map((disk) => disk.worker).join(', ')}`, EXIT.notFound);
    return found;
  }

  /** Makes it, so that its worker finds it. */
  #newDisk(directory: string): { disk: DiskDescription; notes: string[] } {
    const { description } = this.#crew;
    const { place, sharers, weight } = inspectNewDisk(directory, description);
    const notes = sharers.length === 0 ? [] : [`it lies on one device with disk ${sharers.join(', ')}: they share its space, and are lost together when it fails`];
    return { disk: { worker: nextWorker(description), disk: randomBytes(16).toString('hex') as Uuid, directory: place, weight }, notes };
  }

  #assertEnoughLeft(without: DiskDescription): void {
    const { disks, copies } = this.#crew.description;
    const left = disks.filter(({ worker, state }) => worker !== without.worker && state !== 'draining').length;
    if (left < copies) throw new UserError(`the volume keeps ${copies} copies, and without disk ${without.worker} ${left === 1 ? 'one disk is' : `${left} disks are`} left to hold them: add another disk first, or use "sdfs disk replace"`, EXIT.usage);
  }

  /** What is on a disk, or may be, that is nowhere else; undefined when it can go. */
  async #whatIsLost({ worker, directory }: DiskDescription): Promise<string | undefined> {
    const status: DriverStatus = await this.#crew.link.status();
    const disk = status.disks.find((candidate) => candidate.worker === worker);
    if (disk?.connected !== true) {
      if (disk?.holdsLog === true) return 'it cannot be reached, and the others have not taken over the metadata yet';
      const { endangeredBlocks = 0, last, incompleteDisks = [] } = status.upkeep?.reconcile ?? {};
      if (endangeredBlocks > 0) return `it cannot be reached, and ${endangeredBlocks} blocks do not have all their copies without it`;
      const isKnown = last?.complete === true && !last.dryRun && incompleteDisks.every((other) => other === worker);
      return isKnown ? undefined : 'it cannot be reached, and whether the others have everything is not known yet: they are being looked over';
    }
    const blocks = disk.statistics?.blockCount ?? 0;
    if (blocks > 0) return `${blocks} blocks are on it; move them away with "sdfs disk drain ${worker}" (it lies at ${directory})`;
    return disk.holdsLog ? 'it has a copy of the metadata; another disk takes that over in a moment, when it is drained' : undefined;
  }

  async #change({ add, set, remove }: { add?: DiskDescription; set?: DiskDescription; remove?: DiskDescription }): Promise<void> {
    const former = this.#crew.description;
    const kept = former.disks.filter(({ worker }) => worker !== remove?.worker).map((disk) => (disk.worker === set?.worker ? set : disk));
    const next: VolumeDescription = { ...former, generation: former.generation + 1, disks: add === undefined ? kept : [...kept, add] };
    if (add !== undefined) {
      initDisk(add.directory, { worker: add.worker, description: next });
      await this.#crew.addWorker(add).catch((error: unknown) => {
        emptyDirectory(add.directory);
        throw error;
      });
    }
    try {
      await this.#adopt(next);
    } catch (error) {
      this.#log.error({ err: error }, 'the change of disks failed; going back');
      await this.#adopt({ ...former, generation: next.generation + 1 });
      if (add !== undefined) {
        await this.#crew.removeWorker(add.worker);
        emptyDirectory(add.directory);
      }
      throw error;
    }
    this.#log.warn({ generation: next.generation, added: add, removed: remove, changed: set }, 'the disks of the volume have changed');
    if (remove !== undefined) await this.#crew.removeWorker(remove.worker);
  }

  async #adopt(description: VolumeDescription): Promise<void> {
    writeVolume(this.#volumeDirectory, description);
    this.#crew.description = description;
    await this.#crew.handOver();
  }
}

