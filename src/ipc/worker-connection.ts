// The driver's end of the channel to one worker: requests out, promises of replies back, every wait bounded.
import { ChannelClosedError, FormatError, TimeoutError } from '../base/errors.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { ERRNO, SystemCallError } from '../os/libc.ts';
import type { FrameHeader } from './codec.ts';
import { decodeError, decodeReply, encodeRequest } from './codec.ts';
import { FrameSocket, frameWriter } from './frame-socket.ts';
import type { MessageName, ReplyOf, RequestOf } from './messages.ts';
import { WorkerError } from './messages.ts';
import { connectUnix } from './unix-socket.ts';

const RETRY_MS = 10;
/** What connect(2) says while the worker starts: no socket yet, nobody listens yet, too many wait to be accepted. */
const NOT_YET: readonly number[] = [ERRNO.ENOENT, ERRNO.ECONNREFUSED, ERRNO.EAGAIN];

/** One request from the call until its promise is settled. */
interface Pending {
  readonly name: MessageName;
  readonly request: RequestOf<MessageName>;
  readonly resolve: (reply: never) => void;
  readonly reject: (error: Error) => void;
  readonly timeoutMs: number;
  readonly deadline: number;
  bodyBytes: number;
}

export interface ConnectOptions {
  /** How long to wait for a worker that does not listen yet. */
  readonly timeoutMs: number;
}

