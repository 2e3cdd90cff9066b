// Commits of one turn of the event loop, as one record of the log: many cost little more than one.
//
// They are carried out at the end of the turn (setImmediate: 1 us), in the order in which they came, so that a thousand
// sockets or promises share a record, and a program that awaits one after the other lets timers and sockets have their turn.
import { LIMITS } from '../base/limits.ts';
import type { KeySpace, KeyTransaction } from './key-space.ts';

interface Commit {
  readonly work: (transaction: KeyTransaction) => unknown;
  readonly sync: boolean;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly result: unknown } | { readonly error: unknown };

export class CommitQueue {
  readonly #keys: KeySpace;
  #waiting: Commit[] = [];
  #isRunning = false;
  /** Commits that ever came; and who waits until so many of them are carried out, in order. */
  #added = 0;
  readonly #settling: { readonly upTo: number; readonly resolve: () => void }[] = [];

  constructor(keys: KeySpace) {
    this.#keys = keys;
  }

  /** Resolves with what `work` returned when it is process-proof, with `sync` when it is power-proof. `work` runs once, and must not wait. */
  add<T>(work: (transaction: KeyTransaction) => T, { sync }: { readonly sync: boolean } = { sync: false }): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, sync, resolve, reject });
      this.#added++;
      if (!this.#isRunning) void this.#run();
    });
  }

  /** What came before the call is carried out, or refused; others may go on coming. */
  settled(): Promise<void> {
    if (!this.#isRunning) return Promise.resolve();
    return new Promise((resolve) => { this.#settling.push({ upTo: this.#added, resolve }); });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      try {
        const room = this.#keys.room();
        if (room !== undefined) await room;
        this.#carryOut(this.#waiting.splice(0, LIMITS.commitsPerTurnMax));
      } catch (error) {
        for (const commit of this.#waiting.splice(0)) commit.reject(error);
      }
      const done = this.#added - this.#waiting.length;
      while (this.#settling.length > 0 && this.#settling[0]!.upTo <= done) this.#settling.shift()!.resolve();
    }
    this.#isRunning = false;
  }

  #carryOut(commits: Commit[]): void {
    const outcomes: Outcome[] = [];
    try {
      if (commits.length === 1) outcomes.push({ result: this.#keys.transact(commits[0]!.work) });
      else this.#keys.group(() => this.#attemptAll(commits, outcomes));
    } catch (error) {
      for (const commit of commits) commit.reject(error);
      return;
    }
    // What did not fit into the record comes first in the next.
    this.#waiting.unshift(...commits.splice(outcomes.length));
    const syncing = commits.some((commit, index) => commit.sync && 'result' in outcomes[index]!) ? this.#keys.sync() : undefined;
    commits.forEach((commit, index) => {
      const outcome = outcomes[index]!;
      if ('error' in outcome) commit.reject(outcome.error);
      else if (commit.sync) syncing!.then(() => commit.resolve(outcome.result as never), commit.reject);
      else commit.resolve(outcome.result as never);
    });
  }

  #attemptAll(commits: readonly Commit[], outcomes: Outcome[]): void {
    for (const { work } of commits) {
      if (this.#keys.groupIsFull) return;
      try {
        outcomes.push({ result: this.#keys.transact(work) });
      } catch (error) {
        outcomes.push({ error });
      }
    }
  }
}
