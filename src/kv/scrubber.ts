// Reads every copy of every block back, in slices, from where the last slice ended; and does so again every month.
//
// Where it stands is kept outside of the process (ScrubStore), so that a new driver or a later mount goes on from there.
import { formatBlockId, parseBlockId } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { PassCounts } from './reconcile-counts.ts';
import { ReconcilePass } from './reconcile-pass.ts';
import type { PassParts } from './reconcile-pass.ts';

/** Sums of a scrub; those of PassCounts that it changes. */
export interface ScrubCounts {
  blocks: number;
  verifiedCopies: number;
  verifiedBytes: number;
  /** Copies that were there and not as they were put, and those that were not there. */
  damagedCopies: number;
  missingCopies: number;
  repairedCopies: number;
  /** Blocks without a good copy on any disk. */
  unreadableBlocks: number;
  /** Rows of the metadata that were read, copies of all of it on the disks, and those that were damaged and are made anew. */
  metadataRows: number;
  metadataCopies: number;
  damagedMetadataCopies: number;
}

export type MetadataCounts = Pick<ScrubCounts, 'metadataRows' | 'metadataCopies' | 'damagedMetadataCopies'>;

/** Looks at the metadata when all blocks are read back. Undefined when `shouldEnd` said so first. */
export type ScrubMetadata = (shouldEnd: () => boolean) => Promise<MetadataCounts | undefined>;

/** What outlives the driver, as JSON. Times in ms since 1970. */
export interface ScrubRecord {
  readonly version: 1;
  readonly current?: { readonly startedMs: number; readonly after: string | null; readonly rate?: number | undefined; readonly counts: ScrubCounts; readonly unreadable: readonly string[] } | undefined;
  readonly last?: { readonly startedMs: number; readonly endedMs: number; readonly counts: ScrubCounts; readonly unreadable: readonly string[] } | undefined;
}

export interface ScrubStore {
  load(): ScrubRecord | undefined;
  save(record: ScrubRecord): void;
}

export interface ScrubberStatus {
  readonly state: 'idle' | 'waiting' | 'running';
  readonly current: ScrubRecord['current'];
  readonly last: ScrubRecord['last'];
  /** When the next one begins by itself, ms since 1970. */
  readonly nextMs: number;
  /** Part of the blocks that the current one has behind it, as far as can be told. */
  readonly fraction: number | undefined;
}

const SAVE_INTERVAL_MS = 10_000;
/** A new volume is scrubbed after a part of the interval that depends on its id, so that volumes do not start together. */
const SPREAD = 2 ** 32;
/** Names of blocks without a good copy that are kept with the record. */
const UNREADABLE_MAX = 1000;

export class Scrubber {
  readonly #parts: PassParts;
  readonly #store: ScrubStore;
  readonly #metadata: ScrubMetadata | undefined;
  readonly #defaultRate: number;
  #record: ScrubRecord;
  #running = false;
  #savedMs = 0;

  constructor(parts: PassParts, store: ScrubStore, metadata?: ScrubMetadata) {
    this.#parts = parts;
    this.#store = store;
    this.#defaultRate = parts.throttle.rate;
    this.#metadata = metadata;
    this.#record = complete(store.load() ?? { version: 1, last: undefined, current: undefined });
  }

  /** Begins one now, unless one is under way; its rate is changed then. `rate`: bytes a second. */
  begin(options: { readonly rate?: number | undefined } = {}): void {
    const fresh = { startedMs: Date.now(), after: null, counts: newScrubCounts(), unreadable: [] };
    this.#save({ ...this.#record, current: { ...(this.#record.current ?? fresh), rate: options.rate } });
  }

  get isDue(): boolean {
    return this.#record.current !== undefined || Date.now() >= this.#nextMs;
  }

