// A client of the Redis protocol for tests: what is sent is under their control to the byte.
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { LIMITS } from '../../src/base/limits.ts';
import { ReplyParser } from '../../src/resp/reply-parser.ts';
import type { Reply } from '../../src/resp/reply-parser.ts';

export class RespClient {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly #parser = new ReplyParser({ bulkBytesMax: LIMITS.valueBytesMax, itemsMax: 1_000_000 });
  readonly #replies: Reply[] = [];
  readonly #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];
  #isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#isClosed = true;
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('the connection was closed'));
        resolve();
      });
    });
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      this.#parser.push(chunk);
      for (let reply = this.#parser.next(); reply !== undefined; reply = this.#parser.next()) {
        const waiting = this.#waiting.shift();
        if (waiting === undefined) this.#replies.push(reply);
        else waiting.resolve(reply);
      }
    });
  }

  /** All that was sent is with the kernel. */
  async drained(): Promise<void> {
    while (this.socket.writableLength > 0) await new Promise((resolve) => { setTimeout(resolve, 5); });
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }

  static async connect(place: { port: number } | { path: string }): Promise<RespClient> {
    const socket = connect('port' in place ? { host: '127.0.0.1', port: place.port } : { path: place.path });
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RespClient(socket);
  }

  send(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** The next reply; an error reply is one too. Rejects when the connection is closed before it. */
  next(): Promise<Reply> {
    if (this.#replies.length > 0) return Promise.resolve(this.#replies.shift()!);
    if (this.#isClosed) return Promise.reject(new Error('the connection was closed'));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  call(...words: (string | number | Buffer)[]): Promise<Reply> {
    this.send(command(...words));
    return this.next();
  }

  /** As redis-cli would show it: text for bulk strings and errors. */
  async show(...words: (string | number | Buffer)[]): Promise<unknown> {
    return shown(await this.call(...words));
  }

  async end(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

export function command(...words: (string | number | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

export function shown(reply: Reply): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString();
  if (reply instanceof Error) return `(error) ${reply.message}`;
  return Array.isArray(reply) ? reply.map(shown) : reply;
}
