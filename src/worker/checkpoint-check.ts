// Reads a whole checkpoint in a process of its own: LMDB ends the process that meets a damaged page.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { EXIT, FormatError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { Checkpoint } from '../disk/checkpoint.ts';
import type { CheckpointState } from '../ipc/messages.ts';

/** What the kernel ends a process with that touched memory it has not, or gave itself up: as LMDB does over a damaged file. */
const FAULTS: readonly NodeJS.Signals[] = ['SIGSEGV', 'SIGBUS', 'SIGABRT'];

/**
 * Whether it can be read, and is what was put there. `onProgress` is called while it takes its time and gets on; not while
 * it waits for a disk that hangs, so that the keeper's bound for a start counts.
 */
export async function checkCheckpoint(directory: string, onProgress?: () => void): Promise<boolean> {
  return (await examine(directory, onProgress)) === 'whole';
}

/** Checks one checkpoint again and again while the disk is in use, for who asks how that stands. */
export class CheckpointCheck {
  readonly #directory: string;
  readonly #generation: () => number;
  #running = false;
  #found: CheckpointState | undefined;

  /** `generation`: another one when the checkpoint was replaced as a whole. */
  constructor(directory: string, generation: () => number) {
    this.#directory = directory;
    this.#generation = generation;
  }

  ask(): CheckpointState {
    const found = this.#found;
    this.#found = undefined;
    if (found !== undefined) return found;
    if (!this.#running) void this.#run();
    return 'checking';
  }

  async #run(): Promise<void> {
    this.#running = true;
    const generation = this.#generation();
    const found = await examine(this.#directory);
    this.#found = generation === this.#generation() ? found : 'unknown';
    this.#running = false;
  }
}

function examine(directory: string, onProgress?: () => void): Promise<Exclude<CheckpointState, 'checking'>> {
  return new Promise((resolve) => {
    let before: string | undefined;
    const child = execFile(process.execPath, [import.meta.filename, directory], (error) => {
      clearInterval(timer);
      const { code, signal } = (error ?? {}) as { code?: unknown; signal?: NodeJS.Signals | null };
      if (error === null) resolve('whole');
      else resolve(code === EXIT.damaged || (signal !== undefined && signal !== null && FAULTS.includes(signal)) ? 'damaged' : 'unknown');
    });
    const timer = setInterval(() => {
      const done = workOf(child.pid);
      if (done !== before) onProgress?.();
      before = done;
    }, LIMITS.checkpointLookMs);
  });
}

/** Page faults and processor time of a process so far. proc(5), /proc/PID/stat, fields 10-15. */
function workOf(pid: number | undefined): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(7, 13).join(' ');
  } catch {
    return undefined;
  }
}

function exitCode(directory: string): number {
  try {
    return Checkpoint.isWhole(directory) ? EXIT.ok : EXIT.damaged;
  } catch (error) {
    // What it found is wrong, and not that it could not look.
    return error instanceof FormatError || error instanceof SyntaxError || error instanceof z.ZodError || /MDB_(CORRUPTED|INVALID|PAGE_NOTFOUND|VERSION_MISMATCH)/.test(String(error)) ? EXIT.damaged : EXIT.failure;
  }
}

if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) process.exit(exitCode(process.argv[2]));