  get status(): ScrubberStatus {
    const { current, last } = this.#record;
    const known = this.#parts.store.capacity().disks.reduce((sum, { statistics }) => sum + (statistics?.blockCount ?? 0), 0);
    const fraction = current === undefined || known === 0 ? undefined : Math.min(1, current.counts.verifiedCopies / known);
    return { state: this.#running ? 'running' : current === undefined ? 'idle' : 'waiting', current, last, nextMs: this.#nextMs, fraction };
  }

  /** Blocks of the last scrubs that had no good copy, as far as they are still needed. */
  get unreadable(): BlockId[] {
    const names = new Set([...(this.#record.current?.unreadable ?? []), ...(this.#record.last?.unreadable ?? [])]);
    return [...names].map(parseBlockId).filter((id) => this.#parts.rows.isNeeded(id));
  }

  /** Goes on until the end, or until it is stopped or `shouldYield`. */
  async run(shouldYield: () => boolean): Promise<void> {
    if (this.#record.current === undefined) this.begin();
    const { startedMs, after, rate, counts, unreadable } = this.#record.current!;
    const { throttle, rows, isStopped } = this.#parts;
    this.#running = true;
    throttle.rate = rate ?? this.#defaultRate;
    // Progress counts when a window is done, so that a slice that is cut short repeats the window, not its sums.
    let reached = { after, counts, unreadable };
    try {
      const bound = await rows.settled();
      const pass: ReconcilePass = new ReconcilePass({ ...this.#parts, isStopped: () => isStopped() || shouldYield() }, {
        bound, after: after === null ? null : parseBlockId(after), copyUpTo: this.#parts.copies - 1, tidy: false, deep: true,
        onWindow: (through) => {
          const found = [...unreadable, ...pass.counts.unreadable.map(formatBlockId)].slice(0, UNREADABLE_MAX);
          reached = { after: through === null ? reached.after : formatBlockId(through), counts: addCounts(counts, pass.counts, this.#parts.copies), unreadable: found };
          this.#record = { ...this.#record, current: { ...this.#record.current!, ...reached } };
          if (performance.now() - this.#savedMs > SAVE_INTERVAL_MS) this.#save(this.#record);
        },
      });
      let ended = await pass.run();
      if (ended && this.#metadata !== undefined) {
        const found = await this.#metadata(() => isStopped() || shouldYield());
        ended = found !== undefined;
        if (found !== undefined) reached = { ...reached, counts: { ...reached.counts, ...found } };
      }
      this.#save(ended ? { version: 1, last: { startedMs, endedMs: Date.now(), counts: reached.counts, unreadable: reached.unreadable } } : this.#record);
      if (ended) this.#parts.logger.info({ counts: reached.counts }, 'all copies of all blocks were read back');
    } finally {
      this.#running = false;
      throttle.rate = this.#defaultRate;
    }
  }

  get #nextMs(): number {
    const { last } = this.#record;
    return (last?.startedMs ?? this.#firstMs()) + LIMITS.scrubIntervalMs;
  }

  /** A volume that has never been scrubbed counts as scrubbed some time in the last interval; remembered from the first time on. */
  #firstMs(): number {
    const share = (Number.parseInt(this.#parts.pool.volume.slice(0, 8), 16) || 0) / SPREAD;
    const startedMs = Math.round(Date.now() - LIMITS.scrubIntervalMs * 0.5 * share);
    this.#save({ ...this.#record, last: { startedMs, endedMs: startedMs, counts: newScrubCounts(), unreadable: [] } });
    return startedMs;
  }

  #save(record: ScrubRecord): void {
    this.#record = record;
    this.#savedMs = performance.now();
    this.#store.save(record);
  }
}

function newScrubCounts(): ScrubCounts {
  return { blocks: 0, verifiedCopies: 0, verifiedBytes: 0, damagedCopies: 0, missingCopies: 0, repairedCopies: 0, unreadableBlocks: 0, metadataRows: 0, metadataCopies: 0, damagedMetadataCopies: 0 };
}

/** One of an sdfs that counted less. */
function complete({ version, current, last }: ScrubRecord): ScrubRecord {
  const counted = <T extends { readonly counts: ScrubCounts }>(scrub: T | undefined): T | undefined => (scrub === undefined ? undefined : { ...scrub, counts: { ...newScrubCounts(), ...scrub.counts } });
  return { version, current: counted(current), last: counted(last) };
}

function addCounts(before: ScrubCounts, pass: PassCounts, copies: number): ScrubCounts {
  const short = pass.found.reduce((sum, blocks, have) => sum + blocks * (copies - have), 0);
  return {
    ...before,
    blocks: before.blocks + pass.blocks,
    verifiedCopies: before.verifiedCopies + pass.verifiedCopies,
    verifiedBytes: before.verifiedBytes + pass.verifiedBytes,
    damagedCopies: before.damagedCopies + pass.damagedCopies,
    missingCopies: before.missingCopies + Math.max(0, short - pass.damagedCopies),
    repairedCopies: before.repairedCopies + pass.copiedCopies,
    unreadableBlocks: before.unreadableBlocks + pass.found[0]!,
  };
}
