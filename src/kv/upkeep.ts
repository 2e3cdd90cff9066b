// The background work on blocks: copies made whole, garbage removed, scrubs. One thing at a time, the urgent one first.
import type { Logger } from '../base/log.ts';
import type { BlockId } from '../base/ids.ts';
import { blockKey } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { Reconciler } from './reconciler.ts';
import type { ReconcilerParts, ReconcilerStatus, RunReport } from './reconciler.ts';
import { Scrubber } from './scrubber.ts';
import type { ScrubberStatus, ScrubMetadata, ScrubStore } from './scrubber.ts';
import { Throttle } from './throttle.ts';

const TICK_MS = 500;

export interface UpkeepStatus {
  readonly reconcile: ReconcilerStatus;
  readonly scrub: ScrubberStatus;
}

export type UpkeepParts = Omit<ReconcilerParts, 'throttle'> & { readonly scrubs: ScrubStore; readonly scrubMetadata?: ScrubMetadata };

interface Asked {
  readonly dryRun: boolean;
  readonly resolve: (report: RunReport) => void;
  readonly reject: (error: Error) => void;
}

export class Upkeep {
  readonly reconciler: Reconciler;
  readonly #scrubber: Scrubber;
  readonly #logger: Logger;
  readonly #throttle: Throttle;
  /** Runs that somebody waits for. */
  readonly #asked: Asked[] = [];
  #working: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pausedUntilMs = 0;
  #stopped = false;

  constructor(parts: UpkeepParts) {
    this.#logger = parts.logger;
    this.#throttle = new Throttle(() => parts.pool.links.some((link) => link.load > 0));
    this.reconciler = new Reconciler({ ...parts, throttle: this.#throttle });
    this.#scrubber = new Scrubber({ ...parts, throttle: this.#throttle, presenceOf: (index) => this.reconciler.presenceOf(index), isStopped: () => this.#stopped }, parts.scrubs, parts.scrubMetadata);
  }

  start(): void {
    this.reconciler.request('the driver has started');
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /** Ends what is under way at its next step. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.reconciler.stop();
    this.#throttle.stop();
    for (const { reject } of this.#asked.splice(0)) reject(new Error('the driver is ending'));
    await this.#working;
  }

  get status(): UpkeepStatus {
    return { reconcile: this.reconciler.status, scrub: this.#scrubber.status };
  }

  /** Looks over all blocks now; with `dryRun` it only counts. */
  reconcile(options: { readonly dryRun: boolean }): Promise<RunReport> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(new Error('the driver is ending'));
      this.#asked.push({ dryRun: options.dryRun, resolve, reject });
      this.#tick();
    });
  }

  /** Begins a scrub, or changes the rate of the one that is under way. */
  scrub(options: { readonly rate?: number | undefined }): void {
    this.#scrubber.begin(options);
    if (options.rate !== undefined) this.#throttle.rate = options.rate;
    this.#tick();
  }

  /** Needed blocks that have no good copy on any disk, as far as runs and scrubs have found them. */
  get unreadable(): BlockId[] {
    const blocks = [...this.reconciler.unreadable, ...this.#scrubber.unreadable];
    return [...new Map(blocks.map((id) => [blockKey(id), id])).values()];
  }

  #tick(): void {
    if (this.#working !== undefined || this.#stopped || (performance.now() < this.#pausedUntilMs && this.#asked.length === 0)) return;
    const work = this.#next();
    if (work === undefined) return;
    this.#working = work
      .catch((error: unknown) => {
        this.#pausedUntilMs = performance.now() + LIMITS.backgroundPauseMs;
        this.#logger.warn({ err: error }, 'background work on blocks failed; it is tried again');
      })
      .finally(() => {
        this.#working = undefined;
        if (this.#asked.length > 0) this.#tick();
      });
  }

  #next(): Promise<void> | undefined {
    const asked = this.#asked.shift();
    if (asked !== undefined) {
      return this.reconciler.run({ dryRun: asked.dryRun, reason: 'asked for' }).then(asked.resolve, (error: Error) => {
        asked.reject(error);
        throw error;
      });
    }
    if (this.reconciler.isDue) return this.reconciler.run().then(() => undefined);
    // What a disk has that is away for a moment cannot be read back, and is not missing.
    if (this.#scrubber.isDue && !this.reconciler.isDiskAway) return this.#scrubber.run(() => this.#asked.length > 0 || this.reconciler.isDiskAway || this.reconciler.isDue);
    return undefined;
  }
}
