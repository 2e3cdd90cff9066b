// Makes acknowledged changes power-proof: data first, metadata second; and lets the log be trimmed behind them.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { MetadataEngine, Transaction } from '../metadata/engine.ts';
import { blockOfKey, keys, ranges } from '../metadata/schema.ts';
import type { PendingBlocks } from './pending.ts';

/** R copies of the metadata log, outside this process. kv/log-replicas.ts on one machine. */
export interface ReplicatedLog {
  /** All records up to here are power-proof on R disks. */
  readonly durableSequence: Sequence;
  /** Ships every record up to `through`; resolves when they are power-proof on R disks. */
  ship(through: Sequence): Promise<void>;
  /** Records up to `through` are not needed for small data any more. */
  trim(through: Sequence): void;
  /** The journal should keep records from here on for copies that catch up; undefined when none does. */
  readonly neededFrom: Sequence | undefined;
}

const MOVE_BATCH_BYTES = 1024 * 1024;
const GARBAGE_BATCH = 512;

export class Durability {
  readonly #engine: MetadataEngine;
  readonly #blocks: BlockEngine;
  readonly #pending: PendingBlocks;
  readonly #log: ReplicatedLog;
  readonly #logger: Logger;
  /** Runs before each background sync: what is allowed to be late (access times) becomes a transaction. */
  readonly #beforeSync: () => void;
  /** Runs after each background sync: what tidies up (rewriting crowded chunks). */
  readonly #afterSync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #queued: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #moving: Promise<void> | undefined;
  #ticking: Promise<void> | undefined;
  #reclaiming: Promise<void> | undefined;
  /** The sync that runs, and what the last one failed with. */
  #syncSinceMs: number | undefined;
  #syncFailure: Error | undefined;
  #trimmed = 0;
  #complaints = 0;

  constructor(parts: { engine: MetadataEngine; blocks: BlockEngine; pending: PendingBlocks; log: ReplicatedLog; logger: Logger; beforeSync: () => void; afterSync: () => Promise<void> }) {
    this.#engine = parts.engine;
    this.#blocks = parts.blocks;
    this.#pending = parts.pending;
    this.#log = parts.log;
    this.#logger = parts.logger;
    this.#beforeSync = parts.beforeSync;
    this.#afterSync = parts.afterSync;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), LIMITS.syncIntervalMs);
  }

