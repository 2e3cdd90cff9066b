// How much a set of disks holds when every block has R copies on different devices.
import { LIMITS } from '../base/limits.ts';
import type { DiskStatistics } from '../ipc/messages.ts';
import type { WorkerId, Uuid } from '../base/ids.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface DiskReport {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly state: 'ready' | 'absent';
  /** For how long it has been absent, ms; 0 when it is there. */
  readonly absentMs: number;
  /** As the worker said last; undefined when it never did. */
  readonly statistics: DiskStatistics | undefined;
}

export interface Capacity {
  /** Bytes of user data, copies taken off: of all known disks, and what may still be written to those alive. */
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly disks: readonly DiskReport[];
}

/** Room on one device, which `disks` directories share. */
export interface DeviceRoom {
  readonly bytes: number;
  readonly disks: number;
}

/**
 * The largest x so that x bytes fit with R copies each: sum of min(room, x) >= R * x over the devices. With fewer
 * devices than copies a device takes as many copies of a block as it has directories. Whole bytes.
 */
export function usableBytes(devices: readonly DeviceRoom[], copies: number): number {
  const spread = devices.length >= copies;
  const rooms = devices.map(({ bytes, disks }) => ({ bytes: Math.max(0, bytes), copiesMax: spread ? 1 : disks }));
  const wanted = Math.min(copies, rooms.reduce((sum, room) => sum + room.copiesMax, 0));
  if (wanted === 0) return 0;
  const fits = (x: number) => rooms.reduce((sum, room) => sum + Math.min(room.bytes, room.copiesMax * x), 0) >= wanted * x;
  let low = 0;
  let high = rooms.reduce((sum, room) => sum + room.bytes, 0) / wanted;
  // The condition holds for every x below the largest: bisection to the byte.
  while (high - low >= 1) {
    const x = (low + high) / 2;
    if (fits(x)) low = x;
    else high = x;
  }
  return fits(Math.floor(high)) ? Math.floor(high) : Math.floor(low);
}

/** Knows each disk's numbers as of a moment ago, and asks again in the background: nobody waits for statistics. */
export class CapacityMeter {
  readonly #pool: WorkerPool;
  readonly #copies: number;
  readonly #statistics: (DiskStatistics | undefined)[];
  #capacity: Capacity | undefined;
  #askedMs = -Infinity;
  #recentBytes = 0;
  #asking: Promise<void> | undefined;

  constructor(pool: WorkerPool, options: { copies: number }) {
    this.#pool = pool;
    this.#copies = options.copies;
    this.#statistics = pool.links.map((link) => link.hello?.statistics);
    pool.listen({
      ready: (link) => this.#learned(pool.links.indexOf(link), link.hello?.statistics),
      absent: () => this.#forget(),
    });
  }

  /** The numbers as known; newer ones are on their way when these are old. */
  capacity(): Capacity {
    this.#askWhenOld();
    return (this.#capacity ??= this.#compute());
  }

  /** User bytes put since the disks were last asked and had answered. Those put while they answer count twice for a moment. */
  get recentBytes(): number {
    return this.#recentBytes;
  }

  took(bytes: number): void {
    this.#recentBytes += bytes;
    this.#askWhenOld();
  }

  /** Asks the disks unless that was done less than `ageMsMax` ago; resolves when all have answered, or after LIMITS.statisticsIntervalMs. */
  async refresh(ageMsMax: number): Promise<void> {
    if (this.#asking === undefined && performance.now() - this.#askedMs < ageMsMax) return;
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<void>((resolve) => { timer = setTimeout(resolve, LIMITS.statisticsIntervalMs); });
    // Those that are being asked may have counted before what the caller wants to see.
    const answered = Promise.resolve(ageMsMax === 0 ? this.#asking : undefined).then(() => this.#askShared());
    await Promise.race([answered, expired]);
    clearTimeout(timer);
  }

  #askWhenOld(): void {
    if (performance.now() - this.#askedMs >= LIMITS.statisticsIntervalMs) void this.#askShared();
  }

  /** One question at a time: each takes what it knows of off the recent bytes. */
  #askShared(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => { this.#asking = undefined; });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    this.#askedMs = performance.now();
    this.#forget();
    const before = this.#recentBytes;
    const answers = this.#pool.links.map((link, index) => {
      if (!link.isReady) return undefined;
      return link.request('statistics', {}, { absenceMs: 0 }).then(
        (statistics) => this.#learned(index, statistics),
        () => {}, // Its absence is known by its link, its last numbers stand.
      );
    });
    await Promise.all(answers);
    this.#recentBytes -= before;
  }

  #learned(index: number, statistics: DiskStatistics | undefined): void {
    this.#statistics[index] = statistics;
    this.#forget();
  }

  #forget(): void {
    this.#capacity = undefined;
  }

  #compute(): Capacity {
    const disks = this.#pool.links.map((link, index): DiskReport => ({
      worker: link.worker,
      disk: link.disk,
      state: link.isReady ? 'ready' : 'absent',
      absentMs: Math.round(link.absentMs),
      statistics: this.#statistics[index],
    }));
    // A worker that is being restarted keeps its space: df should not jump for a second.
    // What is being emptied is as good as gone.
    const targets = disks.filter((_disk, index) => this.#pool.isTarget(index));
    const alive = targets.filter(({ absentMs }) => absentMs < LIMITS.workerAbsenceMs);
    return {
      totalBytes: usableBytes(devicesOf(targets, 'totalBytes'), this.#copies),
      availableBytes: usableBytes(devicesOf(alive, 'availableBytes'), this.#copies),
      disks,
    };
  }
}

/** Directories on one device see the same free space: it counts once. */
function devicesOf(disks: readonly DiskReport[], field: 'totalBytes' | 'availableBytes'): DeviceRoom[] {
  const devices = new Map<number, DeviceRoom>();
  for (const { statistics } of disks) {
    if (statistics === undefined) continue;
    const room = devices.get(statistics.device);
    devices.set(statistics.device, { bytes: Math.max(room?.bytes ?? 0, statistics[field]), disks: (room?.disks ?? 0) + 1 });
  }
  return [...devices.values()];
}
