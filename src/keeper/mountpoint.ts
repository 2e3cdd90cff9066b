// Whether a directory can be mounted on, found out without touching a mount that may be there and hang.
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { isAlive } from '../control/process-identity.ts';
import { listRunningMounts } from '../control/running-mounts.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { findMount } from '../kernel/mount-table.ts';
import type { MountEntry } from '../kernel/mount-table.ts';

/** Absolute; symbolic links are resolved in what leads to it, and in itself only where nothing is mounted there. */
export function resolveMountpoint(path: string): string {
  const absolute = resolve(path);
  if (absolute === '/') return absolute;
  const direct = join(resolveIfExists(dirname(absolute)), basename(absolute));
  return findMount(direct) === undefined ? resolveIfExists(direct) : direct;
}

function resolveIfExists(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** What lies on a mountpoint: nothing, an sdfs whose processes are all dead, or something that is in use. */
export type Occupation = 'free' | 'dead' | { readonly by: string };

export function occupationOf(mountpoint: string, options: { entry?: MountEntry | undefined; registered?: readonly RegisteredMount[] } = {}): Occupation {
  const entry = 'entry' in options ? options.entry : findMount(mountpoint);
  if (entry === undefined) return 'free';
  const mount = (options.registered ?? listRunningMounts()).find((candidate) => candidate.mountpoint === mountpoint && candidate.connection === entry.minor);
  if (mount === undefined) return { by: `${entry.type} (${entry.source})` };
  return [mount.keeper, ...mount.children].some(isAlive) ? { by: `the sdfs volume ${mount.volumeDirectory}` } : 'dead';
}

/** UserError where `mountpoint` (resolved) is missing, no directory, or mounted on. A dead sdfs mount there is reported as true: detach it first. */
export function checkMountpoint(mountpoint: string): { dead: boolean } {
  const occupation = occupationOf(mountpoint);
  if (occupation === 'dead') return { dead: true };
  if (occupation !== 'free') {
    throw new UserError(`something is mounted at ${mountpoint} already: ${occupation.by}; unmount it first (sdfs umount ${mountpoint}), or choose another directory`, EXIT.busy);
  }
  const found = statSync(mountpoint, { throwIfNoEntry: false });
  if (found === undefined) throw new UserError(`mountpoint ${mountpoint} does not exist: make it first (mkdir -p ${mountpoint})`, EXIT.notFound);
  if (!found.isDirectory()) throw new UserError(`mountpoint ${mountpoint} is not a directory: give a directory`, EXIT.usage);
  return { dead: false };
}
