// Points in time as the kernel tells and asks them, and the clock that stamps "now" on what changes.

export interface Timestamp {
  /** Seconds since 1970, may be negative. */
  readonly seconds: number;
  /** 0 … 999,999,999. */
  readonly nanoseconds: number;
}

const MS_PER_SECOND = 1000;
const NS_PER_MS = 1_000_000;
const NS_PER_SECOND = 1_000_000_000;
/** A clock that is set back by less is waited for; one that is set back by more is followed, as Linux does. */
const SET_BACK_MS_MAX = 1000;

/** Where a clock reads: Date.now() and performance.now(), or what a test puts in their place. */
export interface TimeSources {
  /** Whole milliseconds since 1970, rounded down. May be set, by hand or by NTP. */
  wallMs(): number;
  /** Milliseconds with fractions down to the nanosecond since some moment. Never goes back. */
  elapsedMs(): number;
}

const SYSTEM: TimeSources = { wallMs: () => Date.now(), elapsedMs: () => performance.now() };

/**
 * CLOCK_REALTIME in nanoseconds without a system call of its own (0.15 us). The whole milliseconds are the wall clock's;
 * what has elapsed since an anchor gives the rest. Each look at the wall clock bounds the truth from below, so the anchor
 * rises with the looks until it is right within microseconds, and it is never ahead of the truth.
 *
 * Each time is later than the one before, so that changes have the order of their times; but where the wall clock was
 * set back by more than a second, times follow it.
 */
export class Clock {
  readonly #sources: TimeSources;
  #anchorWallMs = -Infinity;
  #anchorElapsedMs = 0;
  #last: Timestamp = { seconds: -Infinity, nanoseconds: 0 };

  constructor(sources: TimeSources = SYSTEM) {
    this.#sources = sources;
  }

  now(): Timestamp {
    const { wallMs, elapsedMs } = this.#sources;
    // In this order: the true time at `elapsed` is not before `wall`, however long this thread slept between the two.
    const wall = wallMs();
    const elapsed = elapsedMs();
    let nanoseconds = Math.floor((elapsed - this.#anchorElapsedMs) * NS_PER_MS);
    let milliseconds = this.#anchorWallMs + Math.floor(nanoseconds / NS_PER_MS);
    // Ahead of a look that came later: the wall clock was set back.
    if (milliseconds < wall || (milliseconds > wall && milliseconds > wallMs())) {
      this.#anchorWallMs = milliseconds = wall;
      this.#anchorElapsedMs = elapsed;
      nanoseconds = 0;
    }
    const seconds = Math.floor(milliseconds / MS_PER_SECOND);
    return (this.#last = this.#after(seconds, (milliseconds - seconds * MS_PER_SECOND) * NS_PER_MS + (nanoseconds % NS_PER_MS)));
  }

  /** The time itself, or one nanosecond after the last. */
  #after(seconds: number, nanoseconds: number): Timestamp {
    const last = this.#last;
    if (seconds > last.seconds || (seconds === last.seconds && nanoseconds > last.nanoseconds)) return { seconds, nanoseconds };
    const behindMs = (last.seconds - seconds) * MS_PER_SECOND + (last.nanoseconds - nanoseconds) / NS_PER_MS;
    if (behindMs > SET_BACK_MS_MAX) return { seconds, nanoseconds };
    return last.nanoseconds + 1 < NS_PER_SECOND ? { seconds: last.seconds, nanoseconds: last.nanoseconds + 1 } : { seconds: last.seconds + 1, nanoseconds: 0 };
  }
}

const clock = new Clock();

/** What the file system stamps on a change that is made now. */
export function now(): Timestamp {
  return clock.now();
}
