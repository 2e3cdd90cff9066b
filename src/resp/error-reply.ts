// Errors as lines of the protocol: a code that clients know at the front, then what happened and what to do.
import type { Logger } from '../base/log.ts';
import { StoreError } from '../keys/errors.ts';
import type { StoreErrorCode } from '../keys/errors.ts';
import { CommandError } from './errors.ts';

/** What Redis says of its own kin; ERR for all others. */
const CODES: Readonly<Partial<Record<StoreErrorCode, string>>> = { FULL: 'OOM', BUSY: 'BUSY' };

export function errorReply(error: unknown, logger: Logger): string {
  if (error instanceof CommandError) return error.message;
  if (error instanceof StoreError) return `${CODES[error.code] ?? 'ERR'} ${error.message}`;
  logger.error({ err: error }, 'a command failed');
  return 'ERR internal error; the log of the store says more';
}
