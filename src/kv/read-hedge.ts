// Knows when a read takes too long, and how many reads may be asked of a second disk because of that.
//
// One timer looks at all reads under way, so that a read that is answered in time costs two changes of a set. The
// bound follows what reads take lately; the number of second questions is a share of all reads, so that a system that
// is slow as a whole does not get more to do.
//   Hedged requests: Dean, Barroso: The tail at scale, CACM 56(2), 2013.
import { LIMITS } from '../base/limits.ts';

const SWEEP_MS = 25;
/** Weight of the latest read in the average. */
const RECENT = 1 / 32;
/** A read is slow when it takes this many times the average. */
const SLOW_FACTOR = 4;
const HEDGES_PER_READ = 1 / 10;

/** A question to one disk, from when it is asked until it is answered. */
export interface WatchedRead {
  readonly index: number;
  readonly sinceMs: number;
  /** Called once when it takes too long; asks another disk if it can. */
  onSlow: (() => void) | undefined;
}

export class ReadHedge {
  readonly #underWay = new Set<WatchedRead>();
  /** Reads under way that are slow, by disk. */
  readonly #overdue: number[];
  #averageMs = 0;
  /** Second questions that may still be asked. */
  #allowance: number = LIMITS.hedgesMax;
  #timer: NodeJS.Timeout | undefined;

  constructor(diskCount: number) {
    this.#overdue = Array.from({ length: diskCount }, () => 0);
  }

  /** How long a read may take before another disk is asked. */
  get patienceMs(): number {
    return Math.min(LIMITS.hedgeMsMax, Math.max(LIMITS.hedgeMsMin, SLOW_FACTOR * this.#averageMs));
  }

  /** Reads that a disk owes for too long. */
  overdue(index: number): number {
    return this.#overdue[index]!;
  }

  begin(index: number, onSlow: () => void): WatchedRead {
    const read: WatchedRead = { index, sinceMs: performance.now(), onSlow };
    this.#underWay.add(read);
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
    return read;
  }

  /** Answered, or failed. */
  end(read: WatchedRead): void {
    this.#underWay.delete(read);
    if (read.onSlow === undefined) this.#overdue[read.index]!--;
    const tookMs = Math.min(performance.now() - read.sinceMs, LIMITS.hedgeMsMax);
    this.#averageMs += (tookMs - this.#averageMs) * RECENT;
    this.#allowance = Math.min(LIMITS.hedgesMax, this.#allowance + HEDGES_PER_READ);
  }

  /** Takes one second question from the allowance; false when it is used up. */
  take(): boolean {
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }

  #sweep(): void {
    if (this.#underWay.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const before = performance.now() - this.patienceMs;
    for (const read of this.#underWay) {
      // In the order of their beginnings.
      if (read.sinceMs > before) return;
      const { onSlow } = read;
      if (onSlow === undefined) continue;
      read.onSlow = undefined;
      this.#overdue[read.index]!++;
      onSlow();
    }
  }
}
