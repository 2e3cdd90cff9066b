// What the keeper asks of the kernel, and how Linux answers: open and mount /dev/fuse, unmount it, abort it, tune it.
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { MountOptions } from '../base/mount-options.ts';
import { abortMount, setReadAhead } from '../kernel/connection.ts';
import { mountByHelper } from '../kernel/fusermount.ts';
import { findMount } from '../kernel/mount-table.ts';
import { mountFuse } from '../kernel/mount.ts';
import { ERRNO, strerror } from '../os/libc.ts';

export interface MountedDevice {
  /** The open /dev/fuse. */
  readonly fd: number;
  /** Its number in /sys/fs/fuse/connections; null where mountinfo does not show the mount. */
  readonly connection: number | null;
}

/** None of these touches the mount from the keeper's own threads. */
export interface KernelEdge {
  /** As root by mount(2), else by fusermount3. UserError when there is no /dev/fuse, or the mount is refused. */
  mount(mountpoint: string, options: MountOptions): MountedDevice;
  /** 'wait' resolves to 'busy' when the mount is in use; 'notMounted' when somebody else was first. */
  unmount(mountpoint: string, mode: 'wait' | 'detach'): Promise<'done' | 'busy' | 'notMounted'>;
  /** Whether this connection is what one finds at `mountpoint`. */
  isMounted(mountpoint: string, connection: number): boolean;
  /** All that wait on the mount get an error. Nothing, where the number is another mount's by now. */
  abort(mountpoint: string, connection: number): void;
  /** False where that is not permitted, or not known. */
  setReadAhead(connection: number, kib: number): boolean;
}

/** Sequential reads ask for whole requests, and one more than the reader needs now. */
export const READ_AHEAD_KIB = LIMITS.requestBytesMax / 1024;

export class LinuxKernelEdge implements KernelEdge {
  readonly #unmountModule: string;

  constructor(unmountModule: string) {
    this.#unmountModule = unmountModule;
  }

  mount(mountpoint: string, options: MountOptions): MountedDevice {
    const fd = process.getuid?.() === 0 ? mountDirectly(mountpoint, options) : mountByHelper(mountpoint, options);
    return { fd, connection: findMount(mountpoint)?.minor ?? null };
  }

  unmount(mountpoint: string, mode: 'wait' | 'detach'): Promise<'done' | 'busy' | 'notMounted'> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [this.#unmountModule, mountpoint, mode], { stdio: 'ignore', cwd: '/' });
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new TimeoutError(`umount2(${mountpoint})`, LIMITS.controlSyncMs));
      }, LIMITS.controlSyncMs);
      child.once('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      child.once('exit', (code) => {
        clearTimeout(timer);
        if (code === 0) resolve('done');
        else if (code === ERRNO.EBUSY) resolve('busy');
        else if (code === ERRNO.EINVAL || code === ERRNO.ENOENT) resolve('notMounted');
        else reject(new Error(`cannot unmount ${mountpoint}: ${code === null || code === 255 ? 'the unmounting process failed' : strerror(code)}`));
      });
    });
  }

  isMounted(mountpoint: string, connection: number): boolean {
    return findMount(mountpoint)?.minor === connection;
  }

  abort(mountpoint: string, connection: number): void {
    abortMount(mountpoint, connection);
  }

  setReadAhead(connection: number, kib: number): boolean {
    return setReadAhead(connection, kib);
  }
}

function mountDirectly(mountpoint: string, options: MountOptions): number {
  const fd = openDevice();
  try {
    mountFuse(fd, mountpoint, options);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openDevice(): number {
  try {
    return openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM') throw new UserError('cannot open /dev/fuse: permission denied; run sdfs as root (in a container, pass --device /dev/fuse)', EXIT.denied, { cause });
    throw new UserError(`cannot open /dev/fuse (${code}): the kernel's FUSE is missing; try "modprobe fuse" (in a container, pass --device /dev/fuse and --cap-add SYS_ADMIN)`, EXIT.unsupported, { cause });
  }
}
