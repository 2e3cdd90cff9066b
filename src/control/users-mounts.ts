// For root: the mounts of ordinary users, as far as what they registered can be proven. A register is its user's own
// writing, so nothing in it is believed that the mount table and /proc do not say too.
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isOwn, readMount } from './running-mounts.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { RegisteredMount } from './running-mounts.ts';

export interface UsersMount extends RegisteredMount {
  readonly uid: number;
}

/** Who owns the connection that lies on a mountpoint: undefined when it is not there. */
export type OwnerOfMount = (mountpoint: string, connection: number) => number | undefined;

/** `ownerOf` asks the mount table. Empty for all but root. */
export function listUsersMounts(ownerOf: OwnerOfMount, places: readonly UserPlace[] = userPlaces()): UsersMount[] {
  return places.flatMap(({ uid, root }) => {
    if (!isOwn(root, uid)) return [];
    return readdirSync(root).flatMap((name) => {
      const mount = readMount(join(root, name));
      if (mount === undefined || mount.connection === null || ownerOf(mount.mountpoint, mount.connection) !== uid) return [];
      if (lstatSync(mount.controlSocket, { throwIfNoEntry: false })?.isSocket() !== true) return [];
      return [{ ...mount, uid, children: mount.children.filter((child) => belongsTo(child, uid)) }].filter(({ keeper }) => belongsTo(keeper, uid));
    });
  });
}

export interface UserPlace {
  readonly uid: number;
  readonly root: string;
}

/** The places of running-mounts.ts; one that a user chose by SDFS_RUN_DIR cannot be known. */
function userPlaces(): UserPlace[] {
  if (process.getuid?.() !== 0) return [];
  const session = namesIn('/run/user').filter((name) => /^\d+$/.test(name)).map((name) => ({ uid: Number(name), root: `/run/user/${name}/sdfs` }));
  const fallback = namesIn('/tmp').flatMap((name) => {
    const uid = /^sdfs-(\d+)$/.exec(name)?.[1];
    return uid === undefined ? [] : [{ uid: Number(uid), root: join('/tmp', name) }];
  });
  return [...session, ...fallback].filter(({ uid }) => uid !== 0);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** A dead process belongs to nobody. */
function belongsTo({ pid }: ProcessIdentity, uid: number): boolean {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === uid;
}
