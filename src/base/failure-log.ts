// What the log learns of requests that failed: each kind of failure at most once a second, with a count of the rest.
import { FsError } from './errors.ts';
import type { Logger } from './log.ts';

/** A full or broken volume fails thousands of requests a second; one line says as much as all of them. */
const REPEAT_MS = 1000;

export interface FailedRequest {
  readonly operation: string;
  readonly inode: number;
}

export class FailureLog {
  readonly #logger: Logger;
  /** By level and code, so never more than the codes that there are. */
  readonly #seen = new Map<string, { atMs: number; suppressed: number }>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** A request that is answered with an errno. An error that is not an FsError is a defect. */
  report(request: FailedRequest, error: unknown): void {
    if (!(error instanceof FsError)) {
      this.#write('error', `defect ${request.operation}`, request, error);
      return;
    }
    const level = error.logLevel;
    if (level === 'trace') {
      if (this.#logger.isLevelEnabled('trace')) this.#logger.trace({ ...request, code: error.code }, 'request refused');
      return;
    }
    this.#write(level, error.code, request, error);
  }

  #write(level: 'error' | 'warn', kind: string, request: FailedRequest, error: unknown): void {
    const nowMs = performance.now();
    const seen = this.#seen.get(kind);
    if (seen !== undefined && nowMs - seen.atMs < REPEAT_MS) {
      seen.suppressed++;
      return;
    }
    this.#seen.set(kind, { atMs: nowMs, suppressed: 0 });
    const code = error instanceof FsError ? error.code : 'EIO';
    this.#logger[level]({ ...request, code, err: error, suppressed: seen?.suppressed ?? 0 }, `${request.operation} on inode ${request.inode} failed`);
  }
}
