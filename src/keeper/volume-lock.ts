// One mount of a volume at a time. The truth on this machine is a kernel flock on VOLUME/lock, which ends with its
// holder whatever happens; proper-lockfile's VOLUME/lock.held is for other machines that see the same directory.
//
//   VOLUME/lock         VolumeOwner as JSON while mounted, else empty; never removed, since the flock is on its inode
//   VOLUME/lock.held/   proper-lockfile: a directory whose mtime its holder renews
import { closeSync, ftruncateSync, openSync, readFileSync, rmdirSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import lockfile from 'proper-lockfile';
import { z } from 'zod';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { currentBootId, identifyProcess } from '../control/process-identity.ts';
import { ERRNO, SystemCallError, errno, flock } from '../os/libc.ts';

const LOCK_EX_NB = 2 | 4;

const ownerSchema = z.object({ pid: z.int(), startTime: z.string(), host: z.string(), bootId: z.string(), mountpoint: z.string(), since: z.string() });
export type VolumeOwner = Readonly<z.infer<typeof ownerSchema>>;

export class VolumeLock {
  readonly #fd: number;
  readonly #releaseHeld: () => Promise<void>;
  #hangs = false;

  private constructor(fd: number, releaseHeld: () => Promise<void>) {
    this.#fd = fd;
    this.#releaseHeld = releaseHeld;
  }

  /** UserError (busy) that says who holds it. What a dead owner left is taken over. */
  static async acquire(file: string, options: { mountpoint: string; log: Logger }): Promise<VolumeLock> {
    // 'a+' makes it when missing and truncates nothing; Node opens with O_CLOEXEC, so no child inherits the flock.
    const fd = openLockFile(file);
    try {
      if (flock(fd, LOCK_EX_NB) !== 0) {
        const number = errno();
        if (number === ERRNO.EAGAIN) throw heldBy(readOwner(file), file);
        throw new SystemCallError('flock', file, number);
      }
      const releaseHeld = await acquireHeld(file, options.log);
      writeOwner(fd, options.mountpoint);
      return new VolumeLock(fd, releaseHeld);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The disk below it hangs: the flock ends with this process, and what else says that it is held is left for the next mount. */
  letGo(): void {
    this.#hangs = true;
  }

  async release(): Promise<void> {
    if (this.#hangs) return;
    try {
      ftruncateSync(this.#fd);
      await this.#releaseHeld();
    } finally {
      closeSync(this.#fd);
    }
  }
}

function openLockFile(file: string): number {
  try {
    return openSync(file, 'a+', 0o600);
  } catch (cause) {
    throw new UserError(`cannot lock the volume: ${(cause as Error).message}; the volume directory must be writable for the user who mounts`, EXIT.denied, { cause });
  }
}

/** With the flock held, whoever of this machine made lock.held is dead. */
async function acquireHeld(file: string, log: Logger): Promise<() => Promise<void>> {
  const held = `${file}.held`;
  const options = {
    lockfilePath: held, realpath: false, stale: LIMITS.lockStaleMs, update: LIMITS.lockRenewMs,
    onCompromised: (error: Error) => log.warn({ err: error, lock: held }, 'the lock for other machines was lost; the lock on this machine still holds'),
  };
  try {
    return await lockfile.lock(file, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
  }
  const owner = readOwner(file);
  if (owner !== undefined && owner.host !== hostname()) throw heldBy(owner, file);
  log.warn({ lock: held, owner }, 'taking over the lock of a mount that did not end cleanly');
  rmdirSync(held);
  return lockfile.lock(file, options);
}

/** Who holds or last held the lock; undefined when nobody, or when it cannot be read. */
export function readOwner(file: string): VolumeOwner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

function writeOwner(fd: number, mountpoint: string): void {
  const startTime = identifyProcess(process.pid)?.startTime ?? '';
  const owner: VolumeOwner = { pid: process.pid, startTime, host: hostname(), bootId: currentBootId(), mountpoint, since: new Date().toISOString() };
  ftruncateSync(fd);
  writeSync(fd, `${JSON.stringify(owner)}\n`);
}

function heldBy(owner: VolumeOwner | undefined, file: string): UserError {
  const who = owner === undefined ? 'another process' : `process ${owner.pid} on ${owner.host} since ${owner.since}, at ${owner.mountpoint}`;
  const what = owner === undefined ? 'try again, or look for a running "sdfs mount"' : `end that mount first: sdfs umount ${owner.mountpoint}`;
  if (owner !== undefined && owner.mountpoint.startsWith('(')) return new UserError(`the volume is in use by process ${owner.pid} on ${owner.host} since ${owner.since} ${owner.mountpoint}: wait until that has ended`, EXIT.busy);
  return new UserError(`the volume is mounted already, by ${who} (lock ${file}); ${what}`, EXIT.busy);
}
