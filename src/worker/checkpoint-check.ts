// Reads a whole checkpoint in a process of its own: LMDB ends the process that meets a damaged page.
import { execFile } from 'node:child_process';
import { EXIT } from '../base/errors.ts';
import { Checkpoint } from '../disk/checkpoint.ts';

/** Whether it can be read, and is what was put there. `onProgress` is called while it takes its time. */
export function checkCheckpoint(directory: string, onProgress?: () => void): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setInterval(() => onProgress?.(), 1_000);
    execFile(process.execPath, [import.meta.filename, directory], (error) => {
      clearInterval(timer);
      resolve(error === null);
    });
  });
}

if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) process.exit(Checkpoint.isWhole(process.argv[2]) ? EXIT.ok : EXIT.damaged);
