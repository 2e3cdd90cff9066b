// What one worker holds that is not power-proof yet, remembered here so that it outlives the worker; and its sync.
import type { RequestOptions, WorkerLink } from './worker-link.ts';

export class SyncBarrier {
  readonly link: WorkerLink;
  /**
   * Writes that this worker has a copy of, and how many of them a sync covered. The first stands for what a
   * driver before this one may have left unsynced.
   */
  #written = 1;
  #covered = 0;
  /** As #covered, for writes whose other copies were found to be enough while this worker was away. */
  #excused = 0;
  /** Fewest copies that any block has that was written since the last full sync. */
  #copiesMin: number;
  readonly #copies: number;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /**
   * `before`: how many copies the blocks have at least that an earlier driver put. `excused`: nothing of what it left there
   * counts (the disk was no member).
   */
  constructor(link: WorkerLink, options: { copies: number; before?: number; excused?: boolean }) {
    this.link = link;
    this.#copies = options.copies;
    if (options.excused === true) this.#excused = this.#written;
    this.#copiesMin = options.before ?? options.copies;
  }

  get dirty(): boolean {
    return this.#written > this.#covered;
  }

  /** True when nothing depends on this worker's next sync: what it has not synced, enough others have. */
  get excused(): boolean {
    return this.#written === this.#excused;
  }

  /** Stands for all that was written so far; for excuse(). */
  get mark(): number {
    return this.#written;
  }

  /** A sync was acknowledged without what this worker had at `mark`. That stays dirty, for when the worker is back. */
  excuse(mark: number): void {
    this.#excused = mark;
    if (this.excused) this.#copiesMin = this.#copies;
  }

  /** How many copies of its unsynced blocks are on other workers, at least. */
  get copiesElsewhere(): number {
    return this.#copiesMin - 1;
  }

  /** The worker acknowledged a block that has so many copies in all. */
  wrote(copies: number): void {
    this.#written++;
    if (copies < this.#copiesMin) this.#copiesMin = copies;
  }

  /** All that was written before the call is power-proof when this resolves. Callers that come during a sync share the next. */
  sync(options: RequestOptions): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#sync(options).finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.sync(options);
    });
    return this.#next;
  }

  async #sync(options: RequestOptions): Promise<void> {
    const mark = this.#written;
    if (mark === this.#covered) return;
    await this.link.request('syncBlocks', {}, options);
    this.#covered = mark;
    if (!this.dirty) this.#copiesMin = this.#copies;
  }
}
