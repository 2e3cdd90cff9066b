// Sees to it that every block has R copies where they belong, and that nothing else lies on the disks: one engine for healing,
// for what a returned disk missed, for moving to a new disk and off one that is being emptied, and for garbage.
//
//   idle ─something may be missing─► waiting ─no disk is away, and a moment has passed─► running ─► idle
//                                       ▲──────────────── not all could be done ─────────────┘
//
// A run counts first (a survey), then copies the most endangered blocks, then the others, then moves and deletes. What
// it stands on are the rows and the lists of the disks themselves, so that one that is interrupted just begins again.
import { LIMITS } from '../base/limits.ts';
import type { BlockId } from '../base/ids.ts';
import type { PassCounts } from './reconcile-counts.ts';
import type { DiskPresence } from './reconcile-plan.ts';
import { ReconcilePass } from './reconcile-pass.ts';
import type { PassParts } from './reconcile-pass.ts';
import type { Throttle } from './throttle.ts';
import type { WorkerLink } from './worker-link.ts';

/** Runs that follow from everyday misses take this part of the time at most. */
const REST_FACTOR = 10;

export type ReconcilePhase = 'counting' | 'copying' | 'tidying';

/** A run that has ended. */
export interface RunReport {
  readonly run: number;
  readonly reason: string;
  /** Nothing was left to do, as far as the disks that are there go. */
  readonly complete: boolean;
  readonly dryRun: boolean;
  /** Garbage was left, since not every disk is there to say that it is. */
  readonly garbageWaits: boolean;
  readonly tookMs: number;
  readonly endedMs: number;
  /** As found, with what was done since. */
  readonly counts: PassCounts;
}

export interface ReconcilerStatus {
  readonly state: 'idle' | 'waiting' | 'running';
  readonly run: number;
  readonly reason: string | undefined;
  readonly phase: ReconcilePhase | undefined;
  /** Of the phase that runs; undefined when it cannot be told. */
  readonly progress: { readonly done: number; readonly total: number; readonly etaMs: number } | undefined;
  /** Needed blocks with fewer than R good copies, as of the last run and what was written since. */
  readonly endangeredBlocks: number;
  readonly unreadableBlocks: number;
  /** Disks that may lack something. */
  readonly incompleteDisks: readonly number[];
  readonly last: RunReport | undefined;
}

export type ReconcilerParts = Omit<PassParts, 'presenceOf' | 'isStopped' | 'throttle'> & {
  readonly throttle: Throttle;
  /** A disk has all that it should have: it missed something before, or was new. */
  readonly onDiskComplete?: (index: number) => void;
  /** Default LIMITS.diskLostMs. */
  readonly diskLostMs?: number;
};

interface Wanted {
  readonly reason: string;
  readonly notBeforeMs: number;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  /** By disk: how often its channel was lost, and the same when it was last found complete (-1: never). */
  readonly #absences: number[];
  readonly #completeAt: number[];
  readonly #lost = new Set<number>();
  readonly #waiters = new Map<number, (() => void)[]>();
  #wanted: Wanted | undefined;
  #run = 0;
  #current: { reason: string; phase: ReconcilePhase; pass: ReconcilePass; total: number; startMs: number } | undefined;
  #last: RunReport | undefined;
  #endangered = 0;
  #unreadable: readonly BlockId[] = [];
  #unreadableCount = 0;
  #missedSeen = 0;
  #degradedSeen = 0;
  #retryMs: number = LIMITS.reconcileRetryMinMs;
  #stopped = false;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#absences = parts.pool.links.map(() => 0);
    this.#completeAt = parts.pool.links.map(() => -1);
    parts.pool.listen({
      absent: (link) => { this.#absences[this.#indexOf(link)]!++; },
      ready: (link) => this.#onReady(link),
    });
  }

