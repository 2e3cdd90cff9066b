// One block on its way to R disks: rank order, the next disk where one fails, degraded or an error where none is left.
import { FsError } from '../base/errors.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockPut } from '../ipc/messages.ts';
import type { CopyOwner, PutBatcher } from './put-batcher.ts';
import { failureOf } from './replication.ts';
import type { Degradation, ReplicationPolicy } from './replication.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface WriteContext {
  readonly pool: WorkerPool;
  readonly policy: ReplicationPolicy;
  /** One per disk, by index. */
  readonly batchers: readonly PutBatcher[];
  /** Awaited before fewer than R copies are acknowledged. */
  beforeDegraded(degradation: Degradation): void | Promise<void>;
  /** The copies of an acknowledged block, before its acknowledgement. `strayed`: perhaps not all are where they belong. */
  written(indexes: readonly number[], copies: { readonly strayed: boolean }): void;
}

/** Settles `done` when no request holds the block's bytes any more, whatever became of it. */
export class BlockWrite implements CopyOwner {
  readonly block: BlockPut;
  readonly blockBytes: number;
  readonly done: Promise<void>;
  readonly #context: WriteContext;
  readonly #startMs = performance.now();
  /** Disks not tried yet, best first. */
  #candidates: number[];
  readonly #stored: number[] = [];
  #absent: number[] = [];
  #full = 0;
  #busy = 0;
  /** A disk was passed over. */
  #strayed = false;
  #lastError: unknown;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  constructor(context: WriteContext, block: BlockPut) {
    this.#context = context;
    this.block = block;
    let bytes = 0;
    for (const piece of block.data) bytes += piece.length;
    this.blockBytes = bytes;
    this.#candidates = context.pool.rank(block.id);
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#advance();
  }

  copyStored(index: number): void {
    this.#busy--;
    this.#stored.push(index);
    this.#advance();
  }

  copyFailed(index: number, error: unknown): void {
    this.#busy--;
    this.#strayed = true;
    this.#lastError = error;
    const failure = failureOf(error);
    if (failure === 'absent') this.#absent.push(index);
    else if (failure === 'full') this.#full++;
    this.#advance();
  }

  #advance(): void {
    const { pool, policy, batchers } = this.#context;
    while (this.#stored.length + this.#busy < policy.copies && this.#candidates.length > 0) {
      const index = this.#candidates.shift()!;
      const link = pool.link(index);
      if (!link.isReady && (link.isStalled || link.patienceMs(LIMITS.workerSwitchMs) === 0)) {
        this.#strayed = true;
        this.#absent.push(index);
      } else {
        this.#busy++;
        batchers[index]!.add(this);
      }
    }
    if (this.#busy > 0) return;
    if (this.#stored.length >= policy.copies) this.#finish();
    else void this.#exhausted();
  }

  #finish(): void {
    this.#context.written(this.#stored, { strayed: this.#strayed });
    this.#resolve();
  }

  /** Every disk was tried, and there are fewer than R copies. A full disk is a live one: it is no reason for less than R. */
  async #exhausted(): Promise<void> {
    const { pool, policy } = this.#context;
    const copies = this.#stored.length;
    if (copies >= policy.copiesMin && copies + this.#full < policy.copies) {
      // A worker that is being restarted is back in a moment: a pause is better than a copy that is missing.
      const graceMs = Math.max(0, ...this.#absent.map((index) => pool.link(index).patienceMs(LIMITS.workerDegradeMs)));
      if (graceMs === 0) return this.#acceptDegraded();
      await pool.anyReady(this.#absent, graceMs);
      return this.#retryReady() ? this.#advance() : this.#exhausted();
    }
    const patienceMs = this.#startMs + LIMITS.workerAbsenceMs - performance.now();
    // Where disks are full, only those count that may be back in a moment.
    const hopeful = this.#absent.filter((index) => this.#full === 0 ? pool.link(index).state.kind !== 'closed' : pool.link(index).patienceMs(LIMITS.workerAbsenceMs) > 0);
    if (hopeful.length === 0 || patienceMs <= 0) return this.#reject(this.#failure());
    await pool.anyReady(hopeful, patienceMs);
    if (this.#retryReady()) this.#advance();
    else this.#reject(this.#failure());
  }

  /** Makes candidates of the absent disks that are back; whether there are any. */
  #retryReady(): boolean {
    const { pool } = this.#context;
    this.#candidates = this.#absent.filter((index) => pool.link(index).isReady);
    this.#absent = this.#absent.filter((index) => !pool.link(index).isReady);
    return this.#candidates.length > 0;
  }

  async #acceptDegraded(): Promise<void> {
    try {
      const missing = this.#absent.map((index) => this.#context.pool.link(index).worker);
      await this.#context.beforeDegraded({ kind: 'put', id: this.block.id, haveCopies: this.#stored.length, missing });
      this.#finish();
    } catch (error) {
      this.#reject(error as Error);
    }
  }

  #failure(): FsError {
    const { policy } = this.#context;
    const what = `block ${formatBlockId(this.block.id)} (${this.blockBytes} bytes): ${this.#stored.length} of ${policy.copies} copies stored, ${this.#full} disks full, ${this.#absent.length} absent`;
    return new FsError(this.#full > 0 ? 'ENOSPC' : 'EIO', what, { cause: this.#lastError });
  }
}
