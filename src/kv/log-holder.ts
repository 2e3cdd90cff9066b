// One worker that holds a copy of the metadata log: what it has, what is on its way, and how it catches up.
import type { Sequence } from '../base/ids.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { LogState } from '../ipc/messages.ts';
import { seedCheckpoint } from './log-seed.ts';
import type { MetadataSnapshot } from './log-seed.ts';
import { failureOf } from './replication.ts';
import type { WorkerLink } from './worker-link.ts';

/** Whole records back to back, in one or more pieces; `epoch` is the last record's. */
export interface RecordBatch {
  readonly first: Sequence;
  readonly last: Sequence;
  readonly epoch: DriverEpoch;
  readonly records: readonly Uint8Array[];
}

/** What a holder asks of the log as a whole. */
export interface HolderContext {
  readonly logger: Logger;
  /** Last record that may be on a worker. */
  readonly last: Sequence;
  readonly lastEpoch: DriverEpoch;
  /** Records from `from` to at most `last`; undefined when the driver does not keep them any more. */
  batchFrom(from: Sequence): RecordBatch | undefined;
  /** Whether what a worker holds is the beginning of this log, and not of another one that forked off. */
  isPrefix(state: LogState): boolean;
  snapshot(): MetadataSnapshot | undefined;
  /** Resolves when records up to `sequence` may be on workers. */
  released(sequence: Sequence): Promise<void>;
  /** Something changed that waiters may wait for. */
  changed(): void;
}

/**
 * absent: no channel. streaming: has a prefix of the log, the rest is on its way. seeding: is given a new checkpoint.
 * failed: is there and cannot take the log; tried again by retry().
 */
export type HolderPhase = 'absent' | 'streaming' | 'seeding' | 'failed';

export class LogHolder {
  readonly link: WorkerLink;
  readonly #context: HolderContext;
  #phase: HolderPhase = 'absent';
  /** Since when it is absent, seeding or failed, on performance.now(). */
  #downSinceMs: number;
  /** True from a failure until the next success: a holder that fails again and again is down all the time. */
  #failing = false;
  #failedAtMs = 0;
  /** Power-proof on its disk up to here, as far as is known; stands while it is absent. */
  #acknowledged = 0 as Sequence;
  /** A new checkpoint is ahead of its sequence: before the log reaches this record, it is not a copy. */
  #usableFrom = 0 as Sequence;
  #needsSeed = false;
  /** Its checkpoint was found damaged: it counts for nothing until it has a new one. */
  #distrusted = false;
  #sent = 0 as Sequence;
  #inFlight = 0;
  /** First record that a running seed will ask for. */
  #seedFrom: Sequence | undefined;
  /** Counts channels: answers that come from an older one are ignored. */
  #generation = 0;

  constructor(link: WorkerLink, context: HolderContext) {
    this.link = link;
    this.#context = context;
    this.#downSinceMs = performance.now() - Math.min(link.absentMs, Number.MAX_SAFE_INTEGER);
  }

  get phase(): HolderPhase {
    return this.#phase;
  }

  /** Could be rebuilt from, after a power cut, up to this record. */
  get acknowledged(): Sequence {
    return this.#acknowledged < this.#usableFrom ? (0 as Sequence) : this.#acknowledged;
  }

  /** For how long it has not been streaming, ms. */
  get downMs(): number {
    return this.#phase === 'streaming' && !this.#failing ? 0 : performance.now() - this.#downSinceMs;
  }

