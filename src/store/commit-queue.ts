// Commits of one turn of the event loop, as one record of the log: many cost little more than one.
//
// They are carried out at the end of the turn (setImmediate: 1 us), in the order in which they came, so that a thousand
// sockets or promises share a record, and a program that awaits one after the other lets timers and sockets have their turn.
import { LIMITS } from '../base/limits.ts';
import type { KeySpace, KeyTransaction } from '../keys/key-space.ts';

interface Commit {
  readonly work: (transaction: KeyTransaction) => unknown;
  /** Roughly what it takes in the log. */
  readonly bytes: number;
  readonly sync: boolean;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly result: unknown } | { readonly error: unknown };

export class CommitQueue {
  readonly #keys: KeySpace;
  #waiting: Commit[] = [];
  /** Carrying out what waits; resolves when nothing does any more. */
  #running: Promise<void> | undefined;

  constructor(keys: KeySpace) {
    this.#keys = keys;
  }

  /** Resolves with what `work` returned when it is process-proof, with `sync` when it is power-proof. `work` runs once, and must not wait. */
  add<T>(work: (transaction: KeyTransaction) => T, { bytes, sync }: { readonly bytes: number; readonly sync: boolean }): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, bytes, sync, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Nothing waits to be carried out any more. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const room = this.#keys.room();
      try {
        if (room !== undefined) await room;
        this.#carryOut(this.#takeGroup());
      } catch (error) {
        for (const commit of this.#waiting.splice(0)) commit.reject(error);
      }
    }
    this.#running = undefined;
  }

  /** The first ones, up to what fits in a record and in a turn. */
  #takeGroup(): Commit[] {
    let count = 0;
    let bytes = 0;
    for (const commit of this.#waiting) {
      bytes += commit.bytes;
      if (count > 0 && (bytes > LIMITS.batchBytesMax || count >= LIMITS.commitsPerTurnMax)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #carryOut(commits: readonly Commit[]): void {
    const outcomes: Outcome[] = [];
    try {
      if (commits.length === 1) outcomes.push({ result: this.#keys.transact(commits[0]!.work) });
      else this.#keys.group(() => { for (const commit of commits) outcomes.push(this.#attempt(commit)); });
    } catch (error) {
      for (const commit of commits) commit.reject(error);
      return;
    }
    const syncing = commits.some((commit, index) => commit.sync && 'result' in outcomes[index]!) ? this.#keys.sync() : undefined;
    commits.forEach((commit, index) => {
      const outcome = outcomes[index]!;
      if ('error' in outcome) commit.reject(outcome.error);
      else if (commit.sync) syncing!.then(() => commit.resolve(outcome.result as never), commit.reject);
      else commit.resolve(outcome.result as never);
    });
  }

  #attempt(commit: Commit): Outcome {
    try {
      return { result: this.#keys.transact(commit.work) };
    } catch (error) {
      return { error };
    }
  }
}
