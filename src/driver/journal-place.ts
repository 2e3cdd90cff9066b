// Where the driver's journal lies: in memory where there is a tmpfs, since it need not outlive the machine.
//
// On a disk each write of it changes a file's times, and so waits for the disk's own file system whenever that commits
// its journal (measured: a quarter of the driver's time while small files are written).
import { existsSync, lstatSync, mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { Uuid } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { LIMITS } from '../base/limits.ts';
import { endsAtLogout } from '../control/login-session.ts';

/** statfs(2), TMPFS_MAGIC. */
const TMPFS_MAGIC = 0x01021994;

/** The directory for the journal of this volume: the one in use, or the best place for a new one. */
export function placeJournal(parts: { volume: Uuid; stateDirectory: string; logger: Logger }): string {
  const onDisk = join(parts.stateDirectory, 'journal');
  const memory = process.env['SDFS_JOURNAL_DIR'] ?? '/dev/shm';
  const inMemory = join(memory, `sdfs-${parts.volume}`);
  if (existsSync(onDisk)) return onDisk;
  try {
    const { type, bavail, bsize } = statfsSync(memory);
    const isNew = !existsSync(inMemory);
    if (type !== TMPFS_MAGIC || (isNew && (bavail * bsize < 2 * LIMITS.logBytesSoft || endsAtLogout()))) return onDisk;
    if (isNew) mkdirSync(inMemory, { mode: 0o700 });
    // Everybody may write to /dev/shm: what is not ours is not used.
    const { uid, mode } = lstatSync(inMemory);
    if ((mode & 0o170777) === 0o040700 && uid === process.getuid?.()) return inMemory;
    parts.logger.warn({ directory: inMemory }, 'the directory for the journal belongs to somebody else; the journal goes to the disk');
  } catch (error) {
    parts.logger.info({ err: error }, 'no memory for the journal; it goes to the disk');
  }
  return onDisk;
}
