// Keeps background work from being felt: a share of the time, less while programs wait, and never more than a rate.
import { performance } from 'node:perf_hooks';
import { LIMITS } from '../base/limits.ts';

/** Part of the time that background work may take: alone, and while this process or the workers have other things to do. */
const SHARE_ALONE = 0.75;
const SHARE_BESIDE = 0.2;
/** A pause in which the event loop was busy for more than this is one in which programs were served. */
const BUSY_UTILIZATION = 0.2;
const PAUSE_MS_MAX = 1000;

export class Throttle {
  readonly #isBusy: () => boolean;
  /** Bytes per second, as long as nobody else wants anything. */
  rate: number = LIMITS.backgroundBytesPerSecond;
  #beside = false;
  #startMs = performance.now();
  #stopped = false;

  /** `isBusy`: whether somebody else waits for the disks just now. */
  constructor(isBusy: () => boolean) {
    this.#isBusy = isBusy;
  }

  /** Work begins now. */
  begin(): void {
    this.#startMs = performance.now();
  }

  /** Called after a piece of work of so many bytes: resolves when the next one may begin. */
  async spent(bytes: number): Promise<void> {
    const tookMs = performance.now() - this.#startMs;
    const share = this.#beside || this.#isBusy() ? SHARE_BESIDE : SHARE_ALONE;
    const pauseMs = Math.max((bytes / this.rate) * 1000 - tookMs, Math.min(PAUSE_MS_MAX, tookMs * (1 / share - 1)));
    const before = performance.eventLoopUtilization();
    // In slices, so that a stop need not wait for a pause that a low rate makes long.
    for (let leftMs = pauseMs; !this.#stopped; leftMs -= PAUSE_MS_MAX) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, Math.min(leftMs, PAUSE_MS_MAX))));
      if (leftMs <= PAUSE_MS_MAX) break;
    }
    if (pauseMs >= 1) this.#beside = performance.eventLoopUtilization(before).utilization > BUSY_UTILIZATION;
    this.begin();
  }

  stop(): void {
    this.#stopped = true;
  }
}
