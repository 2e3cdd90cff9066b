// The register of running mounts: one runtime directory per mounted volume, with the sockets and a note of who runs it.
//
//   ROOT/<volume uuid>/               0700; ROOT is /run/sdfs, for an ordinary user $XDG_RUNTIME_DIR/sdfs or, where that is
//                                     not there or goes at logout, /tmp/sdfs-<uid>; SDFS_RUN_DIR names another
//       mount.json                    RunningMount: enough to end a mount whose keeper is dead or hung
//       control.sock                  control/api.ts
//       keys.sock                     the keys of the volume, for other processes: backend/key-server.ts
//       worker-<id>.sock              ipc frames
import { chmodSync, closeSync, constants, lstatSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { endsAtLogout } from './login-session.ts';
import type { ProcessIdentity } from './process-identity.ts';

const identitySchema = z.object({ pid: z.int().positive(), startTime: z.string() });

const runningMountSchema = z.object({
  version: z.literal(1),
  volume: z.string(),
  name: z.string(),
  volumeDirectory: z.string(),
  mountpoint: z.string(),
  /** Minor of the mount's st_dev = number of its connection in /sys/fs/fuse/connections; null until it is mounted. */
  connection: z.int().nonnegative().nullable(),
  /** False once the mount was taken off its mountpoint. */
  attached: z.boolean(),
  since: z.string(),
  keeper: identitySchema,
  children: z.array(identitySchema),
});

export type RunningMount = Readonly<z.infer<typeof runningMountSchema>> & {
  readonly keeper: ProcessIdentity;
  readonly children: readonly ProcessIdentity[];
};

/** A mount with the place where it is registered. */
export interface RegisteredMount extends RunningMount {
  readonly directory: string;
  readonly controlSocket: string;
}

/** Where mounts of this user are registered: the first is where a new one is. */
export function runtimeRoots(): readonly string[] {
  const chosen = process.env.SDFS_RUN_DIR;
  if (chosen) return [chosen];
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return ['/run/sdfs'];
  // Not every shell of a user has the variable, so its usual value counts too.
  const session = [process.env.XDG_RUNTIME_DIR, `/run/user/${uid}`].filter((directory) => directory !== undefined && isOwn(directory, uid));
  const sessionRoots = new Set(session.map((directory) => join(directory as string, 'sdfs')));
  const lasting = `/tmp/sdfs-${uid}`;
  return endsAtLogout() ? [lasting, ...sessionRoots] : [...sessionRoots, lasting];
}

/** Whether it is a directory of this user that nobody else may write to; a symbolic link is none. */
export function isOwn(directory: string, uid: number = process.getuid?.() ?? 0): boolean {
  const found = lstatSync(directory, { throwIfNoEntry: false });
  return found !== undefined && found.isDirectory() && found.uid === uid && (found.mode & 0o022) === 0;
}

/** Paths in the runtime directory of one volume. */
export class RuntimeDirectory {
  readonly path: string;

  constructor(volume: string, root: string = runtimeRoots()[0] as string) {
    this.path = join(root, volume);
  }

  get controlSocket(): string {
    return join(this.path, 'control.sock');
  }

  get keySocket(): string {
    return join(this.path, 'keys.sock');
  }

  workerSocket(worker: number): string {
    return join(this.path, `worker-${worker}.sock`);
  }

  /** Makes it, private; throws UserError when a socket path would not fit into sun_path. */
  create(workerCount: number): void {
    const longest = this.workerSocket(workerCount);
    if (Buffer.byteLength(longest) > LIMITS.socketPathBytesMax) {
      throw new UserError(`the runtime directory ${this.path} is too long for UNIX sockets (${LIMITS.socketPathBytesMax} bytes): set SDFS_RUN_DIR to a shorter one`, EXIT.usage);
    }
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
      // In a directory for all, as /tmp is, somebody else may have been first.
      for (const directory of [dirname(this.path), this.path]) {
        if (!isOwn(directory)) throw new Error(`${directory} is another user's, or others may write to it`);
      }
      chmodSync(this.path, 0o700);
    } catch (cause) {
      throw new UserError(`cannot make the runtime directory ${this.path}: ${(cause as Error).message}; set SDFS_RUN_DIR to a directory of your own`, EXIT.denied, { cause });
    }
  }

  write(mount: RunningMount): void {
    const file = join(this.path, 'mount.json');
    writeFileSync(`${file}.new`, `${JSON.stringify(mount, null, 1)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** All registered mounts of this user, of live and of dead keepers. What cannot be read or understood is left out. */
export function listRunningMounts(roots: readonly string[] = runtimeRoots()): RegisteredMount[] {
  return roots.filter((root) => isOwn(root)).flatMap((root) => readdirSync(root).flatMap((name) => {
    const mount = readMount(join(root, name));
    return mount === undefined ? [] : [mount];
  }));
}

/** What one runtime directory says; undefined where it says nothing that can be understood. */
export function readMount(directory: string): RegisteredMount | undefined {
  try {
    const fd = openSync(join(directory, 'mount.json'), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const mount = runningMountSchema.parse(JSON.parse(readFileSync(fd, 'utf8')));
      return { ...mount, directory, controlSocket: join(directory, 'control.sock') };
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}
