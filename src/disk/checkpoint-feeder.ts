// Moves what the driver has released from the log into the checkpoint: in the background, in batches, never while the
// checkpoint is being read.
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { LogFile } from '../log/log-file.ts';
import { decodeOperations } from '../log/record.ts';
import type { Checkpoint, LogPosition } from './checkpoint.ts';

/** Released log for which a batch is begun at once; less waits for more, so that a row written often is applied once. */
const EAGER_BYTES = 8 * 1024 * 1024;
const LAZY_MS = 1_000;
/** Distinct rows and their bytes in one batch: what they cost is a pause of some milliseconds for the requests. */
const BATCH_ROWS = 4096;
const BATCH_BYTES = 2 * 1024 * 1024;
/** Log read without letting requests in between. */
const SLICE_BYTES = 256 * 1024;
/** Between batches. */
const PAUSE_MS = 5;
/** After a batch that failed. */
const RETRY_MS = 5_000;

interface Batch {
  readonly rows: Map<string, readonly [Buffer, Buffer | null]>;
  readonly applied: LogPosition;
}

export class CheckpointFeeder {
  readonly #log: LogFile;
  readonly #checkpoint: Checkpoint;
  readonly #logger: Logger;
  readonly #onFailure: ((error: unknown) => void) | undefined;
  /** Runs in a row that failed: the first is said aloud. */
  #failures = 0;
  /** Records up to here may be applied. */
  #allowed = 0 as Sequence;
  #heldUntilMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #interrupted = false;

  constructor(log: LogFile, checkpoint: Checkpoint, logger: Logger, onFailure?: (error: unknown) => void) {
    this.#log = log;
    this.#checkpoint = checkpoint;
    this.#logger = logger;
    this.#onFailure = onFailure;
  }

  allow(through: Sequence): void {
    if (through <= this.#allowed) return;
    this.#allowed = through;
    if (this.#running !== undefined) return;
    if (this.#log.bytes >= EAGER_BYTES) this.#start(0);
    else if (this.#timer === undefined) this.#start(LAZY_MS);
  }

  /** Takes back what was allowed; a batch that is being applied still is. */
  forget(): void {
    this.#allowed = 0 as Sequence;
  }

  /** Lets the batch that is being applied finish, and begins none for a while. */
  async hold(): Promise<void> {
    this.#heldUntilMs = performance.now() + LIMITS.checkpointHoldMs;
    await this.#running;
  }

  /** The reader is done. */
  release(): void {
    if (this.#heldUntilMs === 0) return;
    this.#heldUntilMs = 0;
    if (this.#timer !== undefined) this.#start(0);
  }

  /** Nothing is being applied when it resolves, until something is allowed again. */
  async stop(): Promise<void> {
    this.forget();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#interrupted = true;
    await this.#running;
    this.#interrupted = false;
  }

  #start(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const heldMs = this.#heldUntilMs - performance.now();
      if (heldMs > 0) this.#start(heldMs);
      else this.#running ??= this.#run();
    }, delayMs);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    try {
      while (this.#mayGoOn()) {
        const batch = await this.#collect();
        if (batch === undefined) break;
        await this.#checkpoint.apply(batch.rows.values(), batch.applied);
        // Not when a new driver was told of the old checkpoint meanwhile: it needs the log behind that.
        if (this.#allowed > 0) this.#log.trim(this.#checkpoint.applied.sequence);
        this.#failures = 0;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    } catch (error) {
      this.#logger[this.#failures++ === 0 ? 'error' : 'debug']({ err: error }, 'the metadata checkpoint cannot be brought forward; the log grows until it can');
      this.#onFailure?.(error);
      this.#start(RETRY_MS);
    } finally {
      this.#running = undefined;
    }
    if (performance.now() < this.#heldUntilMs && this.#checkpoint.applied.sequence < this.#allowed) this.#start(LIMITS.checkpointHoldMs);
  }

  #mayGoOn(): boolean {
    return !this.#interrupted && performance.now() >= this.#heldUntilMs && this.#checkpoint.applied.sequence < Math.min(this.#allowed, this.#log.lastSequence);
  }

  /** The last word on each row in the next records; undefined when it was interrupted. */
  async #collect(): Promise<Batch | undefined> {
    const rows = new Map<string, readonly [Buffer, Buffer | null]>();
    let { sequence, epoch }: { sequence: Sequence; epoch: DriverEpoch } = this.#checkpoint.applied;
    let bytes = 0;
    let slice = 0;
    for (const { header, bytes: record, offset } of this.#log.scan((sequence + 1) as Sequence)) {
      if (header.sequence > this.#allowed) break;
      for (const operation of decodeOperations(record, offset)) {
        if (operation.kind === 'data') continue;
        const value = operation.kind === 'put' ? operation.value : null;
        rows.set(operation.key.toString('latin1'), [operation.key, value]);
        bytes += operation.key.length + (value?.length ?? 0);
      }
      sequence = header.sequence;
      epoch = header.epoch;
      slice += header.recordBytes;
      if (rows.size >= BATCH_ROWS || bytes >= BATCH_BYTES) break;
      if (slice < SLICE_BYTES) continue;
      slice = 0;
      await new Promise((resolve) => setImmediate(resolve));
      if (!this.#mayGoOn()) return undefined;
    }
    return { rows, applied: { sequence, epoch } };
  }
}
