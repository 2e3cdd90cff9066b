// The disks of a volume and the links to their workers: what every service of kv/ stands on.
import { assert } from '../base/assert.ts';
import type { BlockId, DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { Placement } from './placement.ts';
import type { ConnectWorker } from './worker-client.ts';
import { WorkerLink } from './worker-link.ts';
import type { WorkerLinkListener } from './worker-link.ts';

export interface PoolDisk {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly weight: number;
  readonly connect: ConnectWorker;
  /** Known not to be there: nobody waits for it. It is used when it comes. */
  readonly away?: boolean;
}

interface Waiter {
  readonly indexes: readonly number[] | 'all';
  readonly resolve: () => void;
  readonly timer: NodeJS.Timeout;
}

/** Disks are named by their index in `links` throughout kv/. */
export class WorkerPool {
  readonly volume: Uuid;
  readonly epoch: DriverEpoch;
  readonly links: readonly WorkerLink[];
  readonly #weights: readonly number[];
  readonly #away: ReadonlySet<WorkerId>;
  readonly #devices: (number | undefined)[];
  #placement: Placement;
  readonly #waiters = new Set<Waiter>();
  #ticker: NodeJS.Timeout | undefined;

  constructor(parts: { volume: Uuid; epoch: DriverEpoch; disks: readonly PoolDisk[]; logger: Logger }) {
    assert(parts.disks.length > 0, 'a pool has at least one disk');
    this.volume = parts.volume;
    this.epoch = parts.epoch;
    this.links = parts.disks.map(({ worker, disk, connect, away }) => new WorkerLink({
      worker, disk, connect, volume: parts.volume, epoch: parts.epoch, logger: parts.logger, awayMs: away ? LIMITS.workerAbsenceMs : undefined,
    }));
    this.#away = new Set(parts.disks.flatMap(({ worker, away }) => (away ? [worker] : [])));
    this.#weights = parts.disks.map(({ weight }) => weight);
    this.#devices = parts.disks.map(() => undefined);
    this.#placement = this.#place();
    this.listen({ ready: (link) => this.#onReady(link), refused: (link) => this.#releaseFor(this.links.indexOf(link)) });
  }

  start(): void {
    for (const link of this.links) link.start();
    this.#ticker = setInterval(() => {
      for (const link of this.links) link.tick();
    }, LIMITS.stallTickMs).unref();
  }

  close(): void {
    clearInterval(this.#ticker);
    for (const link of this.links) link.close();
    for (const waiter of [...this.#waiters]) this.#release(waiter);
  }

  /** Reads what has arrived from any worker, for busy polling; true when there was something. */
  poll(): boolean {
    let found = false;
    for (const link of this.links) found = link.poll() || found;
    return found;
  }

  listen(listener: WorkerLinkListener): void {
    for (const link of this.links) link.listen(listener);
  }

  link(index: number): WorkerLink {
    const link = this.links[index];
    assert(link !== undefined, `disk ${index} is one of ${this.links.length}`);
    return link;
  }

  /** Whether blocks belong on the disk: not while it is being emptied. */
  isTarget(index: number): boolean {
    return this.#weights[index]! > 0;
  }

  /** All disks, best first: see Placement.rank. */
  rank(id: BlockId): number[] {
    return this.#placement.rank(id);
  }

  /** Resolves when one of these disks is there, or after `timeoutMs`; the caller looks which. */
  anyReady(indexes: readonly number[], timeoutMs: number): Promise<void> {
    if (indexes.some((index) => this.links[index]?.isReady)) return Promise.resolve();
    return this.#wait(indexes, timeoutMs);
  }

  /** Resolves with the links that are not there: none as soon as all are, or those that are missing after `timeoutMs`. */
  async allReady(timeoutMs: number): Promise<WorkerLink[]> {
    if (!this.#allSettled()) await this.#wait('all', timeoutMs);
    return this.links.filter((link) => !link.isReady);
  }

  #allSettled(): boolean {
    return this.links.every((link) => link.isReady || link.state.kind === 'closed' || this.#away.has(link.worker));
  }

  #wait(indexes: Waiter['indexes'], timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const waiter: Waiter = { indexes, resolve, timer: setTimeout(() => this.#release(waiter), timeoutMs) };
      this.#waiters.add(waiter);
    });
  }

  #release(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    this.#waiters.delete(waiter);
    waiter.resolve();
  }

  #onReady(link: WorkerLink): void {
    const index = this.links.indexOf(link);
    const device = link.hello?.statistics.device;
    if (device !== this.#devices[index]) {
      this.#devices[index] = device;
      this.#placement = this.#place();
    }
    this.#releaseFor(index);
  }

  #releaseFor(index: number): void {
    for (const waiter of [...this.#waiters]) {
      if (waiter.indexes === 'all' ? this.#allSettled() : waiter.indexes.includes(index)) this.#release(waiter);
    }
  }

  #place(): Placement {
    return new Placement(this.links.map(({ disk }, index) => ({ disk, weight: this.#weights[index]!, device: this.#devices[index] })));
  }
}
