// The worker's end of the channel: accepts drivers, lets the newest epoch win, answers each request exactly once.
import fs from 'node:fs';
import { AssertionError } from '../base/assert.ts';
import { ChannelClosedError, FormatError } from '../base/errors.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { LogSeries } from '../base/log-series.ts';
import { Poller, READABLE } from '../os/poller.ts';
import type { FrameHeader } from './codec.ts';
import { decodeRequest, encodeError, encodeReply } from './codec.ts';
import { FrameSocket, frameWriter } from './frame-socket.ts';
import type { MessageName, ReplyOf, RequestOf } from './messages.ts';
import { WorkerError } from './messages.ts';
import { acceptUnix, listenUnix } from './unix-socket.ts';

/**
 * One handler a message. Called in the order in which requests came; returns the reply or a promise of it, throws
 * WorkerError to refuse. Buffers of a request are valid until the handler returns: what is needed later is copied.
 * Those of a reply are sent, or copied, in the microtask in which it is there, and may be used again then.
 */
export type WorkerHandlers = { readonly [M in MessageName]: (request: RequestOf<M>) => ReplyOf<M> | Promise<ReplyOf<M>> };

export interface WorkerServerOptions {
  /** Path of the UNIX socket. */
  readonly path: string;
  readonly handlers: WorkerHandlers;
  readonly log: Logger;
  /** Newest driver epoch that this disk has seen: older drivers are refused. */
  readonly epoch?: DriverEpoch;
  /** A newer driver than any before was admitted. */
  readonly onEpoch?: (epoch: DriverEpoch) => void;
  /** A request was answered with this error. */
  readonly onRefused?: (name: MessageName, error: unknown) => void;
  /** The last connection ended. */
  readonly onIdle?: () => void;
}

export class WorkerServer {
  readonly #options: WorkerServerOptions;
  readonly #listener: number;
  readonly #poller: Poller;
  readonly #connections = new Set<Connection>();
  readonly #series: LogSeries;
  #epoch: DriverEpoch;
  #closed = false;

  constructor(options: WorkerServerOptions) {
    this.#options = options;
    this.#series = new LogSeries(options.log);
    this.#epoch = options.epoch ?? (0 as DriverEpoch);
    this.#listener = listenUnix(options.path);
    this.#poller = new Poller(this.#listener, () => this.#accept());
    this.#poller.watch(READABLE);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Stops listening, ends all connections, removes the socket file. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poller.close();
    fs.closeSync(this.#listener);
    fs.rmSync(this.#options.path, { force: true });
    for (const connection of [...this.#connections]) connection.close();
    this.#connections.clear();
  }

  #accept(): void {
    for (;;) {
      const fd = acceptUnix(this.#listener);
      if (fd === undefined) return;
      this.#connections.add(new Connection(fd, this.#options.handlers, {
        admit: (connection, epoch) => this.#admit(connection, epoch),
        series: this.#series,
        refused: this.#options.onRefused,
        onClose: (connection, cause) => this.#onClose(connection, cause),
      }));
    }
  }

  #admit(admitted: Connection, epoch: DriverEpoch): void {
    if (epoch < this.#epoch) throw new WorkerError('staleEpoch', `driver epoch ${epoch} is over; the newest is ${this.#epoch}`);
    if (epoch > this.#epoch) {
      this.#epoch = epoch;
      this.#options.onEpoch?.(epoch);
    }
    // Also one of the same driver: it gave that channel up, and what lies in it still must not be done after what comes now.
    for (const connection of [...this.#connections]) {
      if (connection === admitted || connection.epoch === undefined) continue;
      this.#options.log.info({ epoch: connection.epoch, by: epoch }, 'an older channel is cut off');
      connection.close();
      this.#connections.delete(connection);
    }
  }

  #onClose(connection: Connection, cause: Error): void {
    this.#connections.delete(connection);
    if (cause instanceof ChannelClosedError) this.#options.log.debug({ err: cause }, 'a driver connection ended');
    else this.#options.log.error({ err: cause }, 'a driver connection is closed because of what came over it');
    if (this.#connections.size === 0) this.#options.onIdle?.();
  }
}

interface ConnectionHooks {
  /** Throws WorkerError when a driver of that epoch is not welcome. */
  readonly admit: (connection: Connection, epoch: DriverEpoch) => void;
  readonly series: LogSeries;
  readonly refused: ((name: MessageName, error: unknown) => void) | undefined;
  readonly onClose: (connection: Connection, cause: Error) => void;
}

class Connection {
  readonly #socket: FrameSocket;
  readonly #handlers: WorkerHandlers;
  readonly #hooks: ConnectionHooks;
  /** Of the hello that was accepted. */
  epoch: DriverEpoch | undefined;
  /** Requests whose handlers are not done. */
  #open = 0;
  /** Used for one request after the other. */
  #body = Buffer.alloc(0);

  constructor(fd: number, handlers: WorkerHandlers, hooks: ConnectionHooks) {
    this.#handlers = handlers;
    this.#hooks = hooks;
    this.#socket = new FrameSocket(fd, {
      about: 'the driver',
      bodyBuffer: (bytes) => this.#bodyBuffer(bytes),
      onFrame: (header, head, body) => this.#onRequest(header, head, body),
      onClose: (cause) => hooks.onClose(this, cause),
      onDrain: () => this.#throttle(),
    });
  }

