// One connection to the process that has a store open: calls go out at once, answers come in whatever order.
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import { ReplyError, ReplyParser } from '../resp/reply-parser.ts';
import type { Reply } from '../resp/reply-parser.ts';
import { ReplyWriter } from '../resp/reply-writer.ts';
import { PRIVATE_PROTOCOL_VERSION, decodeError } from './private-protocol.ts';

export type Word = Buffer | string | number;

interface Waiting {
  readonly resolve: (answer: Reply) => void;
  readonly reject: (error: Error) => void;
}

/** Answers have at most so many items: those of a page, or of the most changes in one batch. */
const ITEMS_MAX = 256 * 1024;

export class RemoteConnection {
  readonly #socket: Socket;
  readonly #parser = new ReplyParser({ bulkBytesMax: LIMITS.valueBytesMax, itemsMax: ITEMS_MAX });
  readonly #writer = new ReplyWriter();
  readonly #calls = new Map<number, Waiting>();
  /** The answer to the greeting, which has no number. */
  #greeting: Waiting | undefined;
  #lastId = 0;
  #isFlushing = false;
  #error: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  /** StoreError CLOSED when nobody listens there, FOREIGN when they do not understand each other. */
  static async open(path: string): Promise<RemoteConnection> {
    const connection = new RemoteConnection(connect({ path, noDelay: true }));
    const greeting = new Promise<Reply>((resolve, reject) => { connection.#greeting = { resolve, reject }; });
    connection.#send(['SDFS.HELLO', PRIVATE_PROTOCOL_VERSION]);
    const timer = setTimeout(() => connection.#fail(new Error(`no answer within ${LIMITS.controlCallMs} ms`)), LIMITS.controlCallMs);
    try {
      await greeting;
    } catch (cause) {
      connection.end();
      if (cause instanceof ReplyError) throw decodeError(cause.message);
      throw new StoreError('CLOSED', `no process has the store open at ${path}: ${(cause as Error).message}`, { cause });
    } finally {
      clearTimeout(timer);
    }
    return connection;
  }

  get isOpen(): boolean {
    return this.#error === undefined;
  }

  /** The answer of SDFS.<name>. StoreError as the server had it, CLOSED when the connection ends before it. */
  call(name: string, ...words: readonly Word[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#lost());
      const id = ++this.#lastId;
      this.#calls.set(id, { resolve, reject });
      this.#send([`SDFS.${name}`, id, ...words]);
    });
  }

  end(): void {
    this.#fail(new Error('it was closed'));
  }

  /** Calls of one turn go out together. */
  #send(words: readonly Word[]): void {
    this.#writer.array(words.length);
    for (const word of words) this.#writer.bulk(Buffer.isBuffer(word) ? word : Buffer.from(String(word)));
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      if (this.#error !== undefined) return;
      this.#socket.cork();
      for (const piece of this.#writer.take()) this.#socket.write(piece);
      this.#socket.uncork();
    });
  }

  #receive(chunk: Buffer): void {
    try {
      this.#parser.push(chunk);
      for (let reply = this.#parser.next(); reply !== undefined; reply = this.#parser.next()) this.#settle(reply);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #settle(reply: Reply): void {
    const greeting = this.#greeting;
    if (greeting !== undefined) {
      this.#greeting = undefined;
      if (reply instanceof ReplyError) greeting.reject(reply);
      else greeting.resolve(reply);
      return;
    }
    const [id, answer] = Array.isArray(reply) ? (reply as readonly Reply[]) : [];
    const waiting = typeof id === 'number' ? this.#calls.get(id) : undefined;
    if (waiting === undefined) throw new Error(`an answer to nothing that was asked: ${String(reply)}`);
    this.#calls.delete(id as number);
    if (answer instanceof ReplyError) waiting.reject(decodeError(answer.message));
    else waiting.resolve(answer ?? null);
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#socket.destroy();
    this.#greeting?.reject(error);
    const lost = this.#lost();
    for (const { reject } of this.#calls.values()) reject(lost);
    this.#calls.clear();
  }

  #lost(): StoreError {
    return new StoreError('CLOSED', `the process that has the store open is gone, and whether what was asked last was done is not known: ${this.#error!.message}`, { cause: this.#error });
  }
}
