// The open /dev/fuse: one read is one request, one write is one reply. Bytes only.
//
// What a round trip costs is the waking of sleeping threads, far more than the work done here. So after each event
// the device is polled from turn to turn of the event loop for a short time, and only then does the process sleep.
import { writevSync, write as writeLater } from 'node:fs';
import type { Logger } from '../base/log.ts';
import { LIMITS } from '../base/limits.ts';
import { ERRNO, SystemCallError, errno, read, strerror, write } from '../os/libc.ts';
import { Poller, READABLE } from '../os/poller.ts';
import { RequestArena } from './request-arena.ts';
import type { WakeLatency } from './wake-latency.ts';

/** Why no more requests come: a umount, an abort through sysfs or umount -f, or a device that fails. */
export type DeviceEnd = { readonly reason: 'unmounted' | 'aborted' } | { readonly reason: 'failed'; readonly error: Error };

export interface DeviceHandlers {
  /**
   * One request. The bytes are valid until this returns 'done', or until the promise settles; it must not reject.
   * Replies come through `reply`, in any order.
   */
  onRequest(bytes: Buffer): 'done' | Promise<void>;
  /** Called once, unless `stop` came before. */
  onEnd(end: DeviceEnd): void;
}

export interface DeviceOptions {
  readonly logger: Logger;
  /** How long the device is polled after the last event before the process sleeps. */
  readonly busyPollMs?: number;
  /** Keeps idle processors from sleeping deeply while requests come (see wake-latency.ts). */
  readonly wakeLatency?: WakeLatency;
}

/** Longer costs a lone client nothing and other processes a core; shorter lets the next request find a sleeper. */
const BUSY_POLL_MS = 0.1;
/** Replies with pieces up to this size are joined: copying so little costs less than gathering. */
const JOIN_BYTES_MAX = 16 * 1024;

