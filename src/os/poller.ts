// Puts any pollable file descriptor into Node's own event loop: uv_poll_t of the libuv inside the node binary, by
// koffi. Without it a descriptor such as /dev/fuse needs a pool thread asleep in poll(2), and every wake-up costs
// a second thread switch (measured: 7-60 us against some 40 us more).
import koffi from 'koffi';
import { ERRNO, SystemCallError } from './libc.ts';

const node = koffi.load(null);
const uvDefaultLoop = node.func('void *uv_default_loop()');
const uvHandleSize = node.func('uint64_t uv_handle_size(int type)');
const uvPollInit = node.func('int uv_poll_init(void *loop, void *handle, int fd)');
const uvPollStart = node.func('int uv_poll_start(void *handle, int events, void *callback)');
const uvPollStop = node.func('int uv_poll_stop(void *handle)');
const uvClose = node.func('void uv_close(void *handle, void *callback)');
const UV_POLL = 8;
const uvPollCallback = koffi.proto('void sdfs_uv_poll_callback(void *handle, int status, int events)');

export const READABLE = 1;
export const WRITABLE = 2;

/**
 * Watches one descriptor, level-triggered. Main thread only. `onReady` runs inside libuv's poll phase, before
 * promises and ticks are drained: do little in it, and let `setImmediate` carry what awaits something.
 * A status below 0 is a negated errno.
 */
export class Poller {
  readonly #handle: Buffer;
  readonly #callback: unknown;
  #state: 'stopped' | 'watching' | 'closed' = 'stopped';

  constructor(fd: number, onReady: (event: { status: number; events: number }) => void) {
    // libuv keeps the address of the handle: the Buffer lives as long as this object, and close() keeps it until
    // the loop has let go of it.
    this.#handle = Buffer.alloc(Number(uvHandleSize(UV_POLL)));
    this.#callback = koffi.register((_handle: unknown, status: number, events: number) => {
      if (this.#state !== 'watching') return;
      // libuv says EBADF for POLLERR; whoever reads or writes now learns what is really wrong.
      if (status === -ERRNO.EBADF) onReady({ status: 0, events: READABLE | WRITABLE });
      else onReady({ status, events });
    }, koffi.pointer(uvPollCallback));
    const result = uvPollInit(uvDefaultLoop(), this.#handle, fd) as number;
    if (result !== 0) throw new SystemCallError('uv_poll_init', `fd ${fd}`, -result);
  }

  watch(events: number): void {
    if (this.#state === 'closed') return;
    this.#state = 'watching';
    const result = uvPollStart(this.#handle, events, this.#callback) as number;
    if (result !== 0) throw new SystemCallError('uv_poll_start', 'poller', -result);
  }

  stop(): void {
    if (this.#state !== 'watching') return;
    this.#state = 'stopped';
    uvPollStop(this.#handle);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.stop();
    this.#state = 'closed';
    uvClose(this.#handle, null);
    closing.add(this);
    setTimeout(() => {
      koffi.unregister(this.#callback as never);
      closing.delete(this);
    }, 50).unref();
  }
}

/** Pollers that libuv may still look at: kept from the garbage collector for a moment. */
const closing = new Set<Poller>();
