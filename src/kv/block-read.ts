// One read of a block: the least loaded copy first, then the other copies, then every other disk; a slow disk is not
// waited for where another may have it, absent disks are waited for, bad copies are reported.
import { FsError } from '../base/errors.ts';
import type { BlockId } from '../base/ids.ts';
import { formatBlockId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockPieces } from '../ipc/messages.ts';
import type { ReadHedge } from './read-hedge.ts';
import { failureOf } from './replication.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface PieceRange {
  readonly id: BlockId;
  readonly firstPiece: number;
  readonly pieceCount: number;
}

/** Why these pieces are not what was put; undefined when they are. Runs on every reply before it is believed. */
export type VerifyPieces = (range: PieceRange, pieces: BlockPieces) => Error | undefined;

/** A copy that is not what was put, or not there. */
export interface BadCopy {
  readonly id: BlockId;
  /** Disk that has it, or should. */
  readonly index: number;
  readonly state: 'damaged' | 'missing';
  readonly cause: Error;
}

export interface ReadContext {
  readonly pool: WorkerPool;
  readonly copies: number;
  readonly hedge: ReadHedge;
  /** A good copy was found after these bad ones. `blockBytes` is the length of the whole block. */
  bad(copies: readonly BadCopy[], blockBytes: number): void;
  /** A disk that should have the block does not; perhaps no disk does. */
  missing(id: BlockId, index: number): void;
  /** A disk did not answer in time, and another one is asked. */
  slow(id: BlockId, index: number): void;
}

export interface ReadOptions {
  /** A disk that is not asked. */
  readonly except?: number;
  /** How long absent disks are waited for when no other has the block. Default LIMITS.workerAbsenceMs. */
  readonly patienceMs?: number;
}

/** Every disk that could have the block was asked, or was absent for too long: FsError EIO. */
export async function readBlock(context: ReadContext, range: PieceRange, verify: VerifyPieces, options: ReadOptions = {}): Promise<BlockPieces> {
  const { pool } = context;
  const patienceMs = options.patienceMs ?? LIMITS.workerAbsenceMs;
  const ranking = pool.rank(range.id);
  /** Disks that have not said what they have, best first. */
  let left = options.except === undefined ? ranking : ranking.filter((index) => index !== options.except);
  let bad: BadCopy[] | undefined;
  let lastError: unknown;
  let deadlineMs = 0;
  const questions = new Questions(context, range, () => choose(context, left.filter((index) => !questions.isAsked(index)), ranking, range.id));
  for (;;) {
    if (questions.open === 0) {
      const index = choose(context, left, ranking, range.id);
      if (index === undefined || deadlineMs !== 0) {
        const now = performance.now();
        if (deadlineMs === 0) deadlineMs = now + patienceMs;
        const hopeful = left.filter((absent) => pool.link(absent).state.kind !== 'closed');
        if (hopeful.length === 0 || now >= deadlineMs) throw unreadable(range, left.length, bad, lastError);
        if (index === undefined) {
          await pool.anyReady(hopeful, deadlineMs - now);
          continue;
        }
      }
      questions.ask(index);
    }
    const { index, pieces, error } = await questions.nextAnswer();
    const damage = pieces === undefined ? error : verify(range, pieces);
    if (pieces !== undefined && damage === undefined) {
      if (bad !== undefined) context.bad(bad, pieces.blockBytes);
      return pieces;
    }
    lastError = damage;
    const failure = pieces === undefined ? failureOf(error) : 'damaged';
    if (failure === 'absent') {
      // It stays in the running: asked again when it is back, until the time is up.
      if (deadlineMs === 0) deadlineMs = performance.now() + patienceMs;
      continue;
    }
    if (failure !== 'missing') {
      (bad ??= []).push({ id: range.id, index, state: 'damaged', cause: damage as Error });
    } else if (ranking.indexOf(index) < context.copies) {
      context.missing(range.id, index);
      (bad ??= []).push({ id: range.id, index, state: 'missing', cause: damage as Error });
    }
    left = left.filter((other) => other !== index);
  }
}

interface Answer {
  readonly index: number;
  readonly pieces: BlockPieces | undefined;
  readonly error: unknown;
}

/** The disks that one read has asked: one, and another one when that is slow. Answers are taken as they come. */
class Questions {
  readonly #context: ReadContext;
  readonly #range: PieceRange;
  readonly #other: () => number | undefined;
  readonly #asked: number[] = [];
  #answers: Answer[] = [];
  #taken: ((answer: Answer) => void) | undefined;
  #hedged = false;

  constructor(context: ReadContext, range: PieceRange, other: () => number | undefined) {
    this.#context = context;
    this.#range = range;
    this.#other = other;
  }

  /** Questions whose answers were not taken yet. */
  get open(): number {
    return this.#asked.length;
  }

  isAsked(index: number): boolean {
    return this.#asked.includes(index);
  }

  ask(index: number): void {
    this.#asked.push(index);
    const { hedge, pool } = this.#context;
    const watched = hedge.begin(index, () => this.#onSlow(index));
    const answered = (pieces: BlockPieces | undefined, error: unknown): void => {
      hedge.end(watched);
      this.#answered({ index, pieces, error });
    };
    pool.link(index).request('getBlock', this.#range, { absenceMs: 0 }).then((pieces) => answered(pieces, undefined), (error: unknown) => answered(undefined, error));
  }

  nextAnswer(): Promise<Answer> {
    return new Promise((resolve) => {
      const answer = this.#answers.shift();
      if (answer === undefined) this.#taken = resolve;
      else this.#take(answer, resolve);
    });
  }

  #answered(answer: Answer): void {
    const resolve = this.#taken;
    this.#taken = undefined;
    if (resolve === undefined) this.#answers.push(answer);
    else this.#take(answer, resolve);
  }

  #take(answer: Answer, resolve: (answer: Answer) => void): void {
    this.#asked.splice(this.#asked.indexOf(answer.index), 1);
    resolve(answer);
  }

  #onSlow(index: number): void {
    // Nobody waits any more when another answer came first.
    if (this.#taken === undefined || this.#hedged) return;
    const other = this.#other();
    if (other === undefined || !this.#context.hedge.take()) return;
    this.#hedged = true;
    this.#context.slow(this.#range.id, index);
    this.ask(other);
  }
}

/** How much a read that a disk owes for too long counts as load. */
const OVERDUE_LOAD = 1000;

/** Among the R disks where copies belong the least loaded, ties spread by the id; then the best of the others. */
function choose({ pool, hedge, copies }: ReadContext, left: readonly number[], ranking: readonly number[], id: BlockId): number | undefined {
  let best: number | undefined;
  let bestLoad = Infinity;
  const count = Math.min(copies, ranking.length);
  for (let offset = 0; offset < count; offset++) {
    const index = ranking[(id.lo + offset) % count]!;
    const link = pool.link(index);
    const load = link.load + OVERDUE_LOAD * hedge.overdue(index);
    if (link.isReady && load < bestLoad && left.includes(index)) {
      best = index;
      bestLoad = load;
    }
  }
  return best ?? left.find((index) => pool.link(index).isReady);
}

function unreadable(range: PieceRange, absent: number, bad: readonly BadCopy[] | undefined, cause: unknown): FsError {
  const damaged = bad?.filter(({ state }) => state === 'damaged').length ?? 0;
  return new FsError('EIO', `block ${formatBlockId(range.id)}: no disk has a good copy (${damaged} damaged copies, ${absent} disks absent)`, { cause });
}
