// One connected socket that carries frames both ways, in Node's event loop. Neither requests nor replies: frames.
//
// Bare descriptors instead of node:net, measured between two processes: 1 MiB frames at 6-7 GB/s against 3-4, since
// a body goes from the socket straight into its own Buffer; the same 52 us for a round trip that wakes a sleeping
// loop, and 14-26 us where the asker polls.
import fs from 'node:fs';
import { ChannelClosedError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { addressOf, errno, ERRNO, recv, send, SystemCallError, writev } from '../os/libc.ts';
import { Poller, READABLE, WRITABLE } from '../os/poller.ts';
import { ByteWriter } from './bytes.ts';
import type { EncodedFrame, FrameHeader } from './codec.ts';
import { decodeHeader, FRAME_HEADER_BYTES } from './codec.ts';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bodies up to this size are joined with their head: cheaper than a vector. */
const JOIN_BYTES = 16 * 1024;
/** Asked for in one recv while it is not known what comes: the head and a small body. */
const READ_BYTES = 32 * 1024;
const BUFFER_BYTES = FRAME_HEADER_BYTES + LIMITS.frameHeadBytesMax + READ_BYTES;
const VECTOR_MAX = 256;
const EMPTY = Buffer.alloc(0);

/** Where the next frame of this process is encoded. Shared by all sockets: `send` copies what it cannot send at once. */
export const frameWriter = new ByteWriter(Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + LIMITS.frameHeadBytesMax + JOIN_BYTES));
const vector = Buffer.alloc(16 * VECTOR_MAX);

export interface FrameSocketOptions {
  /** The other end, for messages to people. */
  readonly about: string;
  /** Where the body of an incoming frame goes; by default a Buffer of its own. */
  readonly bodyBuffer?: ((bytes: number) => Buffer) | undefined;
  /** `head` is valid until it returns. What it throws closes the socket. */
  readonly onFrame: (header: FrameHeader, head: Buffer, body: Buffer) => void;
  /** Once, when the socket ended by itself; not after `close`. */
  readonly onClose: (cause: Error) => void;
  /** All that had to wait was sent. */
  readonly onDrain?: (() => void) | undefined;
}

export class FrameSocket {
  readonly #fd: number;
  readonly #options: FrameSocketOptions;
  readonly #poller: Poller;
  #open = true;
  #reading = true;
  #watched = 0;
  /** What could not be sent yet, in order. The pieces belong to the senders' messages and must not change. */
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Received and not yet delivered: #start … #end. While a body is coming in, header and head of its frame. */
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #start = 0;
  #end = 0;
  #header: FrameHeader | undefined;
  #body: Buffer | undefined;
  #bodyHave = 0;

  /** Takes over the connected, non-blocking descriptor. */
  constructor(fd: number, options: FrameSocketOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#poller = new Poller(fd, (event) => this.#onEvent(event));
    this.#watch();
  }

  get isOpen(): boolean {
    return this.#open;
  }
  /** Bytes that wait for the other end to read. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** While false nothing is received, so that a sender that is too fast is made to wait. */
  set reading(value: boolean) {
    this.#reading = value;
    this.#watch();
  }

