// Values that a client sends ahead in pieces: gathered by number, each handed to the backend as a stream.
//
// While one is on its way nothing that no row names is collected, since its blocks are such: so it has a time limit. What
// is dropped then keeps its number until the client discards it, lest the rest of it be taken for a value of its own.
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import type { StagedValue, StoreBackend } from './backend.ts';

interface Stage {
  readonly feed: Feed;
  readonly timer: NodeJS.Timeout;
  /** Rejected when it was dropped. */
  value: Promise<StagedValue>;
}

export class Staging {
  readonly #backend: StoreBackend;
  readonly #stages = new Map<number, Stage>();

  constructor(backend: StoreBackend) {
    this.#backend = backend;
  }

  /** Resolves when the piece is taken, so that a client that waits for that sends no faster than the shards take it. */
  async add(id: number, piece: Buffer): Promise<void> {
    const stage = this.#stages.get(id) ?? this.#begin(id);
    await Promise.race([stage.feed.push(piece), stage.value]);
  }

  /** Its length, when all of it is where it is to lie. */
  async finish(id: number): Promise<number> {
    const stage = this.#stages.get(id) ?? this.#begin(id);
    stage.feed.end();
    return (await stage.value).bytes;
  }

  /** To be committed: it is the backend's from now on. StoreError TIMEOUT for one that came too late. */
  async take(id: number): Promise<StagedValue> {
    const stage = this.#stages.get(id);
    if (stage === undefined) throw new StoreError('INVALID', `there is no staged value ${id}`);
    const value = await stage.value;
    this.#forget(id, stage);
    return value;
  }

  discard(id: number): void {
    const stage = this.#stages.get(id);
    if (stage === undefined) return;
    this.#forget(id, stage);
    this.#drop(stage, new StoreError('CLOSED', 'the value is not wanted any more'));
  }

  close(): void {
    for (const id of [...this.#stages.keys()]) this.discard(id);
  }

  #begin(id: number): Stage {
    if (this.#stages.size >= LIMITS.stagedValuesMax) throw new StoreError('BUSY', `${this.#stages.size} values are on their way over this connection: no more may be before one of them is set`);
    const feed = new Feed();
    const value = this.#backend.stage(feed);
    // Whoever asks for it is told.
    value.catch(() => {});
    const timer = setTimeout(() => this.#drop(stage, tooLate()), LIMITS.stagedValueMs).unref();
    const stage: Stage = { feed, value, timer };
    this.#stages.set(id, stage);
    return stage;
  }

  #drop(stage: Stage, error: StoreError): void {
    const { value, feed } = stage;
    stage.value = Promise.reject(error);
    stage.value.catch(() => {});
    feed.fail(error);
    value.then((made) => this.#backend.discard(made), () => {});
  }

  #forget(id: number, { timer }: Stage): void {
    clearTimeout(timer);
    this.#stages.delete(id);
  }
}

function tooLate(): StoreError {
  return new StoreError('TIMEOUT', `the value was not sent and set within ${LIMITS.stagedValueMs / 1000} s of its first piece: it was dropped, and nothing of the change is done`);
}

/** A stream that one side pushes and the other pulls; a push is over when its piece is pulled. */
class Feed implements AsyncIterable<Buffer> {
  #pieces: { readonly piece: Buffer; readonly taken: () => void }[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  /** One that failed takes nothing any more. */
  push(piece: Buffer): Promise<void> {
    if (this.#end?.error !== undefined) return Promise.reject(this.#end.error);
    return new Promise((taken) => {
      this.#pieces.push({ piece, taken });
      this.#wake();
    });
  }

  end(): void {
    this.#end ??= { error: undefined };
    this.#wake();
  }

  fail(error: Error): void {
    this.#end = { error };
    this.#pieces = [];
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      if (this.#end?.error !== undefined) throw this.#end.error;
      const next = this.#pieces.shift();
      if (next !== undefined) {
        next.taken();
        yield next.piece;
      } else if (this.#end !== undefined) return;
      else await new Promise<void>((resolve) => { this.#wake = resolve; });
    }
  }
}
