// Finds the running mount that a person means by a volume directory, a mountpoint, or nothing at all.
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { listRunningMounts } from '../control/running-mounts.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { resolveMountpoint } from '../keeper/mountpoint.ts';

/** UserError (notFound) when there is none, or (usage) when nothing was said and there are several. */
export function locateMount(target: string | undefined, mounts: readonly RegisteredMount[] = listRunningMounts()): RegisteredMount {
  const found = findMounts(target, mounts);
  if (found.length === 1 && found[0] !== undefined) return found[0];
  if (found.length > 1) throw new UserError(`several volumes are mounted, say which: ${found.map((mount) => mount.mountpoint).join(', ')}`, EXIT.usage);
  if (target === undefined) throw new UserError('no sdfs volume is mounted here; mount one with: sdfs mount -d VOLUME', EXIT.notFound);
  throw new UserError(`no sdfs volume is mounted at or from ${target}${mounts.length > 0 ? `; mounted are: ${mounts.map((mount) => mount.mountpoint).join(', ')}` : ''}`, EXIT.notFound);
}

/** All that match; never touches a mount. */
export function findMounts(target: string | undefined, mounts: readonly RegisteredMount[] = listRunningMounts()): RegisteredMount[] {
  if (target === undefined) return [...mounts];
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
