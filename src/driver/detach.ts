// Takes the driver's own mount out of the tree, by another process: this one may be serving it.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';

/** Never rejects: a mount that stays ends with the process that serves it. */
export async function detachMount(mountpoint: string, logger: Logger): Promise<void> {
  try {
    if (process.geteuid?.() === 0) await run('umount', ['--lazy', '--types', 'fuse.sdfs', mountpoint]);
    else await run('fusermount3', ['-u', '-z', '--', mountpoint]);
  } catch (error) {
    logger.warn({ err: error, mountpoint }, 'the mount could not be detached; it ends with the process that serves it');
  }
}

async function run(program: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)(program, args, { timeout: LIMITS.detachMs, cwd: '/' });
}
