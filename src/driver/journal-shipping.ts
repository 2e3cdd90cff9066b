// Ships the driver's journal to the workers' logs: the vfs asks for it, kv/ carries it.
import { assert } from '../base/assert.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { RecordBatch } from '../kv/log-holder.ts';
import type { LogReplicas } from '../kv/log-replicas.ts';
import { headerOf } from '../log/record.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';
import type { ReplicatedLog } from '../durability/durability.ts';

const SHIP_BYTES = LIMITS.frameBodyBytesMax / 2;

/** Whole journal records from `from` to at most `through`, about SHIP_BYTES of them; undefined when there are none. */
export function journalBatch(engine: LmdbEngine, from: Sequence, through: Sequence): RecordBatch | undefined {
  const bytes = engine.recordsAfter((from - 1) as Sequence, SHIP_BYTES);
  let end = 0;
  let last = 0;
  let epoch = 0;
  while (end < bytes.length) {
    const header = headerOf(bytes, end);
    if (header.sequence > through) break;
    end += header.recordBytes;
    last = header.sequence;
    epoch = header.epoch;
  }
  if (end === 0) return undefined;
  return { first: from, last: last as Sequence, epoch: epoch as DriverEpoch, records: [bytes.subarray(0, end)] };
}

export class JournalShipping implements ReplicatedLog {
  readonly #engine: LmdbEngine;
  readonly #replicas: LogReplicas;
  #durable: Sequence;

  constructor(engine: LmdbEngine, replicas: LogReplicas, durable: Sequence) {
    this.#engine = engine;
    this.#replicas = replicas;
    this.#durable = durable;
  }

  get durableSequence(): Sequence {
    return this.#durable;
  }

  /** One call at a time (durability/durability.ts sees to it). Never ships a record behind `through`: its blocks may not be synced. */
  async ship(through: Sequence): Promise<void> {
    while (this.#durable < through) {
      const batch = journalBatch(this.#engine, (this.#durable + 1) as Sequence, through);
      assert(batch !== undefined, `the journal has record ${this.#durable + 1}`);
      await this.#replicas.append(batch.records, batch.first, batch.last, batch.epoch);
      this.#durable = batch.last;
    }
  }

  trim(through: Sequence): void {
    this.#replicas.trim(through);
  }

  get neededFrom(): Sequence | undefined {
    return this.#replicas.neededFrom;
  }
}
