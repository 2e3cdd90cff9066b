// The metadata log on R workers: who holds it, when a record is safe, who catches up and who takes over.
//
// The holders are R workers, chosen by what they hold already and then by rendezvous over the volume. A record is
// safe when R of them have it power-proof; when holders stay away, when copiesMin have (said first by onDegraded).
// A holder that comes back says in its hello what it has, and gets the rest from the driver's journal, or a whole
// new checkpoint when the journal does not reach back so far, or when its log forked off from this one: what it has
// must end in a record of this log, of the same epoch. One driver alone writes each epoch, so equal epochs mean
// equal logs (the argument of Raft, Ongaro and Ousterhout 2014, section 5.3).
import { assert } from '../base/assert.ts';
import { FsError, TimeoutError } from '../base/errors.ts';
import type { DriverEpoch, Sequence, Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { LogState } from '../ipc/messages.ts';
import { decodeRecord } from '../log/record.ts';
import { LogHolder } from './log-holder.ts';
import type { HolderContext, RecordBatch } from './log-holder.ts';
import { mostAdvanced } from './log-reader.ts';
import type { MetadataSnapshot } from './log-seed.ts';
import { placementIdOf } from './placement.ts';
import type { DegradedHook, ReplicationPolicy } from './replication.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

/** The driver's own copy of the log and of the rows, from which holders are caught up. */
export interface LogSource {
  /** Whole records from `from` to at most `through`, up to half a frame of them (at least one); undefined when `from` is not kept. */
  recordsFrom(from: Sequence, through: Sequence): RecordBatch | undefined;
  /** All rows, for a new holder; undefined when there are none to be had now. */
  snapshot?(): MetadataSnapshot | undefined;
}

/**
 * The record of which disks have the whole log (kv/membership.ts): a mount takes any one of them for the truth, so a
 * record of the log is acknowledged only when all of them have it.
 */
export interface LogKeepers {
  covers(disks: readonly Uuid[]): boolean;
  /** These disks, and no others, from now on. */
  entrust(disks: readonly Uuid[]): Promise<void>;
  /** Whether what a disk said of itself at the start may be taken for the truth. */
  isCurrent(link: WorkerLink): boolean;
}

export interface LogReplicasOptions {
  readonly policy: ReplicationPolicy;
  readonly source: LogSource;
  readonly logger: Logger;
  readonly onDegraded?: DegradedHook;
  readonly keepers?: LogKeepers;
}

interface Waiter {
  readonly through: Sequence;
  readonly startMs: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** It was said that it gets fewer copies than R. */
  degraded: boolean;
}

const TICK_MS = 250;

export class LogReplicas {
  readonly #pool: WorkerPool;
  readonly #policy: ReplicationPolicy;
  readonly #source: LogSource;
  readonly #logger: Logger;
  readonly #onDegraded: DegradedHook | undefined;
  readonly #keepers: LogKeepers | undefined;
  readonly #context: HolderContext;
  #holders: LogHolder[] = [];
  /** What the newest log was when this driver began: all that has its epoch and is not longer is the beginning of this log. */
  #base: LogState = { checkpointSequence: 0 as Sequence, lastSequence: 0 as Sequence, lastEpoch: 0 as DriverEpoch };
  #last = 0 as Sequence;
  /** Last record that anybody was told to be safe. */
  #acknowledged = 0 as Sequence;
  #lastEpoch = 0 as DriverEpoch;
  /** What is being appended, in order, so that holders that keep up do not read the journal. */
  readonly #fresh = new Set<RecordBatch>();
  #waiters: Waiter[] = [];
  #timer: NodeJS.Timeout | undefined;
  #state: 'new' | 'started' | 'closed' = 'new';

  constructor(pool: WorkerPool, options: LogReplicasOptions) {
    this.#pool = pool;
    this.#policy = options.policy;
    this.#source = options.source;
    this.#logger = options.logger;
    this.#onDegraded = options.onDegraded;
    this.#keepers = options.keepers;
    this.#context = this.#makeContext();
  }

  /**
   * Chooses the holders and brings them to the newest log that any worker has (the driver's own must be there
   * already). Call it when the workers have said hello. Resolves with the sequence up to which everything is safe.
   * `ahead`: the driver's rows are newer than any log that is there, and the records between are gone; then the holders
   * get a new checkpoint first, however long that takes. `damaged`: workers whose checkpoints are not what was put there.
   */
  async start({ ahead, damaged = [] }: { readonly ahead?: Sequence | undefined; readonly damaged?: readonly LogHolder['link'][] } = {}): Promise<Sequence> {
    assert(this.#state === 'new', 'log replicas start once');
    this.#state = 'started';
    this.#base = mostAdvanced(this.#pool, (link) => this.#isCurrent(link))?.state ?? this.#base;
    if (ahead !== undefined) this.#base = { checkpointSequence: ahead, lastSequence: ahead, lastEpoch: this.#pool.epoch };
    this.#last = this.#acknowledged = this.#base.lastSequence;
    this.#lastEpoch = this.#base.lastEpoch;
    this.#holders = this.#choose().map((index) => new LogHolder(this.#pool.link(index), this.#context));
    for (const holder of this.#holders) if (damaged.includes(holder.link)) holder.distrust();
    this.#pool.listen({
      ready: (link) => this.#holderOf(link)?.welcome(link.hello!.log),
      absent: (link) => this.#holderOf(link)?.left(),
    });
    for (const holder of this.#holders) if (holder.link.isReady) holder.welcome(holder.link.hello!.log);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    for (const { lastSequence } = this.#base; lastSequence > 0;) {
      try {
        await this.#safe(lastSequence);
        break;
      } catch (error) {
        if (ahead === undefined || !this.#holders.some(({ phase }) => phase === 'seeding')) throw error;
      }
    }
    return this.#last;
  }

  /** Rejects everything that waits. */
  close(): void {
    this.#state = 'closed';
    clearInterval(this.#timer);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new FsError('EIO', 'the metadata log was closed'));
  }

  /**
   * Appends whole records (at most a frame of them). Resolves when they are power-proof on R holders, or on at least
   * copiesMin when the others stay away. The bytes must not change until then. Rejects with FsError EIO.
   */
  append(records: readonly Uint8Array[], first: Sequence, last: Sequence, epoch: DriverEpoch): Promise<void> {
    assert(this.#state === 'started', 'the log takes records between start and close');
    assert(first <= this.#last + 1 && last >= first, `record ${first} to ${last} follow ${this.#last} without a gap`);
    const batch = { first, last, epoch, records };
    if (last > this.#last) {
      this.#fresh.add(batch);
      this.#last = last;
      this.#lastEpoch = epoch;
      for (const holder of this.#holders) holder.pump();
    }
    return this.#safe(last).finally(() => this.#fresh.delete(batch));
  }

  /** Records up to `through` may leave the holders' logs for their checkpoints. */
  trim(through: Sequence): void {
    for (const holder of this.#holders) {
      if (holder.phase !== 'streaming') continue;
      const upTo = Math.min(through, holder.acknowledged) as Sequence;
      holder.link.request('trimLog', { through: upTo }, { absenceMs: 0 }).catch((error: unknown) => {
        this.#logger.debug({ err: error, worker: holder.link.worker }, 'a log was not trimmed; the next trim covers it');
      });
    }
  }

  /** The driver's journal should keep records from here on for holders that catch up; undefined when none needs any. */
  get neededFrom(): Sequence | undefined {
    let from: Sequence | undefined;
    for (const holder of this.#holders) {
      const needed = holder.downMs < LIMITS.workerAbsenceMs || holder.phase === 'seeding' ? holder.neededFrom : undefined;
      if (needed !== undefined && needed <= this.#last && (from === undefined || needed < from)) from = needed;
    }
    return from;
  }

  /** Disks that have every record that was ever acknowledged. */
  completeLogs(): Uuid[] {
    return this.#holders.filter(({ phase, acknowledged }) => phase === 'streaming' && acknowledged >= this.#acknowledged).map(({ link }) => link.disk);
  }

  /** Whether a disk has the whole log, or has no part in it and nothing of its own that could be taken for it. */
  hasCaughtUp(link: WorkerLink): boolean {
    if (this.#holders.some((holder) => holder.link === link)) return this.completeLogs().includes(link.disk);
    const log = link.hello?.log;
    return log !== undefined && (log.lastSequence === 0 || log.lastEpoch < this.#lastEpoch || this.#isPrefix(log));
  }

  /** The checkpoint of this disk was found damaged: it gets a new one. */
  replaceCheckpoint(link: WorkerLink): void {
    this.#holders.find((holder) => holder.link === link)?.replaceCheckpoint();
  }

  /** For status. */
  get holders(): readonly LogHolder[] {
    return this.#holders;
  }

  #makeContext(): HolderContext {
    const replicas = this;
    return {
      logger: this.#logger,
      get last() { return replicas.#last; },
      get lastEpoch() { return replicas.#lastEpoch; },
      batchFrom: (from) => this.#batchFrom(from),
      isPrefix: (state) => this.#isPrefix(state),
      snapshot: () => this.#source.snapshot?.(),
      released: (sequence) => this.#released(sequence),
      changed: () => this.#settle(),
    };
  }

  /** Those that are there and have the newest log first, then by rank. */
  #choose(): number[] {
    const worth = (index: number): number => {
      const link = this.#pool.link(index);
      if (link.absentMs >= LIMITS.workerAbsenceMs) return -2;
      if (link.hello === undefined) return this.#base.lastEpoch;
      return this.#isCurrent(link) ? link.hello.log.lastEpoch : -1;
    };
    // toSorted is stable: among equals the rank decides.
    return this.#pool.rank(placementIdOf(this.#pool.volume)).toSorted((one, other) => worth(other) - worth(one)).slice(0, this.#policy.copies);
  }

  #isCurrent(link: WorkerLink): boolean {
    return this.#keepers?.isCurrent(link) ?? true;
  }

  #holderOf(link: LogHolder['link']): LogHolder | undefined {
    return this.#state === 'started' ? this.#holders.find((holder) => holder.link === link) : undefined;
  }

  #batchFrom(from: Sequence): RecordBatch | undefined {
    for (const batch of this.#fresh) if (batch.first <= from && from <= batch.last) return batch;
    return this.#source.recordsFrom(from, this.#last);
  }

  #isPrefix(state: LogState): boolean {
    if (state.lastSequence === 0) return true;
    if (state.lastSequence > this.#last) return false;
    if (state.lastEpoch === this.#pool.epoch) return true;
    if (state.lastEpoch === this.#base.lastEpoch && state.lastSequence <= this.#base.lastSequence) return true;
    const batch = this.#source.recordsFrom(state.lastSequence, state.lastSequence);
    const record = batch?.records[0];
    if (record === undefined) return false;
    return decodeRecord(Buffer.from(record.buffer, record.byteOffset, record.byteLength), 0)?.epoch === state.lastEpoch;
  }

  #safe(through: Sequence): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ through, startMs: performance.now(), resolve, reject, degraded: false });
      this.#settle();
    });
  }

  async #released(sequence: Sequence): Promise<void> {
    const startMs = performance.now();
    while (this.#last < sequence) {
      if (this.#state === 'closed' || performance.now() - startMs > LIMITS.workerAbsenceMs) throw new TimeoutError(`record ${sequence} to be shipped`, LIMITS.workerAbsenceMs);
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  #tick(): void {
    this.#replaceLost();
    this.#relieveDraining();
    for (const holder of this.#holders) holder.retry();
    this.#settle();
  }

  #settle(): void {
    if (this.#waiters.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => !this.#settleOne(waiter));
  }

  /** True when the waiter waits no more, or for a change of membership. */
  #settleOne(waiter: Waiter): boolean {
    const having = this.#holders.filter(({ acknowledged }) => acknowledged >= waiter.through);
    const copies = having.length;
    if (copies >= this.#policy.copies) {
      this.#grant(waiter, having);
      return true;
    }
    const lacking = this.#holders.filter((holder) => !having.includes(holder));
    const waitedMs = performance.now() - waiter.startMs;
    const lost = lacking.every((holder) => holder.phase === 'seeding' || holder.downMs >= LIMITS.workerSwitchMs);
    if (lost && copies >= this.#policy.copiesMin) {
      if (waiter.degraded) this.#grant(waiter, having);
      else void this.#degrade(waiter, copies, lacking);
      return true;
    }
    if (waitedMs < (lost ? LIMITS.workerAbsenceMs : LIMITS.logWaitMs)) return false;
    waiter.reject(new FsError('EIO', `metadata log: ${copies} of ${this.#policy.copies} copies up to record ${waiter.through} after ${Math.round(waitedMs)} ms; lacking: worker ${lacking.map(({ link }) => link.worker).join(', ')}`));
    return true;
  }

  /** Acknowledges, or looks again when it is recorded that these disks are the ones that have the log. */
  #grant(waiter: Waiter, having: readonly LogHolder[]): void {
    const disks = having.map(({ link }) => link.disk);
    if (this.#keepers !== undefined && !this.#keepers.covers(disks)) return void this.#again(waiter, () => this.#keepers!.entrust(disks));
    this.#acknowledged = Math.max(this.#acknowledged, waiter.through) as Sequence;
    waiter.resolve();
  }

  #degrade(waiter: Waiter, haveCopies: number, lacking: readonly LogHolder[]): Promise<void> {
    waiter.degraded = true;
    return this.#again(waiter, () => this.#onDegraded?.({ kind: 'log', haveCopies, missing: lacking.map(({ link }) => link.worker) }));
  }

  async #again(waiter: Waiter, change: () => void | Promise<void>): Promise<void> {
    // Not within the walk over the waiters: the hook may append.
    await Promise.resolve();
    try {
      await change();
    } catch (error) {
      return waiter.reject(error as Error);
    }
    if (this.#state === 'closed') return waiter.reject(new FsError('EIO', 'the metadata log was closed'));
    this.#waiters.push(waiter);
    this.#settle();
  }

  /** A disk that is being emptied hands the log on: it is a holder until another one has all of it. */
  #relieveDraining(): void {
    const staying = this.#holders.filter((holder) => this.#isTarget(holder.link));
    if (staying.length === this.#holders.length) return;
    const complete = this.completeLogs();
    if (staying.length >= this.#policy.copies) {
      if (!staying.every(({ link }) => complete.includes(link.disk))) return;
      this.#holders = staying;
      // Without waiting for the next record: the disk is to be unplugged.
      this.#keepers?.entrust(staying.map(({ link }) => link.disk)).catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the next record of the log says who has it');
      });
      return;
    }
    const spare = this.#spare();
    if (spare === undefined || this.#source.snapshot === undefined) return;
    this.#logger.info({ worker: spare.worker }, 'a disk is being emptied: another one takes the metadata log over from it');
    const holder = new LogHolder(spare, this.#context);
    this.#holders.push(holder);
    holder.welcome(spare.hello!.log);
  }

  #isTarget(link: WorkerLink): boolean {
    return this.#pool.isTarget(this.#pool.links.indexOf(link));
  }

  /** The best disk that is there and is no holder. */
  #spare(): WorkerLink | undefined {
    return this.#pool.rank(placementIdOf(this.#pool.volume))
      .map((index) => this.#pool.link(index))
      .find((link) => link.isReady && this.#isTarget(link) && !this.#holders.some((holder) => holder.link === link));
  }

  /** A worker that holds no log takes the place of a holder that is gone for good, as far as can be told. */
  #replaceLost(): void {
    if (this.#source.snapshot === undefined) return;
    for (const [at, holder] of this.#holders.entries()) {
      if (holder.phase === 'seeding' || holder.downMs < LIMITS.workerAbsenceMs) continue;
      const spare = this.#spare();
      if (spare === undefined) return;
      this.#logger.error({ lost: holder.link.worker, successor: spare.worker }, 'a holder of the metadata log is lost; another disk takes its place');
      const successor = new LogHolder(spare, this.#context);
      this.#holders[at] = successor;
      successor.welcome(spare.hello!.log);
    }
  }
}
