// Reads all rows of the driver's database, beside other work: what a checksum per row cannot show is that rows are missing.
//
// It is done for a scrub, and after a process that had the database died, unless the mount did it. Damage ends the driver, and
// its successor makes the rows anew from the disks (recovery.ts).
import type { Logger } from '../base/log.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';

/** A page of rows takes about a millisecond: so much of the time is left to others between two. */
const PAUSE_INTERVAL_MS = 4;

class Stopped extends Error {}

export class RowsCheck {
  readonly #engine: LmdbEngine;
  readonly #logger: Logger;
  #verified: boolean;
  #stopped = false;
  #running: Promise<number | undefined> | undefined;

  constructor(engine: LmdbEngine, options: { readonly verified: boolean; readonly logger: Logger }) {
    this.#engine = engine;
    this.#verified = options.verified;
    this.#logger = options.logger;
  }

  /** Until then rows may be missing: nothing is to be done because of a row that is not there. */
  get verified(): boolean {
    return this.#verified;
  }

  start(): void {
    if (!this.#verified) this.run().catch((error: unknown) => this.#logger.error({ err: error }, 'the rows of the metadata could not be read through'));
  }

  /** Resolves with the number of rows; undefined when it was stopped. Rejects when they are damaged: the driver is ending then. */
  run(shouldEnd: () => boolean = () => false): Promise<number | undefined> {
    this.#running ??= this.#read(shouldEnd).finally(() => { this.#running = undefined; });
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running?.catch(() => {});
  }

  async #read(shouldEnd: () => boolean): Promise<number | undefined> {
    const startMs = performance.now();
    try {
      const rows = await this.#engine.verify(() => this.#pause(shouldEnd));
      this.#verified = true;
      this.#logger.info({ rows, tookMs: Math.round(performance.now() - startMs) }, 'all rows of the metadata were read and are whole');
      return rows;
    } catch (error) {
      if (error instanceof Stopped) return undefined;
      throw error;
    }
  }

  async #pause(shouldEnd: () => boolean): Promise<void> {
    await new Promise((resolve) => { setTimeout(resolve, PAUSE_INTERVAL_MS); });
    if (this.#stopped || shouldEnd()) throw new Stopped();
  }
}
