// One FUSE session: a request's bytes in, exactly one reply out, for as long as the mount lives.
import { assert } from '../base/assert.ts';
import { errnoOf } from '../base/errno.ts';
import { FsError } from '../base/errors.ts';
import { FailureLog } from '../base/failure-log.ts';
import type { Logger } from '../base/log.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import type { FileSystem, Pieces } from '../vfs/filesystem.ts';
import { assumeNegotiated, exportNegotiated, importNegotiated, negotiate } from './init.ts';
import type { Features, Negotiated } from './init.ts';
import { OPERATIONS } from './opcode-table.ts';
import type { Operation, OperationContext } from './operation.ts';
import { IN_HEADER, IN_HEADER_BYTES, OPCODE, UNIQUE_RESENT_HI } from './protocol.ts';
import { Reply } from './reply.ts';
import type { CacheTimes } from './reply.ts';
import { FuseRequest } from './request.ts';

/** Where replies go: to the device that the requests came from. */
export interface Transport {
  /**
   * Sends `headBytes` of `head` and then all `pieces` as one reply. Both may be reused when it returns. Must not throw:
   * what becomes of a reply is no concern of the session.
   */
  reply(head: Buffer, headBytes: number, pieces: Pieces): void;
}

export interface FuseSessionOptions {
  readonly logger: Logger;
  /** Default: a day for everything. On one machine the kernel sees every change, so what it remembers stays true. */
  readonly times?: Partial<CacheTimes>;
  /** Default: all. */
  readonly features?: Omit<Features, 'locks'>;
  /** Keeps the locks of programs. Absent: the kernel does. The same for all sessions of a mount. */
  readonly locks?: LockEngine | undefined;
  /** What `export` of a former session of this mount returned: the kernel will not send INIT again. */
  readonly resume?: string | undefined;
  /** The kernel's INIT has been answered, or requests show that a former process answered it. */
  readonly onNegotiated?: () => void;
  /** A handler failed with something else than an FsError. The request has been answered with EIO. */
  readonly onDefect?: (error: unknown) => void;
}

const DAY_SECONDS = 86_400;
/** Request objects kept for reuse; beyond, they are left to the garbage collector. */
const IDLE_REQUESTS_MAX = 64;
const NOTHING_EXPECTED = 'none';

export class FuseSession {
  readonly #transport: Transport;
  readonly #log: FailureLog;
  readonly #options: FuseSessionOptions;
  readonly #features: Features;
  readonly #reply: Reply;
  readonly #context: OperationContext;
  #negotiated: Negotiated | undefined;
  /** Requests whose handler has not settled, by `unique` without the mark of a second sending: an INTERRUPT can reach them. */
  readonly #waiting = new Map<number, FuseRequest>();
  /** Of those, the ones that wait for other programs. */
  #patientCount = 0;
  readonly #idle: FuseRequest[] = [];