  /** Looks over everything as soon as all disks that are expected are there. */
  request(reason: string, delayMs: number = LIMITS.reconcileDelayMs): void {
    const notBeforeMs = Math.min(this.#wanted?.notBeforeMs ?? Infinity, performance.now() + delayMs);
    this.#wanted = { reason: this.#wanted?.reason ?? reason, notBeforeMs };
  }

  /** Called about once a second; true when a run should begin now. */
  get isDue(): boolean {
    this.#notice();
    if (this.#wanted === undefined || performance.now() < this.#wanted.notBeforeMs) return false;
    return !this.isDiskAway;
  }

  /** A disk is missing that is expected back. */
  get isDiskAway(): boolean {
    return this.#parts.pool.links.some((_, index) => this.presenceOf(index) === 'away');
  }

  /** Whether a disk has all that it should have. */
  isComplete(index: number): boolean {
    return this.#completeAt[index] === this.#absences[index] && this.#parts.pool.link(index).isReady;
  }

  /** Resolves when the disk has all that it should have; the caller bounds the wait. */
  diskComplete(index: number): Promise<void> {
    if (this.isComplete(index)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.set(index, [...(this.#waiters.get(index) ?? []), resolve]));
  }

  presenceOf(index: number): DiskPresence {
    const link = this.#parts.pool.link(index);
    if (link.isReady) return 'ready';
    // One that is being emptied is to go anyway: nobody waits for it to come back.
    const lostMs = this.#parts.pool.isTarget(index) ? this.#parts.diskLostMs ?? LIMITS.diskLostMs : LIMITS.workerAbsenceMs;
    return link.absentMs >= lostMs ? 'lost' : 'away';
  }

  /** Blocks without a good copy, as far as they are known. */
  get unreadable(): readonly BlockId[] {
    return this.#unreadable.filter((id) => this.#parts.rows.isNeeded(id));
  }

  get status(): ReconcilerStatus {
    const current = this.#current;
    return {
      state: current !== undefined ? 'running' : this.#wanted !== undefined ? 'waiting' : 'idle',
      run: this.#run,
      reason: current?.reason ?? this.#wanted?.reason,
      phase: current?.phase,
      progress: this.#progress(),
      endangeredBlocks: this.#endangered + this.#parts.store.counters.degraded - this.#degradedSeen,
      unreadableBlocks: this.#unreadableCount,
      incompleteDisks: this.#absences.flatMap((_, index) => (this.isComplete(index) ? [] : [index])),
      last: this.#last,
    };
  }

  stop(): void {
    this.#stopped = true;
  }

  /** One run, whatever is due. One at a time: the caller sees to that. Rejects when the metadata cannot be synced. */
  async run(options: { readonly reason?: string; readonly dryRun?: boolean } = {}): Promise<RunReport> {
    const reason = options.reason ?? this.#wanted?.reason ?? 'asked for';
    const dryRun = options.dryRun ?? false;
    if (!dryRun) this.#wanted = undefined;
    this.#run++;
    const startMs = performance.now();
    const absences = [...this.#absences];
    const missed = this.#missed();
    const { degraded } = this.#parts.store.counters;
    try {
      const { counts, final, ended } = await this.#passes(reason, dryRun);
      const complete = ended && final.misses.every((count) => count === 0);
      const garbageWaits = !dryRun && counts.garbageCopies > counts.deletedCopies && this.#parts.pool.links.some((link) => !link.isReady);
      const report: RunReport = { run: this.#run, reason, complete, dryRun, garbageWaits, tookMs: Math.round(performance.now() - startMs), endedMs: Date.now(), counts };
      this.#last = report;
      if (ended) {
        this.#endangered = final.endangered;
        this.#degradedSeen = degraded;
        this.#unreadable = counts.unreadable;
        this.#unreadableCount = counts.found[0]!;
        if (!dryRun) await this.#settle(report, final, { absences, missed });
      }
      return report;
    } catch (error) {
      this.#retry();
      throw error;
    } finally {
      this.#current = undefined;
    }
  }

  /** `counts`: what the survey found and all passes did. `final`: the counts of the last pass that went over everything. */
  async #passes(reason: string, dryRun: boolean): Promise<{ counts: PassCounts; final: PassCounts; ended: boolean }> {
    const { copies, rows } = this.#parts;
    const bound = await rows.settled();
    const survey = await this.#pass(reason, 'counting', this.#blocksKnown(), { bound, copyUpTo: 0, tidy: false });
    const { counts } = survey;
    let { final, ended } = { final: counts, ended: survey.ended };
    const follow = async (phase: ReconcilePhase, total: number, options: { copyUpTo: number; tidy: boolean }): Promise<void> => {
      if (!ended) return;
      const pass = await this.#pass(reason, phase, total, { bound, ...options });
      addWork(counts, pass.counts);
      ({ counts: final, ended } = pass);
    };
    if (dryRun) return { counts, final, ended };
    for (let have = 1; have < copies; have++) {
      if (counts.found[have]! > 0) await follow('copying', counts.found[have]! * (copies - have), { copyUpTo: have, tidy: false });
    }
    if (counts.misplaced > 0 || counts.garbageCopies > 0) await follow('tidying', counts.misplaced, { copyUpTo: copies - 1, tidy: true });
    return { counts, final, ended };
  }

  async #pass(reason: string, phase: ReconcilePhase, total: number, options: { bound: BlockId; copyUpTo: number; tidy: boolean }): Promise<{ counts: PassCounts; ended: boolean }> {
    const pass = new ReconcilePass({ ...this.#parts, presenceOf: (index) => this.presenceOf(index), isStopped: () => this.#stopped }, { ...options, deep: false });
    this.#current = { reason, phase, pass, total, startMs: performance.now() };
    return { ended: await pass.run(), counts: pass.counts };
  }

  /** Says which disks are complete, and comes back for the rest. */
  async #settle(report: RunReport, final: PassCounts, before: { absences: readonly number[]; missed: number }): Promise<void> {
    const { pool, store, logger, onDiskComplete } = this.#parts;
    const { counts } = report;
    const news = counts.copiedCopies + counts.droppedCopies + counts.deletedCopies + counts.found[0]! > 0;
    logger[news ? 'info' : 'debug']({ reason: report.reason, complete: report.complete, tookMs: report.tookMs, counts: { ...counts, unreadable: counts.unreadable.length } }, 'the copies of all blocks were looked over');
    if (report.complete) this.#retryMs = LIMITS.reconcileRetryMinMs;
    else this.#retry();
    if (this.#missed() !== before.missed) return;
    for (const [index, link] of pool.links.entries()) {
      const undisturbed = link.isReady && this.#absences[index] === before.absences[index] && final.misses[index] === 0;
      if (!undisturbed || this.isComplete(index)) continue;
      try {
        await store.syncDisk(index);
      } catch (error) {
        logger.warn({ err: error, worker: link.worker }, 'a disk that has all copies could not be synced');
        this.#retry();
        continue;
      }
      if (this.#absences[index] !== before.absences[index]) continue;
      this.#completeAt[index] = before.absences[index]!;
      logger.info({ worker: link.worker }, 'a disk has everything that it should have');
      onDiskComplete?.(index);
      for (const resolve of this.#waiters.get(index) ?? []) resolve();
      this.#waiters.delete(index);
    }
  }

  #retry(): void {
    this.request('what the last run could not do', this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, LIMITS.reconcileRetryMaxMs);
  }

  /** Whatever may have left a copy missing, misplaced or behind. */
  #notice(): void {
    const missed = this.#missed();
    if (missed !== this.#missedSeen) {
      this.#missedSeen = missed;
      this.#completeAt.fill(-1);
      // While a disk is full there is no end of these.
      this.request('a disk may have missed writes or deletes', Math.max(LIMITS.reconcileDelayMs, REST_FACTOR * (this.#last?.tookMs ?? 0)));
    }
    // What was on its way while a run looked: copies that a former driver made of small data that is moved once more.
    if (this.#wanted === undefined && this.#current === undefined && this.#isEmptyingUnfinished()) {
      this.request('a disk that is being emptied still has blocks', Math.max(LIMITS.reconcileRetryMinMs, REST_FACTOR * (this.#last?.tookMs ?? 0)));
    }
    for (let index = 0; index < this.#absences.length; index++) {
      if (this.presenceOf(index) !== 'lost') this.#lost.delete(index);
      else if (!this.#lost.has(index)) {
        this.#lost.add(index);
        this.request(`disk ${this.#parts.pool.link(index).worker} is away for too long`);
      }
    }
  }

  #isEmptyingUnfinished(): boolean {
    const { pool, store } = this.#parts;
    if (pool.links.every((_, index) => pool.isTarget(index))) return false;
    const { disks } = store.capacity();
    return pool.links.some((link, index) => !pool.isTarget(index) && link.isReady && (disks[index]?.statistics?.blockCount ?? 0) > 0);
  }

  #onReady(link: WorkerLink): void {
    const index = this.#indexOf(link);
    // A worker that was just started again has what it had, unless something was to be written meanwhile.
    if (link.lastAbsenceMs < LIMITS.workerSwitchMs && this.#missed() === this.#missedSeen && this.#completeAt[index] === this.#absences[index]! - 1) this.#completeAt[index] = this.#absences[index]!;
    else this.request(`disk ${link.worker} is back`);
  }

  #missed(): number {
    const { strayed, missedDeletes, degraded } = this.#parts.store.counters;
    return strayed + missedDeletes + degraded;
  }

  #blocksKnown(): number {
    const disks = this.#parts.store.capacity().disks;
    return Math.round(disks.reduce((sum, { statistics }) => sum + (statistics?.blockCount ?? 0), 0) / this.#parts.copies);
  }

  #progress(): ReconcilerStatus['progress'] {
    if (this.#current === undefined) return undefined;
    const { phase, pass: { counts }, total, startMs } = this.#current;
    const done = phase === 'counting' ? counts.blocks : phase === 'copying' ? counts.copiedCopies : counts.misplaced;
    const left = Math.max(0, total - done);
    return { done, total: Math.max(total, done), etaMs: done === 0 ? 0 : Math.round(((performance.now() - startMs) / done) * left) };
  }

  #indexOf(link: WorkerLink): number {
    return this.#parts.pool.links.indexOf(link);
  }
}

/** Adds what a later pass did to what the survey found. */
function addWork(counts: PassCounts, pass: PassCounts): void {
  counts.copiedCopies += pass.copiedCopies;
  counts.copiedBytes += pass.copiedBytes;
  counts.droppedCopies += pass.droppedCopies;
  counts.deletedCopies += pass.deletedCopies;
  counts.deletedBytes += pass.deletedBytes;
  counts.verifiedCopies += pass.verifiedCopies;
  counts.verifiedBytes += pass.verifiedBytes;
  counts.damagedCopies += pass.damagedCopies;
  counts.endangered = pass.endangered;
}