  /**
   * Resolves when all that was acknowledged before the call is power-proof on R disks. Callers that come while a
   * sync runs share the next one.
   */
  sync(): Promise<void> {
    if (this.#running === undefined) {
      this.#syncSinceMs = performance.now();
      const run = this.#syncNow().then(() => { this.#syncFailure = undefined; }, (error: Error) => {
        this.#syncFailure = error;
        throw error;
      }).finally(() => {
        this.#syncSinceMs = undefined;
        if (this.#running === run) this.#running = undefined;
      });
      this.#running = run;
      return run;
    }
    this.#queued ??= this.#running.catch(() => {}).then(() => {
      this.#queued = undefined;
      return this.sync();
    });
    return this.#queued;
  }

  /** Moves pending data when there is much of it; cheap to call after every write. */
  relievePressure(): void {
    if (this.#pending.bytes > LIMITS.pendingBytesSoft && this.#moving === undefined) void this.#move(Infinity, LIMITS.pendingBytesSoft / 2).catch(() => {});
  }

  /** Deletes now what the next background sync would: blocks that nothing names any more. Callers share one run. */
  reclaim(): Promise<void> {
    this.#reclaiming ??= this.#collectGarbage().finally(() => {
      this.#reclaiming = undefined;
    });
    return this.#reclaiming;
  }

  /** Nothing is begun by itself any more. */
  halt(): void {
    clearInterval(this.#timer);
  }

  /** Everything on the workers, power-proof; nothing runs afterwards. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#ticking;
    this.#beforeSync();
    await this.#move(Infinity, 0);
    await this.sync();
    await this.#collectGarbage();
    await this.sync();
    this.#trim();
  }

  /** What has not been acknowledged as power-proof yet, for status. */
  get lag(): { records: number; pendingBytes: number } {
    return { records: this.#engine.lastSequence - this.#log.durableSequence, pendingBytes: this.#pending.bytes };
  }

  /** For status. */
  get syncState(): { runsForMs: number; failure: string | undefined } {
    return { runsForMs: this.#syncSinceMs === undefined ? 0 : performance.now() - this.#syncSinceMs, failure: this.#syncFailure?.message };
  }

  async #syncNow(): Promise<void> {
    const through = this.#engine.lastSequence;
    if (this.#blocks.dirty) {
      const synced = this.#pending.syncing();
      await this.#blocks.sync();
      synced();
    }
    if (through > this.#log.durableSequence) await this.#log.ship(through);
  }

  #tick(): void {
    try {
      this.#engine.commitBatch();
    } catch (error) {
      // The engine has told who opened it, who ends it.
      this.#logger.error({ err: error }, 'the metadata cannot be written');
      return;
    }
    if (this.#ticking !== undefined) return;
    this.#ticking = this.#background()
      .catch((error: unknown) => {
        // Tried again each second; said at the first, then once a minute.
        if (this.#complaints++ % 60 === 0) this.#logger.error({ err: error }, 'background sync failed; trying again');
      })
      .finally(() => {
        this.#ticking = undefined;
      });
  }

  /** Each step is tried whatever became of the others: on a full disk the moves fail, and deletes are what helps. */
  async #background(): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (step: () => Promise<void> | void): Promise<void> => {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    };
    await attempt(() => this.#beforeSync());
    await attempt(() => this.sync());
    await attempt(() => this.reclaim());
    await attempt(() => this.#move(performance.now() - LIMITS.pendingAgeMs, 0));
    await attempt(() => this.#trim());
    await attempt(() => this.#afterSync());
    if (failures.length > 0) throw new AggregateError(failures, failures.map((error) => (error as Error).message).join('; '));
    this.#complaints = 0;
  }

  /** Makes room in the journal: everything on the workers, and trimmed. */
  async drain(): Promise<void> {
    await this.sync();
    await this.#move(Infinity, 0);
    await this.sync();
    this.#trim();
  }

  /** Moves pending blocks that came before `before` until at most `leaveBytes` are left. */
  async #move(before: number, leaveBytes: number): Promise<void> {
    while (this.#moving !== undefined) await this.#moving.catch(() => {});
    this.#moving = (async () => {
      while (this.#pending.bytes > leaveBytes) {
        const batch = this.#pending.take(MOVE_BATCH_BYTES, before);
        if (batch.length === 0) return;
        try {
          await this.#blocks.putMany(batch.map(({ id, data }) => ({ id, data: [data] })));
        } catch (error) {
          this.#pending.notMoved(batch);
          throw error;
        }
        this.#pending.moved(batch);
      }
    })().finally(() => {
      this.#moving = undefined;
    });
    await this.#moving;
  }

  /** Deletes blocks from the workers when the change that forgot them is power-proof. */
  async #collectGarbage(): Promise<void> {
    for (;;) {
      const [start, end] = ranges.garbage;
      const rows = this.#engine.reader.range(start, end, GARBAGE_BATCH);
      if (rows.length === 0) return;
      if (this.#engine.lastSequence > this.#log.durableSequence) await this.sync();
      const ids = rows.map(([key]) => blockOfKey(key));
      // A disk that is away keeps its copies: the rows wait for it.
      // What a row names is kept, whatever else says that it goes: then only the metadata is damaged, and fsck finds it.
      if (!(await this.#blocks.delete(ids.filter((id) => this.#engine.reader.get(keys.block(id)) === undefined)))) return;
      this.#engine.transact(null, (tx: Transaction) => {
        for (const id of ids) tx.delete(keys.garbage(id));
      });
      if (rows.length < GARBAGE_BATCH) return;
    }
  }

  #trim(): void {
    const oldest = this.#pending.oldestNeeded();
    const through = Math.min(this.#engine.appliedSequence, this.#log.durableSequence, oldest === undefined ? Infinity : oldest - 1) as Sequence;
    if (through <= this.#trimmed) return;
    this.#trimmed = through;
    this.#log.trim(through);
    this.#engine.trim(Math.min(through, (this.#log.neededFrom ?? Infinity) - 1) as Sequence);
  }
}
