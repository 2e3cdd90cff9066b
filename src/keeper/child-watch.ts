// Notices children that hang and ends them, so that they are started again.
//
// A process that was stopped (SIGSTOP) does not go on by itself: the kernel says so, whatever the process does. Whether
// the driver's loop goes round, it is asked; the bound is long, since a driver that is busy is a living one, and one
// that waits for a disk (state D) is left alone: it could not end either, and goes on when the disk does.
// What is counted is looks and answers, not time: a keeper that stood still itself blames nobody for it.
import { readFileSync } from 'node:fs';
import { TimeoutError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { DriverLink } from './driver-link.ts';

/** What it needs of a Supervisor. */
interface Watched {
  readonly name: string;
  readonly pid: number | undefined;
  readonly state: { readonly kind: string };
  replace(reason: string): void;
}

export class ChildWatch {
  /** Asked anew at each look: disks come and go. */
  readonly #workers: { values(): Iterable<Watched> };
  readonly #driver: Watched;
  readonly #link: Pick<DriverLink, 'ping'>;
  /** Looks in a row that found a process stopped, by pid. */
  #stopped = new Map<number, number>();
  #pinging = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: { driver: Watched; workers: { values(): Iterable<Watched> }; link: Pick<DriverLink, 'ping'> }) {
    this.#driver = parts.driver;
    this.#workers = parts.workers;
    this.#link = parts.link;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LIMITS.childLookMs);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    const stopped = new Map<number, number>();
    for (const child of [this.#driver, ...this.#workers.values()]) {
      if (child.pid === undefined || processState(child.pid) !== 'T') continue;
      const looks = (this.#stopped.get(child.pid) ?? 0) + 1;
      if (looks < LIMITS.childLooksStopped) stopped.set(child.pid, looks);
      else child.replace(`it has been stopped (SIGSTOP) for ${Math.round(looks * LIMITS.childLookMs / 1000)} s`);
    }
    this.#stopped = stopped;
    if (!this.#pinging && this.#driver.state.kind === 'ready') void this.#ping(this.#driver.pid);
  }

  async #ping(pid: number | undefined): Promise<void> {
    this.#pinging = true;
    try {
      await this.#link.ping();
    } catch (error) {
      // Any other error is an answer, or the end of that driver.
      if (error instanceof TimeoutError && pid !== undefined && pid === this.#driver.pid && processState(pid) !== 'D') this.#driver.replace(error.message);
    } finally {
      this.#pinging = false;
    }
  }
}

/** R running, S sleeping, D waiting for a disk, T stopped, t held by a debugger, … proc(5), /proc/pid/stat. */
export function processState(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2);
  } catch {
    return undefined;
  }
}
