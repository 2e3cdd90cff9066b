// One mount through the package fuse-native, from its begin to its end: libfuse 2 mounts, in this process, on threads of its own.
import { readdirSync, readlinkSync } from 'node:fs';
import { EXIT, UserError } from '../base/errors.ts';
import { FailureLog } from '../base/failure-log.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { correct } from './corrections.ts';
import { packageOptions } from './mount-words.ts';
import type { NativeMountOptions } from './mount-words.ts';
import { makeOperations } from './operations.ts';
import { loadPackage } from './package.ts';
import { PathFileSystem } from './path-file-system.ts';

export interface NativeMountEvents {
  /** The mount is gone, by whatever unmounted it, and all its requests are answered. */
  readonly onEnd: () => void;
  readonly onDefect: (error: unknown) => void;
}

const DEVICE = '/dev/fuse';
const DESCRIPTORS = '/proc/self/fd';
/** The package copies it into so many bytes. */
const MOUNTPOINT_BYTES_MAX = 1000;

export class NativeMount {
  readonly #watch: NodeJS.Timeout;
  #waiting = 0;
  #stopped = false;

  private constructor(events: NativeMountEvents) {
    // libfuse tells the package nothing of the end of a mount; it closes the device then.
    this.#watch = setInterval(() => {
      if (this.#descriptor === undefined || opensDevice(this.#descriptor)) return;
      clearInterval(this.#watch);
      events.onEnd();
    }, LIMITS.nativeMountWatchMs);
  }

  /** libfuse's own, while it is mounted. */
  #descriptor: string | undefined;

  /** Mounts. UserError when the package cannot be used, or libfuse refuses. The mountpoint must be free, and is not touched later. */
  static async start(fs: FileSystem, options: NativeMountOptions & { readonly mountpoint: string; readonly logger: Logger }, events: NativeMountEvents): Promise<NativeMount> {
    const { mountpoint, logger } = options;
    const Package = loadPackage();
    if (Buffer.byteLength(mountpoint) > MOUNTPOINT_BYTES_MAX) throw new UserError(`mountpoint ${mountpoint} is too long for libfuse`, EXIT.usage);
    const owner = { uid: process.getuid!(), gid: process.getgid!() };
    const mount = new NativeMount(events);
    const operations = makeOperations(new PathFileSystem(fs, owner), {
      failures: new FailureLog(logger),
      onDefect: events.onDefect,
      onWaiting: (change) => {
        mount.#waiting += change;
      },
      isStopped: () => mount.#stopped,
    });
    const native = new Package(mountpoint, operations.plain, packageOptions(options, { root: process.geteuid!() === 0 }));
    correct(native, operations.corrected);
    try {
      await new Promise<void>((resolve, reject) => {
        native.mount((error) => (error ? reject(error) : resolve()));
      });
      mount.#descriptor = openDevices()[0];
    } catch (cause) {
      mount.stop();
      throw new UserError(`libfuse cannot mount at ${mountpoint} (${(cause as Error).message}); its reason is above, or in the log of the mount`, EXIT.failure, { cause });
    }
    if (options.allowOther) logger.warn({ owner }, 'other users may enter, and what they make will belong to who mounted: fuse-native does not say who asks');
    return mount;
  }

  /** Requests that are being worked on. */
  get waitingCount(): number {
    return this.#waiting;
  }

  /** From now on nothing is served: what still asks gets ENODEV. The mount itself ends with the process, or by an unmount. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#watch);
  }
}

/** This process opens it nowhere else. */
function openDevices(): string[] {
  return readdirSync(DESCRIPTORS).filter(opensDevice);
}

function opensDevice(descriptor: string): boolean {
  try {
    return readlinkSync(`${DESCRIPTORS}/${descriptor}`) === DEVICE;
  } catch {
    return false;
  }
}