  /** First record that it will still need from the driver; undefined when it needs a new checkpoint anyway. */
  get neededFrom(): Sequence | undefined {
    if (this.#phase === 'failed') return undefined;
    return this.#phase === 'seeding' ? this.#seedFrom : ((this.#acknowledged + 1) as Sequence);
  }

  /** Whatever it says that it has, it gets a new checkpoint. To be called before `welcome`. */
  distrust(): void {
    this.#distrusted = true;
  }

  /** Its checkpoint was found damaged while it streams: it gets a new one, and counts for nothing until then. */
  replaceCheckpoint(): void {
    if (this.#phase !== 'streaming') return;
    this.#distrusted = true;
    this.#acknowledged = 0 as Sequence;
    this.#seed();
  }

  /** The worker said hello: what it has is known exactly, and nothing is in flight. */
  welcome(state: LogState): void {
    this.#generation++;
    this.#inFlight = 0;
    if (this.#distrusted || !this.#isPrefix(state)) {
      this.#acknowledged = 0 as Sequence;
      this.#needsSeed = true;
      this.#context.logger.warn({ worker: this.link.worker, log: state }, 'the metadata of this disk is not part of the present log; it gets a new checkpoint');
      this.#seed();
      return;
    }
    this.#needsSeed = false;
    this.#stream(state.lastSequence);
  }

  left(): void {
    this.#generation++;
    this.#leave('absent');
  }

  /** Tries a failed holder again from where it stood, not too often. */
  retry(): void {
    if (this.#phase !== 'failed' || !this.link.isReady || performance.now() - this.#failedAtMs < LIMITS.workerSwitchMs) return;
    this.#inFlight = 0;
    if (this.#needsSeed) this.#seed();
    else this.#stream(this.#acknowledged);
  }

  /** Sends what is missing, LIMITS.logAppendsMax requests at a time. */
  pump(): void {
    while (this.#phase === 'streaming' && this.#inFlight < LIMITS.logAppendsMax && this.#sent < this.#context.last) {
      const batch = this.#batchFrom((this.#sent + 1) as Sequence);
      if (batch === undefined) return this.#seed();
      this.#append(batch);
    }
  }

  /** A journal that cannot be read is as good as none: the rows are what counts. */
  #batchFrom(from: Sequence): RecordBatch | undefined {
    try {
      return this.#context.batchFrom(from);
    } catch (error) {
      this.#context.logger.error({ err: error, from }, "the driver's journal cannot be read");
      return undefined;
    }
  }

  #isPrefix(state: LogState): boolean {
    try {
      return this.#context.isPrefix(state);
    } catch (error) {
      this.#context.logger.error({ err: error, from: state.lastSequence }, "the driver's journal cannot be read");
      return false;
    }
  }

  #append(batch: RecordBatch): void {
    const generation = this.#generation;
    this.#sent = batch.last;
    this.#inFlight++;
    // Not sent again by the link: after a new channel, hello says better what is missing.
    this.link.request('appendLog', batch, { absenceMs: 0 }).then(
      ({ last }) => {
        if (generation !== this.#generation) return;
        this.#inFlight--;
        this.#failing = false;
        this.#acknowledged = Math.max(this.#acknowledged, last) as Sequence;
        this.pump();
        this.#context.changed();
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#fail(error);
      },
    );
  }

  #stream(from: Sequence): void {
    this.#acknowledged = from;
    this.#sent = from;
    this.#phase = 'streaming';
    this.pump();
    this.#context.changed();
  }

  #leave(phase: Exclude<HolderPhase, 'streaming'>): void {
    if (this.#phase === 'streaming' && !this.#failing) this.#downSinceMs = performance.now() - Math.min(this.link.absentMs, Number.MAX_SAFE_INTEGER);
    this.#phase = phase;
    this.#context.changed();
  }

  #fail(error: unknown): void {
    this.#generation++;
    // A lost channel has its own event, and a channel that is there again its own hello.
    if (failureOf(error) === 'absent') return this.#leave('absent');
    // Said at the first of a series: it is tried again every few seconds.
    this.#context.logger[this.#failing ? 'debug' : 'error']({ err: error, worker: this.link.worker }, 'a disk cannot take the metadata log; trying again');
    this.#leave('failed');
    this.#failing = true;
    this.#failedAtMs = performance.now();
  }

  #seed(): void {
    this.#needsSeed = true;
    const snapshot = this.#context.snapshot();
    if (snapshot === undefined) return this.#fail(new Error(`worker ${this.link.worker} needs a new checkpoint, and there is no snapshot to be had`));
    const generation = ++this.#generation;
    this.#seedFrom = snapshot.logFrom;
    this.#leave('seeding');
    this.#context.logger.info({ worker: this.link.worker, rowsThrough: snapshot.rowsThrough }, 'giving a disk a new checkpoint of the metadata');
    seedCheckpoint(this.link, snapshot, { beforeCommit: () => this.#beforeCommit(snapshot) }).then(
      () => {
        if (generation !== this.#generation) return;
        this.#needsSeed = false;
        this.#distrusted = false;
        this.#usableFrom = snapshot.rowsThrough;
        this.#inFlight = 0;
        this.#stream((snapshot.logFrom - 1) as Sequence);
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#fail(error);
      },
    );
  }

  /**
   * The rows name blocks that are synced only when the records that name them may be shipped. Rows that are ahead of
   * their sequence are of no use before the log reaches them: epoch 0 says so to whoever looks for the newest.
   */
  async #beforeCommit(snapshot: MetadataSnapshot): Promise<{ epoch: DriverEpoch }> {
    await this.#context.released(snapshot.rowsThrough);
    const whole = snapshot.rowsThrough === snapshot.logFrom - 1 && snapshot.rowsThrough === this.#context.last;
    return { epoch: whole ? this.#context.lastEpoch : (0 as DriverEpoch) };
  }
}