  /** Receives what is there without waiting. True when something came. For a loop that is busy anyway. */
  poll(): boolean {
    if (!this.#open || !this.#reading) return false;
    try {
      return this.#receive();
    } catch (error) {
      this.#fail(error as Error);
      return true;
    }
  }

  /**
   * Sends a frame that was encoded into `frameWriter`. Pieces of its body must not change before it is sent, unless
   * they are said to be `reused`: then what cannot be sent at once is copied.
   */
  send(frame: EncodedFrame, body: { readonly reused: boolean } = { reused: false }): void {
    if (!this.#open) return;
    const { bytes } = frameWriter;
    const joined = frame.bodyBytes <= JOIN_BYTES;
    let headBytes = frame.headBytes;
    if (joined) {
      for (const piece of frame.body) {
        bytes.set(piece, headBytes);
        headBytes += piece.length;
      }
    }
    let sent = 0;
    if (this.#queue.length === 0) {
      sent = joined ? send(this.#fd, bytes, headBytes, MSG_DONTWAIT | MSG_NOSIGNAL) : this.#sendVector(bytes.subarray(0, headBytes), frame.body);
      if (sent === headBytes + (joined ? 0 : frame.bodyBytes)) return;
      if (sent < 0) {
        if (!this.#retryLater()) return;
        sent = 0;
      }
    }
    this.#enqueue(Buffer.from(bytes.subarray(Math.min(sent, headBytes), headBytes)), 0);
    if (!joined) {
      let skip = Math.max(0, sent - headBytes);
      for (const piece of frame.body) {
        if (body.reused) this.#enqueue(Buffer.from(piece.subarray(Math.min(skip, piece.length))), 0);
        else this.#enqueue(piece, Math.min(skip, piece.length));
        skip -= Math.min(skip, piece.length);
      }
    }
    this.#watch();
  }

  /** Ends it at once; what was not sent is lost. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#queue = [];
    this.#poller.close();
    fs.closeSync(this.#fd);
  }

  #fail(cause: Error): void {
    if (!this.#open) return;
    this.close();
    this.#options.onClose(cause);
  }

  #watch(): void {
    if (!this.#open) return;
    const wanted = (this.#reading ? READABLE : 0) | (this.#queue.length > 0 ? WRITABLE : 0);
    if (wanted === this.#watched) return;
    this.#watched = wanted;
    if (wanted === 0) this.#poller.stop();
    else this.#poller.watch(wanted);
  }

  #onEvent(event: { status: number; events: number }): void {
    try {
      if (event.status < 0) throw new SystemCallError('poll', this.#options.about, -event.status);
      if ((event.events & WRITABLE) !== 0) this.#flush();
      if ((event.events & READABLE) !== 0 && this.#reading && this.#open) this.#receive();
    } catch (error) {
      this.#fail(error as Error);
    }
    // Promises settled here go on only when the loop enters JavaScript the ordinary way.
    setImmediate(noop);
  }

  #sendVector(head: Uint8Array, body: readonly Uint8Array[]): number {
    let count = 0;
    const add = (piece: Uint8Array): void => {
      if (piece.length === 0) return;
      vector.writeBigUInt64LE(addressOf(piece), 16 * count);
      vector.writeBigUInt64LE(BigInt(piece.length), 16 * count + 8);
      count++;
    };
    add(head);
    for (let index = 0; index < body.length && count < VECTOR_MAX; index++) add(body[index]!);
    return writev(this.#fd, vector, count);
  }

  /** After a failed send: whether it may be tried again. */
  #retryLater(): boolean {
    const number = errno();
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR) return true;
    this.#fail(new ChannelClosedError(`${this.#options.about} is gone`, { cause: new SystemCallError('send', this.#options.about, number) }));
    return false;
  }

  #enqueue(piece: Uint8Array, skip: number): void {
    if (piece.length === skip) return;
    this.#queue.push(skip === 0 ? piece : piece.subarray(skip));
    this.#queuedBytes += piece.length - skip;
  }

  #flush(): void {
    while (this.#queue.length > 0) {
      const sent = this.#sendVector(EMPTY, this.#queue);
      if (sent < 0) {
        this.#retryLater();
        return;
      }
      this.#queuedBytes -= sent;
      let done = 0;
      let left = sent;
      while (done < this.#queue.length && left >= this.#queue[done]!.length) left -= this.#queue[done++]!.length;
      this.#queue.splice(0, done);
      if (left > 0) this.#queue[0] = this.#queue[0]!.subarray(left);
    }
    this.#watch();
    this.#options.onDrain?.();
  }

  #receive(): boolean {
    let total = 0;
    while (this.#open && this.#reading && total < LIMITS.channelTurnBytes) {
      const body = this.#body;
      const target = body === undefined ? this.#buffer.subarray(this.#end, this.#readEnd()) : body.subarray(this.#bodyHave);
      const count = recv(this.#fd, target, target.length, MSG_DONTWAIT);
      if (count < 0) {
        const number = errno();
        if (number === ERRNO.EINTR) continue;
        if (number === ERRNO.EAGAIN) break;
        throw new ChannelClosedError(`${this.#options.about} is gone`, { cause: new SystemCallError('recv', this.#options.about, number) });
      }
      if (count === 0) throw new ChannelClosedError(`${this.#options.about} closed the connection`);
      total += count;
      if (body === undefined) {
        this.#end += count;
        this.#deliver();
      } else {
        this.#bodyHave += count;
        if (this.#bodyHave === body.length) this.#deliverBody(body);
      }
      // Less than asked for: the socket is empty, and the poller says when it is not.
      if (count < target.length) break;
    }
    return total > 0;
  }

  #readEnd(): number {
    const room = FRAME_HEADER_BYTES + (this.#header?.headBytes ?? 0);
    if (this.#start > 0 && this.#start + Math.max(room, READ_BYTES) > BUFFER_BYTES) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return Math.min(BUFFER_BYTES, Math.max(this.#end + READ_BYTES, this.#start + room));
  }

  #deliver(): void {
    while (this.#open) {
      const have = this.#end - this.#start;
      if (have < FRAME_HEADER_BYTES) break;
      const header = (this.#header ??= decodeHeader(this.#buffer, this.#start));
      const bodyStart = this.#start + FRAME_HEADER_BYTES + header.headBytes;
      if (this.#end < bodyStart) break;
      let body: Buffer = EMPTY;
      if (header.bodyBytes > 0) {
        body = this.#options.bodyBuffer?.(header.bodyBytes) ?? newBody(header.bodyBytes);
        const here = Math.min(header.bodyBytes, this.#end - bodyStart);
        this.#buffer.copy(body, 0, bodyStart, bodyStart + here);
        if (here < header.bodyBytes) {
          this.#body = body;
          this.#bodyHave = here;
          this.#end = bodyStart;
          return;
        }
      }
      const head = this.#buffer.subarray(this.#start + FRAME_HEADER_BYTES, bodyStart);
      this.#start = bodyStart + header.bodyBytes;
      this.#header = undefined;
      this.#options.onFrame(header, head, body);
    }
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    }
  }

  #deliverBody(body: Buffer): void {
    const header = this.#header!;
    const head = this.#buffer.subarray(this.#start + FRAME_HEADER_BYTES, this.#end);
    this.#start = 0;
    this.#end = 0;
    this.#header = undefined;
    this.#body = undefined;
    this.#options.onFrame(header, head, body);
  }
}

/** Small bodies share the memory pool of Buffer; a large one that came from there would pin it. */
function newBody(bytes: number): Buffer {
  return bytes <= 2048 ? Buffer.allocUnsafe(bytes) : Buffer.allocUnsafeSlow(bytes);
}

function noop(): void {}
