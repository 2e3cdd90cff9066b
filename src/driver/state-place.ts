// Where the driver's database lies: in the volume's directory, or on one of the volume's disks when what lies below that
// directory has failed. The database can always be made anew, so that its place is nobody's business but the driver's.
//
//   DISK/driver-EPOCH/   the database of the mount whose first driver had that epoch; removed by the next one that needs it
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from '../base/log.ts';
import type { DriverStart } from '../ipc/process-messages.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import { replaceFile } from '../os/replace-file.ts';

const PREFIX = 'driver-';
/** What a file system that has failed, is read-only or is no longer mounted says. A full one has not failed. */
const FAILED: ReadonlySet<string> = new Set(['EIO', 'EROFS', 'ENODEV', 'ENXIO', 'ENOTCONN', 'ESTALE', 'ESHUTDOWN', 'EUCLEAN', 'ENOENT', 'ENOTDIR']);

export interface StatePlace {
  readonly directory: string;
  /** Not where it belongs: the database that was there is lost, and the journal goes on where it was, if that was elsewhere. */
  readonly moved: boolean;
}

/** Call it when the workers have said hello. Throws the error of the volume's directory when there is no other place than one that failed. */
export function placeState(start: DriverStart, pool: WorkerPool, logger: Logger): StatePlace {
  const { hangingDevice } = start;
  const cause = hangingDevice === undefined ? failureOf(start.stateDirectory) : new Error(`the disk below ${start.stateDirectory} hangs`);
  if (cause === undefined) return { directory: start.stateDirectory, moved: false };
  for (const link of pool.links) {
    const disk = start.description.disks.find(({ worker }) => worker === link.worker);
    // A disk that hangs holds up who asks it, so that nothing is tried there.
    if (!link.isReady || link.isStalled || disk === undefined || fs.statSync(disk.directory, { throwIfNoEntry: false })?.dev === hangingDevice) continue;
    const directory = join(disk.directory, `${PREFIX}${start.mountEpoch}`);
    if (failureOf(directory) !== undefined) continue;
    removeOthers(disk.directory, directory);
    logger.error({ err: cause, failed: start.stateDirectory, directory }, "the driver's database cannot be where it belongs; it lies on a disk of the volume until that is repaired");
    return { directory, moved: true };
  }
  // Then there is nothing to do but to wait with it.
  if (hangingDevice !== undefined) return { directory: start.stateDirectory, moved: false };
  throw cause;
}

/** Why a database cannot be there; it is not made in a place that is not there. Other errors may pass, and are met again. */
function failureOf(directory: string): Error | undefined {
  try {
    if (!fs.existsSync(directory)) {
      fs.statSync(dirname(directory));
      fs.mkdirSync(directory, { mode: 0o700 });
    }
    replaceFile(join(directory, 'probe'), `${process.pid}\n`);
    return undefined;
  } catch (error) {
    return FAILED.has((error as NodeJS.ErrnoException).code ?? '') ? (error as Error) : undefined;
  }
}

function removeOthers(disk: string, kept: string): void {
  for (const name of fs.readdirSync(disk)) {
    const path = join(disk, name);
    if (name.startsWith(PREFIX) && path !== kept) fs.rmSync(path, { recursive: true, force: true });
  }
}
