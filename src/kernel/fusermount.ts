// Mounts and unmounts for an ordinary user, by fusermount3 of the package fuse3 (set-uid root).
//
// It opens /dev/fuse as the user, mounts it, and sends the descriptor back over the socket that _FUSE_COMMFD names.
// nosuid and nodev are forced on such a mount.
import { spawnSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { MountOptions } from '../base/mount-options.ts';
import { receiveDescriptor, setNonBlocking, socketPair } from '../os/descriptor-passing.ts';
import { ERRNO, SystemCallError } from '../os/libc.ts';

const FUSERMOUNT = 'fusermount3';
/** Descriptor of the socket in the helper. */
const COMM_FD = 3;

/** The words after -o; commas in names are escaped. default_permissions: the kernel checks modes, as on root's mounts. */
export function helperOptions(options: MountOptions): string {
  const words = ['default_permissions', 'nosuid', 'nodev', `fsname=${escape(options.fsname)}`, `subtype=${escape(options.subtype)}`];
  if (options.readOnly) words.push('ro');
  if (options.noExec) words.push('noexec');
  if (options.accessTime === 'noatime') words.push('noatime');
  if (options.allowOther) words.push('allow_other');
  if (options.maxReadBytes !== undefined) words.push(`max_read=${options.maxReadBytes}`);
  return words.join(',');
}

function escape(value: string): string {
  return value.replaceAll(/[\\,]/g, '\\$&');
}

/**
 * Mounts at `mountpoint` (absolute), and returns the open /dev/fuse, non-blocking. Waits for the helper within a bound,
 * and for nothing else: the kernel asks for INIT later. UserError says what is missing.
 */
export function mountByHelper(mountpoint: string, options: MountOptions): number {
  const words = helperOptions(options);
  const [ours, theirs] = socketPair();
  try {
    const { status, error, stderr } = spawnSync(FUSERMOUNT, ['-o', words, '--', mountpoint], {
      cwd: '/', env: { ...process.env, LC_ALL: 'C', _FUSE_COMMFD: String(COMM_FD) }, stdio: ['ignore', 'ignore', 'pipe', theirs],
      encoding: 'utf8', timeout: LIMITS.mountHelperMs, killSignal: 'SIGKILL',
    });
    const fd = receiveDescriptor(ours);
    if (fd === undefined) throw error === undefined ? refusal(mountpoint, stderr, status) : helperMissing('mount', error);
    setNonBlocking(fd);
    return fd;
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}

function helperMissing(what: string, cause: Error): UserError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return new UserError(`an ordinary user cannot ${what} without ${FUSERMOUNT}, and it is not on the PATH: install the package fuse3 (apt install fuse3, or scripts/setup as root), or run sdfs as root`, EXIT.unsupported, { cause });
  if (code === 'ETIMEDOUT') return new UserError(`${FUSERMOUNT} did not ${what} within ${LIMITS.mountHelperMs} ms: is a directory above the mountpoint on a file system that hangs?`, EXIT.failure, { cause });
  return new UserError(`${FUSERMOUNT} cannot be run: ${cause.message}`, EXIT.failure, { cause });
}

/** Words of fusermount3 (fuse 3.x) on stderr, and what to tell a person. %: the mountpoint. */
const REFUSALS: readonly (readonly [pattern: RegExp, exitCode: ExitCode, text: string])[] = [
  [/open \/dev\/fuse: Permission denied/, EXIT.denied, '/dev/fuse is not open to ordinary users; have root run "chmod 666 /dev/fuse" (udev does so where it runs), or run sdfs as root'],
  [/fuse device not found|open \/dev\/fuse: No such/, EXIT.unsupported, 'there is no /dev/fuse; have root run "modprobe fuse" (in a container, pass --device /dev/fuse)'],
  [/no write access to mountpoint/, EXIT.denied, 'an ordinary user mounts only where they may write; choose a directory of your own'],
  [/not owned by user/, EXIT.denied, 'in a sticky directory such as /tmp the mountpoint has to be your own; choose a directory of your own'],
  [/failed to access mountpoint .*: Permission denied/, EXIT.denied, 'permission denied on the way to it; choose a directory that you can reach'],
  [/failed to access mountpoint .*: No such/, EXIT.notFound, 'there is no such directory; make it first (mkdir -p %)'],
  [/endpoint is not connected/, EXIT.busy, 'a dead mount is in the way; run "sdfs umount --force %" first'],
  [/user_allow_other/, EXIT.denied, 'allow_other is forbidden to ordinary users here; leave it out, or have root add the line "user_allow_other" to /etc/fuse.conf'],
  [/could not determine username/, EXIT.denied, `${FUSERMOUNT} mounts only for users with an entry in /etc/passwd, and you have none`],
  [/too many FUSE filesystems/, EXIT.busy, 'the users of this machine have as many FUSE mounts as mount_max in /etc/fuse.conf allows; unmount one, or have root raise it'],
  [/mounting over filesystem type/, EXIT.denied, 'an ordinary user may not mount on this kind of file system; choose a directory on another, such as your home'],
  [/mount failed: Operation not permitted/, EXIT.denied, `${FUSERMOUNT} has no right to mount: it must be set-uid root (chmod u+s), and a container needs --cap-add SYS_ADMIN`],
];

function refusal(mountpoint: string, stderr: string, status: number | null): UserError {
  const said = stderr.trim().replaceAll(/\s*\n\s*/g, '; ');
  const [, exitCode, text] = REFUSALS.find(([pattern]) => pattern.test(said)) ?? [];
  const cause = new Error(said === '' ? `${FUSERMOUNT} ended with ${status}` : said);
  return new UserError(`cannot mount at ${mountpoint}: ${text?.replace('%', mountpoint) ?? cause.message}`, exitCode ?? EXIT.failure, { cause });
}

/** TOUCHES THE MOUNT, as `unmount` of mount.ts does. SystemCallError EBUSY, EINVAL (not mounted, or not this user's). */
export function unmountByHelper(mountpoint: string, mode: 'wait' | 'detach'): void {
  const words = ['-u', ...(mode === 'detach' ? ['-z'] : []), '--', mountpoint];
  const { status, error, stderr } = spawnSync(FUSERMOUNT, words, { cwd: '/', env: { ...process.env, LC_ALL: 'C' }, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (error !== undefined) throw helperMissing('unmount', error);
  if (status === 0) return;
  if (/resource busy/.test(stderr)) throw new SystemCallError(FUSERMOUNT, mountpoint, ERRNO.EBUSY);
  if (/not found in|not mounted|Invalid argument/.test(stderr)) throw new SystemCallError(FUSERMOUNT, mountpoint, ERRNO.EINVAL);
  throw new UserError(`cannot unmount ${mountpoint}: ${stderr.trim() || `${FUSERMOUNT} ended with ${status}`}`);
}
