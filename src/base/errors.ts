// Typed domain errors. Codes are the names of <errno.h>; the numbers are known to base/errno.ts alone.

export const FS_ERROR_CODES = [
  'EPERM', 'ENOENT', 'EINTR', 'EIO', 'ENXIO', 'E2BIG', 'EBADF', 'EAGAIN', 'ENOMEM', 'EACCES', 'EBUSY', 'EEXIST', 'EXDEV',
  'ENODEV', 'ENOTDIR', 'EISDIR', 'EINVAL', 'ENFILE', 'ENOTTY', 'ETXTBSY', 'EFBIG', 'ENOSPC', 'ESPIPE', 'EROFS', 'EMLINK',
  'ERANGE', 'EDEADLK', 'ENOLCK', 'ENAMETOOLONG', 'ENOSYS', 'ENOTEMPTY', 'ELOOP', 'ENODATA', 'EOPNOTSUPP', 'EOVERFLOW', 'ETIMEDOUT',
  'ESTALE', 'EDQUOT',
] as const;
export type FsErrorCode = (typeof FS_ERROR_CODES)[number];

/** Severity in the log: what a program did to itself (ENOENT) is no news, what the file system failed at is. */
const LOUD: ReadonlySet<FsErrorCode> = new Set(['EIO', 'ENOMEM', 'ETIMEDOUT', 'ESTALE']);

/** An error that a program on the mount will see as an errno. */
export class FsError extends Error {
  override readonly name = 'FsError';
  readonly code: FsErrorCode;
  constructor(code: FsErrorCode, message: string = code, options?: ErrorOptions) {
    // A stack costs 2 us, and nobody reads that of an everyday error.
    const { stackTraceLimit } = Error;
    if (!LOUD.has(code)) Error.stackTraceLimit = 0;
    super(message, options);
    Error.stackTraceLimit = stackTraceLimit;
    this.code = code;
  }
  get logLevel(): 'error' | 'warn' | 'trace' {
    return this.code === 'ENOSPC' ? 'warn' : LOUD.has(this.code) ? 'error' : 'trace';
  }
}

/** ENOSPC because of what one file may have, not of the disks: no room made elsewhere helps. */
export class FileLimitError extends FsError {
  constructor(message: string) {
    super('ENOSPC', message);
  }
}

/** Exit codes of the `sdfs` command; documented in README.md and `sdfs --help`. */
export const EXIT = { ok: 0, failure: 1, usage: 2, notFound: 3, busy: 4, denied: 5, foreign: 6, space: 7, damaged: 8, unsupported: 9, incomplete: 10, repaired: 11 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An error for a person: what happened, to what, and what to do now; ends a command with `exitCode`. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly exitCode: ExitCode;
  constructor(message: string, exitCode: ExitCode = EXIT.failure, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** Bytes that are not what their format says. `what` names the file or frame; wanted and found are for the reader. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  constructor(what: string, detail: { wanted: string; found: string }, options?: ErrorOptions) {
    super(`${what}: wanted ${detail.wanted}, found ${detail.found}`, options);
  }
}

/** A channel to another process ended while something waited on it. */
export class ChannelClosedError extends Error {
  override readonly name = 'ChannelClosedError';
}

/** A bounded wait ran out; the message names what was waited for and how long. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
  constructor(what: string, timeoutMs: number, options?: ErrorOptions) {
    super(`no answer within ${timeoutMs} ms: ${what}`, options);
  }
}
