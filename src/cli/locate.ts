// Finds the running mount that a person means by a volume directory, a mountpoint, or nothing at all.
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { isOwn, listRunningMounts } from '../control/running-mounts.ts';
import { listUsersMounts } from '../control/users-mounts.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { resolveMountpoint } from '../keeper/mountpoint.ts';
import { findMount, ownerOfMount } from '../kernel/mount-table.ts';

/** This user's mounts; for root those of other users too. */
export function listMounts(): RegisteredMount[] {
  const usersMounts = listUsersMounts((mountpoint, connection) => {
    const entry = findMount(mountpoint);
    return entry?.minor === connection ? ownerOfMount(entry) : undefined;
  });
  return [...listRunningMounts(), ...usersMounts];
}

/** UserError (denied) where an ordinary user names a mount of somebody else. It does not touch the mount. */
export function checkMountOwner(target: string): void {
  const entry = findMount(resolveMountpoint(target));
  const owner = entry !== undefined && entry.type.startsWith('fuse.sdfs') ? ownerOfMount(entry) : undefined;
  const self = process.getuid?.();
  if (owner !== undefined && self !== 0 && owner !== self) {
    throw new UserError(`${target} was mounted by ${owner === 0 ? 'root' : `user ${owner}`}: run this as that user, or as root`, EXIT.denied);
  }
}

/** UserError (notFound) when there is none, or (usage) when nothing was said and there are several. */
export function locateMount(target: string | undefined, mounts: readonly RegisteredMount[] = listMounts()): RegisteredMount {
  const found = findMounts(target, mounts);
  if (found.length === 1 && found[0] !== undefined) return found[0];
  if (found.length > 1) throw new UserError(`several volumes are mounted, say which: ${found.map((mount) => mount.mountpoint).join(', ')}`, EXIT.usage);
  if (target !== undefined) checkMountOwner(target);
  if (target === undefined) throw new UserError('no sdfs volume is mounted here; mount one with: sdfs mount -d VOLUME', EXIT.notFound);
  throw new UserError(`no sdfs volume is mounted at or from ${target}${mounts.length > 0 ? `; mounted are: ${mounts.map((mount) => mount.mountpoint).join(', ')}` : ''}`, EXIT.notFound);
}

/** All that match; with no target this user's own where there are any. Never touches a mount. */
export function findMounts(target: string | undefined, mounts: readonly RegisteredMount[] = listMounts()): RegisteredMount[] {
  if (target === undefined) {
    const own = mounts.filter((mount) => isOwn(mount.directory));
    return own.length > 0 ? own : [...mounts];
  }
  const mountpoint = resolveMountpoint(target);
  const atMountpoint = mounts.filter((mount) => mount.mountpoint === mountpoint);
  // A path that is a mountpoint is not resolved any further: that would ask its driver.
  if (atMountpoint.length > 0) return atMountpoint;
  const volume = resolveVolume(target);
  return mounts.filter((mount) => mount.volumeDirectory === volume);
}

/** Absolute and without symbolic links where it exists. */
export function resolveVolume(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