  constructor(fs: FileSystem, options: FuseSessionOptions, transport: Transport) {
    this.#transport = transport;
    this.#options = options;
    this.#log = new FailureLog(options.logger);
    const { locks } = options;
    this.#features = { posixAcl: true, ...options.features, locks: locks !== undefined };
    const times: CacheTimes = { entrySeconds: DAY_SECONDS, attributeSeconds: DAY_SECONDS, negativeSeconds: DAY_SECONDS, ...options.times };
    this.#reply = new Reply(times, locks === undefined ? undefined : () => locks.newHandle());
    if (options.resume !== undefined) this.#negotiated = importNegotiated(options.resume);
    const session = this;
    this.#context = {
      fs,
      locks,
      times,
      negotiate: (request) => (session.#negotiated = negotiate(request, session.#features)),
      get negotiated() {
        assert(session.#negotiated !== undefined, 'INIT comes before all other requests');
        return session.#negotiated;
      },
      interrupt: (uniqueLo, uniqueHi) => session.#interrupt(uniqueLo, uniqueHi),
    };
  }

  /** What was agreed with the kernel, as JSON for the `resume` of a successor; undefined before INIT. */
  export(): string | undefined {
    return this.#negotiated === undefined ? undefined : exportNegotiated(this.#negotiated);
  }

  /** Requests that are being worked on. Those that wait for other programs are not: the kernel sends them to a successor. */
  get waitingCount(): number {
    return this.#waiting.size - this.#patientCount;
  }

  /** The request that has been worked on for the longest. Those that wait for other programs are none. */
  get oldest(): { readonly operation: string; readonly inode: number; readonly waitedMs: number } | undefined {
    for (const { opcode, inode, waitsSinceMs } of this.#waiting.values()) {
      const operation = OPERATIONS[opcode];
      if (operation?.waitsForPrograms !== true) return { operation: operation?.name ?? `opcode ${opcode}`, inode, waitedMs: performance.now() - waitsSinceMs };
    }
    return undefined;
  }

  /**
   * Serves one request. 'done': the reply, if one is due, has been sent, and the bytes may be reused at once. A
   * promise: they may be reused when it settles; it never rejects.
   */
  handle(bytes: Buffer): 'done' | Promise<void> {
    // Without a whole header there is no `unique` to answer to.
    if (bytes.length < IN_HEADER_BYTES) {
      this.#log.report({ operation: 'unknown', inode: 0 }, new FsError('EIO', `FUSE request: wanted at least ${IN_HEADER_BYTES} bytes, found ${bytes.length}`));
      return 'done';
    }
    const request = this.#idle.pop() ?? new FuseRequest();
    request.begin(bytes);
    const operation = OPERATIONS[request.opcode];
    let result: unknown;
    try {
      checkRequest(request, operation);
      if (this.#negotiated === undefined && request.opcode !== OPCODE.INIT) this.#takeOverUntold();
      result = operation.handle(this.#context, request);
    } catch (error) {
      this.#fail(request, operation, error);
      this.#recycle(request);
      return 'done';
    }
    if (result instanceof Promise) {
      if (operation.waitsForPrograms !== true) return this.#wait(request, operation, result);
      request.detach();
      this.#patientCount++;
      void this.#wait(request, operation, result).then(() => { this.#patientCount--; });
      return 'done';
    }
    this.#answer(request, operation, result);
    this.#recycle(request);
    return 'done';
  }

  /** The kernel sends nothing but INIT until it is answered: a former process did that, and died before it could tell. */
  #takeOverUntold(): void {
    this.#negotiated = assumeNegotiated(this.#features);
    this.#options.logger.warn('requests come without INIT: a former process answered it; going on with what this one would have agreed on');
    this.#options.onNegotiated?.();
  }

  #wait(request: FuseRequest, operation: Operation, result: Promise<unknown>): Promise<void> {
    const key = requestKey(request.uniqueLo, request.uniqueHi);
    request.waitsSinceMs = performance.now();
    this.#waiting.set(key, request);
    return result.then(
      (value) => {
        this.#waiting.delete(key);
        this.#answer(request, operation, value);
        this.#recycle(request);
      },
      (error: unknown) => {
        this.#waiting.delete(key);
        this.#fail(request, operation, error);
        this.#recycle(request);
      },
    );
  }

  #answer(request: FuseRequest, operation: Operation, result: unknown): void {
    const encode = operation.reply;
    if (encode === NOTHING_EXPECTED) return;
    const reply = this.#reply;
    reply.begin();
    if (encode !== 'empty') {
      try {
        encode(reply, result, request);
      } catch (error) {
        this.#fail(request, operation, error);
        return;
      }
    }
    this.#send(request, 0);
    if (request.opcode === OPCODE.INIT) this.#options.onNegotiated?.();
  }

  #fail(request: FuseRequest, operation: Operation | undefined, error: unknown): void {
    this.#log.report({ operation: operation?.name ?? `opcode ${request.opcode}`, inode: request.inode }, error);
    if (operation?.reply !== NOTHING_EXPECTED) {
      this.#reply.begin();
      this.#send(request, error instanceof FsError ? -errnoOf(error.code) : -errnoOf('EIO'));
    }
    if (!(error instanceof FsError)) this.#options.onDefect?.(error);
  }

  #send(request: FuseRequest, error: number): void {
    const reply = this.#reply;
    reply.finish(error, request.uniqueLo, request.uniqueHi);
    this.#transport.reply(reply.head, reply.headBytes, reply.pieces);
  }

  #recycle(request: FuseRequest): void {
    request.end();
    if (this.#idle.length < IDLE_REQUESTS_MAX) this.#idle.push(request);
  }

  #interrupt(uniqueLo: number, uniqueHi: number): void {
    this.#waiting.get(requestKey(uniqueLo, uniqueHi))?.interrupt();
  }
}

/** Exact: the kernel counts requests, and not to 2^53. The same with and without the mark of a second sending. */
function requestKey(uniqueLo: number, uniqueHi: number): number {
  return ((uniqueHi & ~UNIQUE_RESENT_HI) >>> 0) * 0x1_0000_0000 + uniqueLo;
}

/** What holds for every request before its row decodes it. */
function checkRequest(request: FuseRequest, operation: Operation | undefined): asserts operation is Operation {
  const { bytes } = request;
  const stated = bytes.readUInt32LE(IN_HEADER.len);
  if (stated !== bytes.length) throw new FsError('EIO', `FUSE request ${request.opcode}: wanted ${stated} bytes as its header says, found ${bytes.length}`);
  if (operation === undefined) throw new FsError('ENOSYS', `FUSE opcode ${request.opcode}`);
  if (bytes.length < operation.requestBytesMin) throw new FsError('EIO', `FUSE ${operation.name}: wanted at least ${operation.requestBytesMin} bytes, found ${bytes.length}`);
}