/** FUSE_NOTIFY_RESEND: a fuse_out_header of 16 bytes with the code 7 in place of an error, for no request. */
const RESEND = Buffer.from([16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/** More buffers than this are not taken by one writev(2) (IOV_MAX is 1024). */
const PIECES_MAX = 1000;
const OUT_HEADER_BYTES = 16;

/** The main thread only, since the poller is in its loop. */
export class FuseDevice {
  readonly #fd: number;
  readonly #handlers: DeviceHandlers;
  readonly #logger: Logger;
  readonly #busyPollMs: number;
  readonly #wakeLatency: WakeLatency | undefined;
  readonly #poller: Poller;
  readonly #arena = new RequestArena({
    slabBytes: LIMITS.requestSlabBytes,
    slabsMax: LIMITS.requestSlabsMax,
    requestBytesMax: LIMITS.requestBytesMax + LIMITS.requestOverheadBytes,
  });
  readonly #joined = Buffer.allocUnsafeSlow(JOIN_BYTES_MAX);
  /** 'polling': a setImmediate is due. 'full': no memory for a request, until one is answered. */
  #state: 'new' | 'polling' | 'asleep' | 'full' | 'ended' = 'new';
  #lastEventMs = 0;
  /** A reply went out since the last look: its receiver will ask again soon. */
  #replied = false;
  #notifying: Promise<unknown> = Promise.resolve();
  #notifications = 0;
  #drainCount = 0;

  /** `fd`: /dev/fuse, opened with O_RDWR | O_NONBLOCK and mounted. It is not closed here. */
  constructor(fd: number, handlers: DeviceHandlers, options: DeviceOptions) {
    this.#fd = fd;
    this.#handlers = handlers;
    this.#logger = options.logger;
    this.#busyPollMs = options.busyPollMs ?? BUSY_POLL_MS;
    this.#wakeLatency = options.wakeLatency;
    this.#poller = new Poller(fd, () => this.#wake());
  }

  /** How often there was nothing left to read, neither a request nor a forget. */
  get drainCount(): number {
    return this.#drainCount;
  }

  /** Begins to read requests, in the next turn of the event loop. */
  start(): void {
    if (this.#state === 'new') this.#poll();
  }

  /** Reads no more. Requests in work can still be answered. */
  stop(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#poller.close();
  }

  /** Sends one reply, whole, before it returns. Buffers may be reused then. */
  reply(head: Buffer, headBytes: number, pieces: readonly Uint8Array[]): void {
    this.#replied = true;
    if (this.#state === 'asleep') this.#wake();
    if (pieces.length === 0) {
      if (write(this.#fd, head, headBytes) < 0) this.#replyFailed(errno(), head);
      return;
    }
    let bytes = headBytes;
    for (const piece of pieces) bytes += piece.length;
    if (bytes <= JOIN_BYTES_MAX) {
      const joined = this.#joined;
      head.copy(joined, 0, 0, headBytes);
      let at = headBytes;
      for (const piece of pieces) {
        joined.set(piece, at);
        at += piece.length;
      }
      if (write(this.#fd, joined, bytes) < 0) this.#replyFailed(errno(), head);
      return;
    }
    try {
      if (pieces.length < PIECES_MAX) writevSync(this.#fd, [head.subarray(0, headBytes), ...pieces]);
      else writevSync(this.#fd, [head.subarray(0, headBytes), Buffer.concat(pieces)]);
    } catch (error) {
      this.#replyFailed(-(error as NodeJS.ErrnoException).errno!, head);
    }
  }

  /**
   * Writes a notification on a pool thread, since most kinds wait for locks that requests hold; one at a time, so that
   * no more than one thread is ever stuck. Resolves with 0 or the errno: ENOENT says that the kernel knew nothing of it.
   */
  notify(bytes: Uint8Array): Promise<number> {
    if (this.#notifications >= LIMITS.notificationsMax) return Promise.reject(new Error(`${LIMITS.notificationsMax} notifications wait for the kernel already`));
    this.#notifications++;
    const sent = this.#notifying.then(() => new Promise<number>((resolve) => {
      writeLater(this.#fd, bytes, 0, bytes.length, null, (error) => {
        this.#notifications--;
        resolve(error === null ? 0 : -error.errno!);
      });
    }));
    this.#notifying = sent;
    return sent;
  }

  /** Asks for all requests again that a former process read and did not answer. Never blocks. False before Linux 6.9. */
  notifyResend(): boolean {
    if (write(this.#fd, RESEND, RESEND.length) >= 0) return true;
    const number = errno();
    if (number === ERRNO.EINVAL) return false;
    throw new SystemCallError('write', 'FUSE_NOTIFY_RESEND to /dev/fuse', number);
  }

  #poll(): void {
    this.#state = 'polling';
    setImmediate(this.#turn);
  }

  #wake(): void {
    if (this.#state !== 'asleep') return;
    this.#poller.stop();
    this.#replied = true;
    this.#poll();
  }

  readonly #turn = (): void => {
    if (this.#state !== 'polling') return;
    const served = this.#serveQueued();
    if (this.#state !== 'polling') return;
    if (served > 0) this.#wakeLatency?.used();
    const nowMs = performance.now();
    if (this.#replied) this.#lastEventMs = nowMs;
    // Requests that wait for workers: those need the processor that polling would take from them.
    else if (served > 0) this.#lastEventMs = -Infinity;
    this.#replied = false;
    if (nowMs - this.#lastEventMs < this.#busyPollMs) {
      setImmediate(this.#turn);
    } else {
      this.#state = 'asleep';
      this.#poller.watch(READABLE);
    }
  };

  /** Serves what the kernel has queued, up to the bound of one turn; returns how many reads that took. */
  #serveQueued(): number {
    let reads = 0;
    while (reads < LIMITS.requestsPerTurnMax && this.#state === 'polling') {
      const space = this.#arena.space();
      if (space === undefined) {
        this.#state = 'full';
        this.#logger.warn({ slabs: LIMITS.requestSlabsMax }, 'all request memory is in use; no request is read until one is answered');
        break;
      }
      const bytes = read(this.#fd, space, space.length);
      if (bytes <= 0) {
        const number = bytes === 0 ? ERRNO.ENODEV : errno();
        if (number === ERRNO.EAGAIN) {
          this.#drainCount++;
          break;
        }
        // A request that was withdrawn while it was copied (ENOENT) is as if it had never been.
        if (number !== ERRNO.EINTR && number !== ERRNO.ENOENT) this.#end(number);
      } else {
        this.#serve(space, bytes);
      }
      reads++;
    }
    return reads;
  }

  #serve(space: Buffer, bytes: number): void {
    const work = this.#handlers.onRequest(space.subarray(0, bytes));
    if (work === 'done') return;
    const held = this.#arena.hold(bytes);
    void work.then(() => {
      this.#arena.release(held);
      if (this.#state === 'full') this.#poll();
    });
  }

  #end(number: number): void {
    this.stop();
    if (number === ERRNO.ENODEV) this.#handlers.onEnd({ reason: 'unmounted' });
    else if (number === ERRNO.ECONNABORTED) this.#handlers.onEnd({ reason: 'aborted' });
    else this.#handlers.onEnd({ reason: 'failed', error: new SystemCallError('read', '/dev/fuse', number) });
  }

  #replyFailed(number: number, head: Buffer): void {
    // The asker is gone (ENOENT: interrupted or aborted), or the whole connection is, which the next read tells.
    if (number === ERRNO.ENOENT || number === ERRNO.ENODEV || number === ERRNO.ECONNABORTED || number === ERRNO.EPERM) return;
    // EINVAL: the reply has a size or an error number that the protocol does not allow. The kernel still waits for one.
    if (head.readInt32LE(4) === 0) {
      const refused = Buffer.from(head.subarray(0, OUT_HEADER_BYTES));
      refused.writeUInt32LE(OUT_HEADER_BYTES, 0);
      refused.writeInt32LE(-ERRNO.EIO, 4);
      write(this.#fd, refused, OUT_HEADER_BYTES);
    }
    this.#logger.error(
      { errno: number, replyBytes: head.readUInt32LE(0), replyError: head.readInt32LE(4), unique: head.readBigUInt64LE(8).toString() },
      `the kernel refused a reply: ${strerror(number)}${number === ERRNO.EINVAL ? '; this is a defect of sdfs' : ''}`,
    );
  }
}
