// Gives the background work on blocks what it needs of the metadata, and answers what people ask about it.
import { verifyPieces } from '../blocks/checksum.ts';
import type { KvBlockEngine } from '../blocks/kv-engine.ts';
import { EXIT, UserError } from '../base/errors.ts';
import { formatBlockId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { DriverUpkeep, DriverUpkeepRun, UpkeepAnswer, UpkeepQuestion } from '../ipc/process-messages.ts';
import type { BlockRows } from '../kv/block-census.ts';
import type { RunReport } from '../kv/reconciler.ts';
import type { ScrubMetadata, ScrubRecord, ScrubStore } from '../kv/scrubber.ts';
import { Upkeep } from '../kv/upkeep.ts';
import type { WorkerLink } from '../kv/worker-link.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import type { Allocator } from '../metadata/allocator.ts';
import { findBlockOwners } from '../metadata/block-owners.ts';
import type { WhatIfQuestion } from './what-if.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { BOOKKEEPING, blockOfKey, decodeBlockRow, decodeBytes, encodeBytes, encodeNumber, keys, ranges } from '../metadata/schema.ts';
import type { Durability } from '../durability/durability.ts';
import type { PendingBlocks } from '../durability/pending.ts';

interface Stores {
  readonly engine: MetadataEngine;
  readonly pending: PendingBlocks;
  readonly allocator: Allocator;
  readonly durability: Durability;
  /** False while rows may be missing. */
  readonly rowsVerified: () => boolean;
}

export function blockRows({ engine, pending, allocator, durability, rowsVerified }: Stores): BlockRows {
  return {
    page: (after, limit) => {
      const rows = engine.reader.range(...ranges.blocksAfter(after), limit);
      const blocks = rows.map(([key, value]) => ({ id: blockOfKey(key), bytes: decodeBlockRow(value).bytes })).filter(({ id }) => pending.get(id) === undefined);
      return { blocks, through: rows.length < limit ? null : blockOfKey(rows.at(-1)![0]) };
    },
    isNeeded: (id) => engine.reader.get(keys.block(id)) !== undefined,
    keepsUnknown: () => !rowsVerified() || engine.reader.get(keys.bookkeeping(BOOKKEEPING.garbageHold)) !== undefined,
    settled: () => allocator.settled(),
    sync: () => durability.sync(),
  };
}

/** The state of the scrub is a row, so that it goes where the metadata goes. */
function scrubStore(engine: MetadataEngine): ScrubStore {
  const key = keys.bookkeeping(BOOKKEEPING.scrub);
  return {
    load: () => {
      const value = engine.reader.get(key);
      const record = value === undefined ? undefined : JSON.parse(decodeBytes(value).toString()) as ScrubRecord;
      return record?.version === 1 ? record : undefined;
    },
    save: (record) => engine.transact(null, (tx) => tx.put(key, encodeBytes(Buffer.from(JSON.stringify(record))))),
  };
}

/** Results of runs that somebody asked for and did not fetch. */
const TICKETS_MAX = 64;

export class DriverBlockUpkeep {
  readonly upkeep: Upkeep;
  readonly #engine: MetadataEngine;
  readonly #pool: WorkerPool;
  readonly #tickets = new Map<number, RunReport | Error | undefined>();
  #nextTicket = 1;

  constructor(parts: Stores & { readonly pool: WorkerPool; readonly blocks: KvBlockEngine; readonly copies: number; readonly logger: Logger; readonly scrubMetadata?: ScrubMetadata; readonly onDiskComplete?: (index: number) => void }) {
    this.#engine = parts.engine;
    this.#pool = parts.pool;
    const { pool, blocks, copies, logger, scrubMetadata, onDiskComplete } = parts;
    this.upkeep = new Upkeep({
      pool, copies, logger, store: blocks.store, rows: blockRows(parts), verify: verifyPieces, scrubs: scrubStore(parts.engine),
      ...(scrubMetadata !== undefined && { scrubMetadata }),
      ...(onDiskComplete !== undefined && { onDiskComplete }),
    });
  }

  /** Whether a disk has all blocks that it should have. */
  isComplete(link: WorkerLink): boolean {
    return this.upkeep.reconciler.isComplete(this.#pool.links.indexOf(link));
  }

  /** From now on blocks that nothing names are kept, until somebody asks for gc. */
  holdGarbage(): void {
    this.#engine.transact(null, (tx) => tx.put(keys.bookkeeping(BOOKKEEPING.garbageHold), encodeNumber(Date.now())));
  }

  get #isHeld(): boolean {
    return this.#engine.reader.get(keys.bookkeeping(BOOKKEEPING.garbageHold)) !== undefined;
  }

  /** For status. */
  report(): DriverUpkeep {
    const { reconcile, scrub } = this.upkeep.status;
    const workerOf = (index: number) => this.#pool.link(index).worker;
    return {
      reconcile: {
        state: reconcile.state, reason: reconcile.reason ?? null, phase: reconcile.phase ?? null, progress: reconcile.progress ?? null,
        endangeredBlocks: reconcile.endangeredBlocks, unreadableBlocks: Math.max(reconcile.unreadableBlocks, this.upkeep.unreadable.length),
        incompleteDisks: reconcile.incompleteDisks.map(workerOf), ...(this.#isHeld && { garbageHeld: true }), last: reconcile.last === undefined ? null : runOf(reconcile.last),
      },
      scrub: {
        state: scrub.state, fraction: scrub.fraction ?? null, next: new Date(scrub.nextMs).toISOString(),
        current: scrub.current === undefined ? null : { started: new Date(scrub.current.startedMs).toISOString(), ...scrub.current.counts },
        last: scrub.last === undefined || scrub.last.counts.blocks + scrub.last.counts.metadataRows === 0 ? null : { started: new Date(scrub.last.startedMs).toISOString(), ended: new Date(scrub.last.endedMs).toISOString(), ...scrub.last.counts },
      },
    };
  }

  async answer(question: Exclude<UpkeepQuestion, WhatIfQuestion>): Promise<UpkeepAnswer> {
    switch (question.ask) {
      case 'gc': return { ticket: this.#begin(question.dryRun) };
      case 'result': return { ...this.#result(question.ticket), upkeep: this.report() };
      case 'scrub':
        this.upkeep.scrub({ rate: question.rate });
        return { upkeep: this.report() };
      case 'status': return { upkeep: this.report() };
      case 'damaged': {
        const blocks = this.upkeep.unreadable;
        const files = await findBlockOwners(this.#engine.reader, blocks);
        return { damaged: { blocks: blocks.map(formatBlockId), files } };
      }
    }
  }

  #begin(dryRun: boolean): number {
    const ticket = this.#nextTicket++;
    this.#tickets.set(ticket, undefined);
    for (const oldest of this.#tickets.keys()) {
      if (this.#tickets.size <= TICKETS_MAX) break;
      this.#tickets.delete(oldest);
    }
    if (!dryRun && this.#isHeld) this.#engine.transact(null, (tx) => tx.delete(keys.bookkeeping(BOOKKEEPING.garbageHold)));
    this.upkeep.reconcile({ dryRun }).then((report) => this.#tickets.set(ticket, report), (error: Error) => this.#tickets.set(ticket, error));
    return ticket;
  }

  #result(ticket: number): { run?: DriverUpkeepRun } {
    if (!this.#tickets.has(ticket)) throw new UserError('the driver was started again meanwhile: ask again', EXIT.failure);
    const result = this.#tickets.get(ticket);
    if (result instanceof Error) throw result;
    return result === undefined ? {} : { run: runOf(result) };
  }
}

function runOf({ run, reason, complete, dryRun, garbageWaits, tookMs, endedMs, counts }: RunReport): DriverUpkeepRun {
  const { found, unreadable: _, misses, ...sums } = counts;
  return {
    run, reason, complete, dryRun, garbageWaits, tookMs, ended: new Date(endedMs).toISOString(), ...sums,
    unreadableBlocks: found[0]!, missedCopies: misses.reduce((sum, count) => sum + count, 0),
  };
}
