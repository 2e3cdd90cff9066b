// Reads a whole checkpoint in a process of its own: LMDB ends the process that meets a damaged page.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { EXIT } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { Checkpoint } from '../disk/checkpoint.ts';

/**
 * Whether it can be read, and is what was put there. `onProgress` is called while it takes its time and gets on; not while
 * it waits for a disk that hangs, so that the keeper's bound for a start counts.
 */
export function checkCheckpoint(directory: string, onProgress?: () => void): Promise<boolean> {
  return new Promise((resolve) => {
    let before: string | undefined;
    const child = execFile(process.execPath, [import.meta.filename, directory], (error) => {
      clearInterval(timer);
      resolve(error === null);
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

if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) process.exit(Checkpoint.isWhole(process.argv[2]) ? EXIT.ok : EXIT.damaged);
