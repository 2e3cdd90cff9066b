// What happens again and again is said once, and then now and then with a count: a disk that fails has thousands of errors.
import type { Logger } from './log.ts';

/** Between two lines of one kind. */
const REPEAT_MS = 10_000;

export class LogSeries {
  readonly #logger: Logger;
  /** By kind. Callers name kinds by what there are few of: disks, not blocks. */
  readonly #kinds = new Map<string, { atMs: number; suppressed: number }>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** One line for the first of a kind; those within the next seconds are counted in the line that follows them. */
  say(kind: string, level: 'error' | 'warn' | 'info', fields: object, message: string): void {
    const now = performance.now();
    const last = this.#kinds.get(kind);
    if (last !== undefined && now - last.atMs < REPEAT_MS) {
      last.suppressed++;
      return;
    }
    this.#kinds.set(kind, { atMs: now, suppressed: 0 });
    this.#logger[level](last === undefined || last.suppressed === 0 ? fields : { ...fields, alike: last.suppressed }, message);
  }
}
