// Puts the file system into the tree and takes it out again.
import { EXIT, UserError } from '../base/errors.ts';
import type { MountOptions } from '../base/mount-options.ts';
import { SystemCallError, errno, mount, strerror, umount2 } from '../os/libc.ts';
import { unmountByHelper } from './fusermount.ts';
import { mountData, mountFlags } from './mount-options.ts';

/**
 * Mounts /dev/fuse, open as `fd`, at `mountpoint`. It waits for nothing: the kernel asks for INIT later. Does not
 * touch what is served, so the serving process may call it. UserError when the system refuses.
 */
export function mountFuse(fd: number, mountpoint: string, options: MountOptions): void {
  const owner = { uid: process.getuid!(), gid: process.getgid!() };
  if (mount(options.fsname, mountpoint, `fuse.${options.subtype}`, mountFlags(options), mountData(fd, options, owner)) === 0) return;
  throw mountError(mountpoint, errno());
}

function mountError(mountpoint: string, number: number): UserError {
  const cause = new SystemCallError('mount', mountpoint, number);
  switch (number) {
    case 1: return new UserError(`cannot mount at ${mountpoint}: this needs root (or CAP_SYS_ADMIN); run it with sudo`, EXIT.denied, { cause });
    case 2: return new UserError(`cannot mount at ${mountpoint}: there is no such directory; make it first`, EXIT.notFound, { cause });
    case 16: return new UserError(`cannot mount at ${mountpoint}: it is in use`, EXIT.busy, { cause });
    case 20: return new UserError(`cannot mount at ${mountpoint}: it is not a directory`, EXIT.usage, { cause });
    case 107: return new UserError(`cannot mount at ${mountpoint}: a dead mount is in the way; run "sdfs umount --force ${mountpoint}" first`, EXIT.busy, { cause });
    default: return new UserError(`cannot mount at ${mountpoint}: ${strerror(number)}`, EXIT.failure, { cause });
  }
}

/**
 * 'wait': as umount(8); fails with EBUSY where the mount is in use. 'detach': out of the tree now, gone when its last
 * user goes. 'abort': the connection ends, users get errors, and a mount in use stays, dead.
 */
export type UnmountMode = 'wait' | 'detach' | 'abort';
/** umount2(2): MNT_FORCE 1, MNT_DETACH 2, UMOUNT_NOFOLLOW 8. */
const UMOUNT_FLAGS: Record<UnmountMode, number> = { wait: 8, detach: 8 | 2, abort: 8 | 1 };

/**
 * TOUCHES THE MOUNT, and blocks while dirty pages are written: never call it in the serving process, which would wait
 * for itself. An ordinary user's goes by fusermount3. SystemCallError when the system refuses (EBUSY 16, EINVAL 22: not
 * mounted).
 */
export function unmount(mountpoint: string, mode: UnmountMode): void {
  if (mode !== 'abort' && process.getuid?.() !== 0) return unmountByHelper(mountpoint, mode);
  if (umount2(mountpoint, UMOUNT_FLAGS[mode]) !== 0) throw new SystemCallError('umount2', mountpoint, errno());
}
