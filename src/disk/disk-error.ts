// What a failed system call on a disk means to the driver.
import { AssertionError } from '../base/assert.ts';
import { FormatError } from '../base/errors.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { WorkerErrorCode } from '../ipc/messages.ts';
import { ERRNO, SystemCallError } from '../os/libc.ts';

/** mdb_put & co.: the map is as large as it may become. lmdb.h. */
const MDB_MAP_FULL = -30792;

/** `error` as a WorkerError: 'noSpace', 'readOnly', 'damaged' or 'diskFailure'. A broken assertion stays one. */
export function diskError(error: unknown, doing: string): WorkerError | AssertionError {
  if (error instanceof WorkerError || error instanceof AssertionError) return error;
  return new WorkerError(codeOf(error), `${doing}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

function codeOf(error: unknown): WorkerErrorCode {
  if (error instanceof FormatError) return 'damaged';
  const number = error instanceof SystemCallError ? error.errno : undefined;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === MDB_MAP_FULL || number === ERRNO.ENOSPC || code === ERRNO.ENOSPC) return 'noSpace';
  if (code === 'EROFS' || number === ERRNO.EROFS) return 'readOnly';
  return 'diskFailure';
}
