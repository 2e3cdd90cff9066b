// How the keeper forks: which module, which descriptors, which environment.
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../base/log.ts';
import type { ChildModules } from '../control/api.ts';

export type { ChildModules };

export const CHILD_MODULES: ChildModules = {
  driver: fileURLToPath(new URL('../driver/main.js', import.meta.url)),
  worker: fileURLToPath(new URL('../worker/main.js', import.meta.url)),
  unmount: fileURLToPath(new URL('./unmount-process.js', import.meta.url)),
};

/** Where the inherited /dev/fuse is found in the driver: behind stdin, stdout and stderr. */
export const DRIVER_FUSE_FD = 3;
/** fsyncs, LMDB and sleeping polls each take a thread of the pool. */
const THREADPOOL_SIZE = '8';
/** The keeper goes last when memory runs out; a child can be replaced, but programs wait meanwhile. proc(5), oom_score_adj. */
export const KEEPER_OOM_SCORE = -900;
const CHILD_OOM_SCORE = -500;

interface ForkOptions {
  readonly module: string;
  /** Words that tell one process from another in `ps`. */
  readonly label: readonly string[];
  readonly execArgv?: readonly string[];
  readonly fuseFd?: number | undefined;
  readonly log: Logger;
}

/**
 * Forks into a session of its own: a Ctrl-C on the keeper's terminal is for the keeper, which ends its children in
 * order. They notice the keeper's death by the end of the IPC channel.
 */
export function forkChild(options: ForkOptions): ChildProcess {
  const child = fork(options.module, [...options.label], {
    detached: true,
    execArgv: [...(options.execArgv ?? [])],
    cwd: '/',
    env: childEnvironment(),
    stdio: ['ignore', 'inherit', 'inherit', ...(options.fuseFd === undefined ? [] : [options.fuseFd]), 'ipc'],
  });
  if (child.pid !== undefined) setOomScore(child.pid, CHILD_OOM_SCORE, options.log);
  return child;
}

/** The keeper's own, without what is meant for the keeper alone. */
function childEnvironment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _systemd, NODE_OPTIONS: _node, NODE_CHANNEL_FD: _channel, ...env } = process.env;
  return { ...env, UV_THREADPOOL_SIZE: THREADPOOL_SIZE };
}

/** Lowering it needs root; without it the process is an ordinary candidate. */
export function setOomScore(pid: number, score: number, log: Logger): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    log.debug({ err: error, target: pid }, 'oom_score_adj was not set');
  }
}
