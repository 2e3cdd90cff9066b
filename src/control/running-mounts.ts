// The register of running mounts: one runtime directory per mounted volume, with the sockets and a note of who runs it.
//
//   /run/sdfs/<volume uuid>/          0700; SDFS_RUN_DIR names another root than /run/sdfs
//       mount.json                    RunningMount: enough to end a mount whose keeper is dead or hung
//       control.sock                  control/api.ts
//       worker-<id>.sock              ipc frames
import { chmodSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
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

/** /run/sdfs where this user may write there, else a directory of the user's own below the temporary directory. */
export function runtimeRoot(): string {
  const chosen = process.env.SDFS_RUN_DIR;
  if (chosen) return chosen;
  return process.getuid?.() === 0 ? '/run/sdfs' : join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `sdfs-${process.getuid?.() ?? 0}`);
}

/** Paths in the runtime directory of one volume. */
export class RuntimeDirectory {
  readonly path: string;

  constructor(volume: string, root: string = runtimeRoot()) {
    this.path = join(root, volume);
  }

  get controlSocket(): string {
    return join(this.path, 'control.sock');
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
      chmodSync(this.path, 0o700);
    } catch (cause) {
      throw new UserError(`cannot make the runtime directory ${this.path}: ${(cause as Error).message}; set SDFS_RUN_DIR to a directory that can be written`, EXIT.denied, { cause });
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

/** All registered mounts, of live and of dead keepers. What cannot be read or understood is left out. */
export function listRunningMounts(root: string = runtimeRoot()): RegisteredMount[] {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const directory = join(root, name);
    try {
      const mount = runningMountSchema.parse(JSON.parse(readFileSync(join(directory, 'mount.json'), 'utf8')));
      return [{ ...mount, directory, controlSocket: join(directory, 'control.sock') }];
    } catch {
      return [];
    }
  });
}
