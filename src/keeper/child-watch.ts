// Notices children that hang and ends them, so that they are started again.
//
// A process that was stopped (SIGSTOP) does not go on by itself: the kernel says so, whatever the process does. Whether
// the driver's loop goes round, it is asked; the bound is long, since a driver that is busy is a living one. One that
// waits for a disk (state D) could not end either. It is given up only when it is one and the same wait that it stands
// in, look after look: a disk that is slow lets it go now and then.
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
  readonly #onDiskHangs: ((reason: string) => void) | undefined;
  /** Looks in a row that found a process stopped, by pid. */
  #stopped = new Map<number, number>();
  #pinging = false;
  /** The wait for a disk that the driver stood in at the last look, and in how many looks. */
  #diskWait = { wait: '', looks: 0 };
  #timer: NodeJS.Timeout | undefined;

  /** `onDiskHangs`: the driver does not go on before the disk does that its database is on. */
  constructor(parts: { driver: Watched; workers: { values(): Iterable<Watched> }; link: Pick<DriverLink, 'ping'>; onDiskHangs?: (reason: string) => void }) {
    this.#driver = parts.driver;
    this.#workers = parts.workers;
    this.#link = parts.link;
    this.#onDiskHangs = parts.onDiskHangs;
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
    this.#lookAtDiskWait(this.#driver.pid);
    if (!this.#pinging && this.#driver.state.kind === 'ready') void this.#ping(this.#driver.pid);
  }

  #lookAtDiskWait(pid: number | undefined): void {
    const wait = pid === undefined ? undefined : diskWait(pid);
    this.#diskWait = { wait: wait ?? '', looks: wait !== undefined && wait === this.#diskWait.wait ? this.#diskWait.looks + 1 : 1 };
    if (wait === undefined || this.#diskWait.looks < LIMITS.childLooksOnDisk) return;
    this.#onDiskHangs?.(`it has waited for a disk for ${Math.round(LIMITS.childLooksOnDisk * LIMITS.childLookMs / 1000)} s`);
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

/** Names the one wait for a disk that the main thread of a process is in: how often it has slept till then. proc(5), /proc/pid/status. */
function diskWait(pid: number): string | undefined {
  if (processState(pid) !== 'D') return undefined;
  try {
    const sleeps = /^voluntary_ctxt_switches:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return sleeps === undefined ? undefined : `${pid} ${sleeps}`;
  } catch {
    return undefined;
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