  close(): void {
    this.#socket.close();
  }

  #bodyBuffer(bytes: number): Buffer {
    if (this.#body.length < bytes) this.#body = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(2 * this.#body.length, LIMITS.frameBodyBytesMax)));
    return this.#body.subarray(0, bytes);
  }

  #onRequest(header: FrameHeader, head: Buffer, body: Buffer): void {
    if (header.kind !== 'request') throw new FormatError('frame', { wanted: 'a request', found: `a ${header.kind} to ${header.name}` });
    const request = decodeRequest(header.name, head, body);
    let reply: ReplyOf<MessageName> | Promise<ReplyOf<MessageName>>;
    this.#open++;
    try {
      if (header.name !== 'hello') this.#checkEpoch(header.epoch);
      reply = (this.#handlers[header.name] as (request: unknown) => typeof reply)(request);
      if (header.name === 'hello') reply = this.#greet(request as RequestOf<'hello'>, reply);
    } catch (error) {
      this.#refuse(header, error);
      return;
    }
    if (reply instanceof Promise) {
      reply.then((value) => this.#answer(header, value), (error: unknown) => this.#refuse(header, error));
      this.#throttle();
    } else {
      this.#answer(header, reply);
    }
  }

  /** After the handler, so that a driver of another volume does not cut off the right one; with its answer, so that nobody comes between. */
  #greet({ epoch }: RequestOf<'hello'>, reply: ReplyOf<MessageName> | Promise<ReplyOf<MessageName>>): typeof reply {
    const greet = (value: ReplyOf<MessageName>): ReplyOf<MessageName> => {
      this.#hooks.admit(this, epoch);
      this.epoch = epoch;
      return value;
    };
    return reply instanceof Promise ? reply.then(greet) : greet(reply);
  }

  #checkEpoch(epoch: DriverEpoch): void {
    if (epoch === this.epoch) return;
    throw new WorkerError('badRequest', this.epoch === undefined ? 'hello comes first' : `this connection is of driver epoch ${this.epoch}, the request of ${epoch}`);
  }

  #answer(header: FrameHeader, reply: ReplyOf<MessageName>): void {
    this.#open--;
    this.#socket.send(encodeReply(frameWriter, header, reply as never), { reused: true });
    this.#throttle();
  }

  #refuse(header: FrameHeader, error: unknown): void {
    this.#open--;
    let refusal: WorkerError;
    if (error instanceof WorkerError) {
      refusal = error;
    } else {
      this.#hooks.series.say(header.name, 'error', { err: error, request: header.name }, 'a request failed for no foreseen reason');
      refusal = new WorkerError('internal', String(error));
    }
    this.#socket.send(encodeError(frameWriter, header, refusal));
    this.#hooks.refused?.(header.name, error);
    this.#throttle();
    // A broken invariant ends the process: what it would do next cannot be trusted.
    if (error instanceof AssertionError) setImmediate(() => { throw error; });
  }

  /** A driver that sends without limit, or does not take its answers, waits in its socket. */
  #throttle(): void {
    this.#socket.reading = this.#open < LIMITS.workerRequestsMax && this.#socket.queuedBytes < LIMITS.channelBytesMax;
  }
}