export class WorkerConnection {
  readonly #path: string;
  readonly #socket: FrameSocket;
  readonly #closeListeners: ((cause: Error) => void)[] = [];
  #closeCause: Error | undefined;
  #epoch = 0 as DriverEpoch;
  #nextId = 1;
  /** Sent and not answered, by request id. */
  readonly #inFlight = new Map<number, Pending>();
  #inFlightBytes = 0;
  /** Not sent yet, in order: the worker has enough to do. */
  #waiting: Pending[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#socket = new FrameSocket(fd, {
      about: `the worker at ${path}`,
      onFrame: (header, head, body) => this.#onReply(header, head, body),
      onClose: (cause) => this.#onClose(cause),
    });
  }

  /** Throws TimeoutError when nobody listens at `path` in time, SystemCallError when it cannot be tried. */
  static async connect(path: string, options: ConnectOptions): Promise<WorkerConnection> {
    const deadline = performance.now() + options.timeoutMs;
    for (;;) {
      try {
        return new WorkerConnection(path, connectUnix(path));
      } catch (error) {
        if (!(error instanceof SystemCallError) || !NOT_YET.includes(error.errno)) throw error;
        if (performance.now() + RETRY_MS > deadline) throw new TimeoutError(`a worker that listens at ${path}`, options.timeoutMs, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** True until the channel failed or was closed. */
  get isOpen(): boolean {
    return this.#closeCause === undefined;
  }
  /** Requests that are not answered yet, sent or not. */
  get pendingCount(): number {
    return this.#inFlight.size + this.#waiting.length;
  }

  /** Called once when the channel ends, with the reason; at once when it has. */
  onClose(listener: (cause: Error) => void): void {
    if (this.#closeCause === undefined) this.#closeListeners.push(listener);
    else listener(this.#closeCause);
  }

  /**
   * Sends a request; requests take effect in the order of the calls. Rejects with WorkerError (the worker refused),
   * TimeoutError (no answer; whether it was done is not known), ChannelClosedError, or RangeError (larger than a
   * frame). The Buffers of the request must not change before the promise settles.
   */
  request<M extends MessageName>(name: M, request: RequestOf<M>, options: { readonly timeoutMs?: number } = {}): Promise<ReplyOf<M>> {
    return new Promise<ReplyOf<M>>((resolve, reject) => {
      if (this.#closeCause !== undefined) return reject(this.#closedError(name));
      if (this.#waiting.length >= LIMITS.workerQueueMax) return reject(new WorkerError('internal', `${LIMITS.workerQueueMax} requests wait for the worker at ${this.#path} already`));
      if (name === 'hello') this.#epoch = (request as RequestOf<'hello'>).epoch;
      const timeoutMs = options.timeoutMs ?? LIMITS.workerTimeoutMs;
      const pending: Pending = { name, request, resolve, reject, timeoutMs, deadline: performance.now() + timeoutMs, bodyBytes: 0 };
      this.#armTimer(pending.deadline);
      if (this.#waiting.length > 0 || !this.#maySend()) this.#waiting.push(pending);
      else this.#send(pending);
    });
  }

  /** Takes replies that have come, without waiting; true when there was something. Their promises settle in the next microtasks. */
  poll(): boolean {
    return this.#socket.poll();
  }

  /** Ends the channel; what is pending fails with ChannelClosedError. */
  close(): void {
    if (this.#closeCause !== undefined) return;
    this.#socket.close();
    this.#onClose(new ChannelClosedError(`the connection to the worker at ${this.#path} was closed on this side`));
  }

  #maySend(): boolean {
    return this.#inFlight.size < LIMITS.workerRequestsMax && this.#inFlightBytes < LIMITS.channelBytesMax;
  }

  #send(pending: Pending): void {
    const id = this.#takeId();
    try {
      const frame = encodeRequest(frameWriter, { name: pending.name, id, epoch: this.#epoch }, pending.request);
      pending.bodyBytes = frame.bodyBytes;
      this.#inFlightBytes += frame.bodyBytes;
      this.#inFlight.set(id, pending);
      this.#socket.send(frame);
    } catch (error) {
      this.#forget(id, pending);
      pending.reject(error as Error);
    }
  }

  #takeId(): number {
    do {
      this.#nextId = (this.#nextId + 1) >>> 0;
    } while (this.#inFlight.has(this.#nextId));
    return this.#nextId;
  }

  #forget(id: number, pending: Pending): void {
    if (this.#inFlight.delete(id)) this.#inFlightBytes -= pending.bodyBytes;
  }

  #onReply(header: FrameHeader, head: Buffer, body: Buffer): void {
    const pending = this.#inFlight.get(header.id);
    // A reply that comes after its time ran out.
    if (pending === undefined) return;
    if (header.kind === 'request' || header.name !== pending.name) {
      throw new FormatError('frame', { wanted: `a reply to ${pending.name}`, found: `a ${header.kind} of ${header.name}` });
    }
    this.#forget(header.id, pending);
    if (header.kind === 'error') {
      pending.reject(decodeError(header.name, head));
    } else {
      try {
        pending.resolve(decodeReply(header.name, head, body) as never);
      } catch (error) {
        pending.reject(error as Error);
        throw error;
      }
    }
    if (this.#waiting.length > 0) this.#sendWaiting();
  }

  #sendWaiting(): void {
    let count = 0;
    while (count < this.#waiting.length && this.#maySend()) this.#send(this.#waiting[count++]!);
    this.#waiting.splice(0, count);
  }

  #onClose(cause: Error): void {
    this.#closeCause = cause;
    clearTimeout(this.#timer);
    const pending = [...this.#inFlight.values(), ...this.#waiting];
    this.#inFlight.clear();
    this.#waiting = [];
    for (const { name, reject } of pending) reject(this.#closedError(name));
    for (const listener of this.#closeListeners) listener(cause);
  }

  #closedError(name: MessageName): ChannelClosedError {
    return new ChannelClosedError(`${name} to the worker at ${this.#path}: the channel ended`, { cause: this.#closeCause });
  }

  #armTimer(deadline: number): void {
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(() => this.#expire(), Math.max(1, deadline - performance.now()));
    this.#timer.unref();
  }

  #expire(): void {
    this.#timerAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    const isOver = (pending: Pending): boolean => {
      if (pending.deadline > now) {
        next = Math.min(next, pending.deadline);
        return false;
      }
      pending.reject(new TimeoutError(`${pending.name} to the worker at ${this.#path}`, pending.timeoutMs));
      return true;
    };
    for (const [id, pending] of this.#inFlight) if (isOver(pending)) this.#forget(id, pending);
    this.#waiting = this.#waiting.filter((pending) => !isOver(pending));
    if (next < Infinity) this.#armTimer(next);
    this.#sendWaiting();
  }
}
