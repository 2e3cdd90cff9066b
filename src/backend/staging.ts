// Values that a client sends ahead in pieces: gathered by number, each handed to the backend as a stream.
import { StoreError } from '../keys/errors.ts';
import type { StagedValue, StoreBackend } from './backend.ts';

interface Stage {
  readonly feed: Feed;
  readonly value: Promise<StagedValue>;
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

  /** To be committed: it is the backend's from now on. */
  async take(id: number): Promise<StagedValue> {
    const stage = this.#stages.get(id);
    if (stage === undefined) throw new StoreError('INVALID', `there is no staged value ${id}`);
    const value = await stage.value;
    this.#stages.delete(id);
    return value;
  }

  discard(id: number): void {
    const stage = this.#stages.get(id);
    if (stage === undefined) return;
    this.#stages.delete(id);
    stage.feed.fail(new StoreError('CLOSED', 'the value is not wanted any more'));
    stage.value.then((value) => this.#backend.discard(value), () => {});
  }

  close(): void {
    for (const id of [...this.#stages.keys()]) this.discard(id);
  }

  #begin(id: number): Stage {
    const feed = new Feed();
    const value = this.#backend.stage(feed);
    // Whoever asks for it is told.
    value.catch(() => {});
    const stage = { feed, value };
    this.#stages.set(id, stage);
    return stage;
  }
}

/** A stream that one side pushes and the other pulls; a push is over when its piece is pulled. */
class Feed implements AsyncIterable<Buffer> {
  readonly #pieces: { readonly piece: Buffer; readonly taken: () => void }[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  push(piece: Buffer): Promise<void> {
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
