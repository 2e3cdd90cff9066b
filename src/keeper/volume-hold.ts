// What a process holds that runs a volume, mounted or not: its lock, its identity on this machine, its runtime directory.
//
// A copy of a volume and of its disks (cp -a, a snapshot of the device) has other files, on which no lock of the original
// is, and the same identity, by which sockets and journals are found: the two would serve each other's disks. So there is a
// flock on the runtime directory as well, which has its name from the identity.
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { EXIT, UserError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { readMount } from '../control/running-mounts.ts';
import type { RunningMount, RuntimeDirectory } from '../control/running-mounts.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { ERRNO, SystemCallError, errno, flock } from '../os/libc.ts';
import { keepDescription, nextWorker } from './description.ts';
import { waitForPredecessor } from './predecessor.ts';
import { VolumeState } from './state.ts';
import { VolumeLock } from './volume-lock.ts';
import { volumePaths } from './volume.ts';

const LOCK_EX_NB = 2 | 4;

export interface HoldOptions {
  readonly volumeDirectory: string;
  /** The mountpoint, or in parentheses what the volume is wanted for. */
  readonly mountpoint: string;
  readonly log: Logger;
}

export class VolumeHold {
  readonly state: VolumeState;
  readonly #runtime: RuntimeDirectory;
  readonly #lock: VolumeLock;
  readonly #claim: number;

  private constructor(parts: { state: VolumeState; runtime: RuntimeDirectory; lock: VolumeLock; claim: number }) {
    this.state = parts.state;
    this.#runtime = parts.runtime;
    this.#lock = parts.lock;
    this.#claim = parts.claim;
  }

  /** Waits for what a dead keeper has left. UserError (busy) when the volume, or a copy of it, is in use. */
  static async acquire(description: VolumeDescription, runtime: RuntimeDirectory, { volumeDirectory, mountpoint, log }: HoldOptions): Promise<VolumeHold> {
    const paths = volumePaths(volumeDirectory);
    await waitForPredecessor(description.volume);
    const lock = await VolumeLock.acquire(paths.lock, { mountpoint, log });
    let claim: number | undefined;
    try {
      claim = claimIdentity(runtime, description, volumeDirectory);
      keepDescription(volumeDirectory, description);
      const state = new VolumeState(paths.state, { onProblem: (message, err) => log.error({ err }, message) });
      return new VolumeHold({ state, runtime, lock, claim });
    } catch (error) {
      if (claim !== undefined) {
        runtime.remove();
        closeSync(claim);
      }
      await lock.release();
      throw error;
    }
  }

  /** Notes who runs the mount, for the time when the keeper cannot be asked. */
  register(mount: RunningMount): void {
    this.#runtime.write(mount);
  }

  /** The disk below the volume's directory hangs: nothing is written there any more. */
  letGo(): void {
    this.state.letGo();
    this.#lock.letGo();
  }

  async release(): Promise<void> {
    try {
      this.#runtime.remove();
    } finally {
      closeSync(this.#claim);
      await this.#lock.release();
    }
  }
}

/** The descriptor that holds it. Node opens with O_CLOEXEC: no child inherits the flock. */
function claimIdentity(runtime: RuntimeDirectory, description: VolumeDescription, volumeDirectory: string): number {
  for (;;) {
    runtime.create(nextWorker(description));
    const fd = openSync(runtime.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      if (flock(fd, LOCK_EX_NB) !== 0) {
        const number = errno();
        if (number === ERRNO.EAGAIN) throw copyInUse(readMount(runtime.path), volumeDirectory);
        throw new SystemCallError('flock', runtime.path, number);
      }
      // Its last holder may have removed it between the open and the flock.
      if (statSync(runtime.path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
}

function copyInUse(other: RunningMount | undefined, volumeDirectory: string): UserError {
  const where = other === undefined ? 'in use' : `mounted at ${other.mountpoint} from ${other.volumeDirectory} (process ${other.keeper.pid})`;
  const advice = other === undefined ? 'wait until that has ended' : `unmount that first (sdfs umount ${other.mountpoint})`;
  return new UserError(`${volumeDirectory} is a copy of a volume that is ${where}, and two with one identity cannot be used at the same time: ${advice}, or make a new volume (sdfs init) and copy the files into it`, EXIT.busy);
}
