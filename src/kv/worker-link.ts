// Keeps a channel to one worker alive, whatever happens to the worker: connects, says hello, connects again, and
// sends again what was in flight.
//
// A worker that stands still (stopped, or held up by a disk that hangs) is as good as absent: its channel is given up, so
// that nothing that was sent on it is in use any more, and it is back when it answers a new one.
//
// Every request of ipc/messages.ts is idempotent, so sending one again is safe as long as the order is kept: what was
// in flight goes before what waited. A request may wait for an absent worker until its own deadline, counted
// from the moment it was made; a request that kills its worker each time therefore ends too.
import { ChannelClosedError, TimeoutError } from '../base/errors.ts';
import type { DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { LogSeries } from '../base/log-series.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { MessageName, ReplyOf, RequestOf } from '../ipc/messages.ts';
import type { ConnectWorker, WorkerClient } from './worker-client.ts';

export type Hello = ReplyOf<'hello'>;

/** Times are milliseconds of performance.now(). `sinceMs`: since when there is no channel. */
export type LinkState =
  | { readonly kind: 'connecting'; readonly sinceMs: number; readonly cause: Error | undefined }
  | { readonly kind: 'absent'; readonly sinceMs: number; readonly cause: Error }
  | { readonly kind: 'ready'; readonly client: WorkerClient }
  | { readonly kind: 'closed'; readonly cause: Error };

export interface WorkerLinkListener {
  /** A channel is there; `link.hello` is what the worker said. */
  ready?(link: WorkerLink): void;
  absent?(link: WorkerLink, cause: Error): void;
  /** The worker lives and does not answer: its channel was dropped, and somebody should kill it. 'absent' follows. */
  hung?(link: WorkerLink, cause: Error): void;
  /** The worker will never serve this driver (staleEpoch, foreignVolume, another disk than expected): the link is closed. */
  refused?(link: WorkerLink, cause: Error): void;
}

export interface RequestOptions {
  /** How long the request may wait for an absent worker. 0: rejected as soon as there is no channel. Default LIMITS.workerAbsenceMs. */
  readonly absenceMs?: number;
  /** How long an answer may take once the request is sent. Default LIMITS.workerTimeoutMs, or workerSyncTimeoutMs for what waits on a disk. */
  readonly timeoutMs?: number;
}

/** There was no channel to the worker until the request's deadline. `cause` is why the last channel or attempt failed. */
export class WorkerAbsentError extends Error {
  override readonly name = 'WorkerAbsentError';
}

/** Too many requests wait for the worker already (LIMITS.workerQueueMax). */
export class WorkerBusyError extends Error {
  override readonly name = 'WorkerBusyError';
}

interface Pending {
  readonly name: MessageName;
  readonly request: RequestOf<MessageName>;
  readonly timeoutMs: number;
  /** On performance.now(): a request without a channel is rejected from then on. */
  readonly deadlineMs: number;
  readonly resolve: (reply: never) => void;
  readonly reject: (error: Error) => void;
  /** The channel it was sent on; undefined while it waits. Answers of any other channel are ignored. */
  client: WorkerClient | undefined;
}

/** Requests of which an unanswered one is better put to another disk. */
const ELSEWHERE: ReadonlySet<MessageName> = new Set<MessageName>(['putBlocks', 'getBlock']);
const SLOW: ReadonlySet<MessageName> = new Set<MessageName>(['verifyBlocks', 'syncBlocks', 'appendLog', 'beginCheckpoint', 'loadCheckpoint', 'commitCheckpoint']);

export class WorkerLink {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly #volume: Uuid;
  readonly #epoch: DriverEpoch;
  readonly #connect: ConnectWorker;
  readonly #logger: Logger;
  readonly #listeners = new Set<WorkerLinkListener>();
  /** Sent and not answered, in the order sent. */
  readonly #inFlight = new Set<Pending>();
  /** Not sent, in order. Bounded by LIMITS.workerQueueMax. */
  #queue: Pending[] = [];
  #state: LinkState = { kind: 'connecting', sinceMs: performance.now(), cause: undefined };
  #hello: Hello | undefined;
  #lastAbsenceMs = 0;
  #attempts = 0;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #expiryTimer: NodeJS.Timeout | undefined;
  #expiryMs = Infinity;
  /** Something came from the worker since the last tick; and ticks in which it owed an answer and nothing came. */
  #heard = false;
  #silentTicks = 0;
  /** Why the last channel was lost, where that says more than its end. */
  #trouble: 'none' | 'stalled' | 'diskFailed' = 'none';
  #saidHung = false;
  #diskFailedMs = -Infinity;
  readonly #series: LogSeries;

  /** `awayMs`: for how long the worker is known to have been away. */
  constructor(parts: { worker: WorkerId; disk: Uuid; volume: Uuid; epoch: DriverEpoch; connect: ConnectWorker; logger: Logger; awayMs?: number | undefined }) {
    if (parts.awayMs !== undefined) this.#state = { kind: 'connecting', sinceMs: performance.now() - parts.awayMs, cause: undefined };
    this.worker = parts.worker;
    this.disk = parts.disk;
    this.#volume = parts.volume;
    this.#epoch = parts.epoch;
    this.#connect = parts.connect;
    this.#logger = parts.logger;
    this.#series = new LogSeries(parts.logger);
  }

  get state(): LinkState {
    return this.#state;
  }

  get isReady(): boolean {
    return this.#state.kind === 'ready';
  }

  /** What the worker said last; undefined before the first channel. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** Requests that are in flight or wait. */
  get load(): number {
    return this.#inFlight.size + this.#queue.length;
  }

  /** For how long there has been no channel, ms; 0 when there is one, Infinity when there never will be. */
  get absentMs(): number {
    switch (this.#state.kind) {
      case 'ready': return 0;
      case 'closed': return Infinity;
      default: return performance.now() - this.#state.sinceMs;
    }
  }

  /** For how long there was no channel before the one that is there now. */
  get lastAbsenceMs(): number {
    return this.#lastAbsenceMs;
  }

  /** The worker stood still when it was heard last: it may be back in a moment, or never. */
  get isStalled(): boolean {
    return this.#trouble === 'stalled';
  }

  /**
   * What is left of `boundMs` for a worker that has been absent for a while already: for RequestOptions.absenceMs.
   * Nothing when its disk has failed; and one that stalls is not in the middle of a quick restart.
   */
  patienceMs(boundMs: number): number {
    if (this.#state.kind === 'ready') return boundMs;
    if (this.#trouble === 'diskFailed') return 0;
    const patienceMs = this.#trouble === 'stalled' && boundMs <= LIMITS.workerDegradeMs ? Math.min(boundMs, LIMITS.stallDegradeMs) : boundMs;
    return Math.max(0, patienceMs - this.absentMs);
  }

  /** Called every LIMITS.stallTickMs. */
  tick(): void {
    if (this.#state.kind !== 'ready') return;
    if (this.#heard || this.#inFlight.size === 0) this.#silentTicks = 0;
    else this.#silentTicks++;
    this.#heard = false;
    const { client } = this.#state;
    if (this.#silentTicks === LIMITS.stallTicksPing) {
      // It may wait for its disk on another thread, and be well.
      client.request('statistics', {}, { timeoutMs: LIMITS.workerTimeoutMs }).then(() => this.#hear(client), () => this.#hear(client));
    } else if (this.#silentTicks >= LIMITS.stallTicksMax) {
      const silentMs = this.#silentTicks * LIMITS.stallTickMs;
      this.#drop(client, new TimeoutError(`worker ${this.worker} stands still`, silentMs), { trouble: 'stalled', sinceMs: performance.now() - silentMs });
    }
  }

  #hear(client: WorkerClient): void {
    if (this.#state.kind === 'ready' && this.#state.client === client) this.#heard = true;
  }

  listen(listener: WorkerLinkListener): void {
    this.#listeners.add(listener);
  }

  start(): void {
    void this.#open();
  }

  /** Rejects everything that waits, and connects no more. */
  close(cause: Error = new ChannelClosedError(`the link to worker ${this.worker} was closed`)): void {
    if (this.#state.kind === 'closed') return;
    const state = this.#state;
    this.#state = { kind: 'closed', cause };
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#expiryTimer);
    const waiting = [...this.#inFlight, ...this.#queue];
    this.#inFlight.clear();
    this.#queue = [];
    if (state.kind === 'ready') state.client.close();
    for (const pending of waiting) {
      pending.client = undefined;
      pending.reject(cause);
    }
  }

  poll(): boolean {
    return this.#state.kind === 'ready' && this.#state.client.poll !== undefined && this.#state.client.poll();
  }

  /**
   * Buffers in the request belong to the link until the promise is settled. Rejects with WorkerError (the worker's
   * answer), WorkerAbsentError (no channel until the deadline), WorkerBusyError, or the
   * cause of a closed link.
   */
  request<M extends MessageName>(name: M, request: RequestOf<M>, options: RequestOptions = {}): Promise<ReplyOf<M>> {
    return new Promise((resolve, reject) => {
      const absenceMs = options.absenceMs ?? LIMITS.workerAbsenceMs;
      const timeoutMs = options.timeoutMs ?? (SLOW.has(name) ? LIMITS.workerSyncTimeoutMs : LIMITS.workerTimeoutMs);
      const deadlineMs = absenceMs <= 0 ? 0 : performance.now() + absenceMs;
      const pending: Pending = { name, request, timeoutMs, deadlineMs, resolve: resolve as (reply: never) => void, reject, client: undefined };
      const state = this.#state;
      if (state.kind === 'ready' && this.#queue.length === 0 && this.#inFlight.size < LIMITS.workerRequestsMax) this.#send(state.client, pending);
      else this.#enqueue(pending);
    });
  }

  #enqueue(pending: Pending): void {
    const state = this.#state;
    if (state.kind === 'closed') return pending.reject(state.cause);
    if (state.kind !== 'ready' && pending.deadlineMs === 0) return pending.reject(this.#absentError(pending, state.cause));
    if (this.#queue.length >= LIMITS.workerQueueMax) {
      return pending.reject(new WorkerBusyError(`${pending.name}: ${this.#queue.length} requests wait for worker ${this.worker} already`));
    }
    this.#queue.push(pending);
    if (state.kind !== 'ready') this.#armExpiry(pending.deadlineMs);
  }

  #send(client: WorkerClient, pending: Pending): void {
    pending.client = client;
    this.#inFlight.add(pending);
    client.request(pending.name, pending.request, pending).then(
      (reply) => {
        if (pending.client !== client) return;
        this.#heard = true;
        this.#inFlight.delete(pending);
        pending.resolve(reply as never);
        if (this.#queue.length > 0) this.#drain(client);
      },
      (error: Error) => {
        if (pending.client === client) this.#failed(client, pending, error);
      },
    );
  }

  #failed(client: WorkerClient, pending: Pending, error: Error): void {
    if (error instanceof ChannelClosedError) return this.#drop(client, error);
    if (error instanceof TimeoutError) {
      this.#logger.error({ err: error, worker: this.worker, message: pending.name }, 'a worker does not answer; its channel is dropped');
      for (const listener of this.#listeners) listener.hung?.(this, error);
      return this.#drop(client, error);
    }
    this.#heard = true;
    this.#inFlight.delete(pending);
    pending.client = undefined;
    if (error instanceof WorkerError && (error.code === 'diskFailure' || error.code === 'readOnly')) this.#diskFailedMs = performance.now();
    pending.reject(error);
    if (error instanceof WorkerError && error.code === 'staleEpoch') return this.#refuse(error);
    this.#drain(client);
  }

  #drain(client: WorkerClient): void {
    if (this.#state.kind !== 'ready' || this.#state.client !== client) return;
    let sent = 0;
    while (sent < this.#queue.length && this.#inFlight.size < LIMITS.workerRequestsMax) this.#send(client, this.#queue[sent++]!);
    if (sent > 0) this.#queue.splice(0, sent);
  }

  /** The channel is no more: what was sent on it waits again, before what waited. */
  #drop(client: WorkerClient, cause: Error, why?: { readonly trouble: 'stalled'; readonly sinceMs: number }): void {
    if (this.#state.kind !== 'ready' || this.#state.client !== client) return;
    const now = performance.now();
    this.#trouble = why?.trouble ?? (now - this.#diskFailedMs < LIMITS.diskFailedEndMs ? 'diskFailed' : 'none');
    this.#state = { kind: 'absent', sinceMs: why?.sinceMs ?? now, cause };
    this.#silentTicks = 0;
    this.#saidHung = false;
    this.#queue = [...this.#inFlight, ...this.#queue];
    this.#inFlight.clear();
    for (const pending of this.#queue) pending.client = undefined;
    client.close();
    this.#series.say('lost', 'warn', { worker: this.worker, cause: cause.message, waiting: this.#queue.length }, 'lost the channel to a worker');
    for (const listener of this.#listeners) listener.absent?.(this, cause);
    if (this.#trouble !== 'none') this.#sendElsewhere();
    this.#expire();
    this.#openLater();
  }

  /** What another disk may do as well does not wait. */
  #sendElsewhere(): void {
    const elsewhere = this.#queue.filter(({ name }) => ELSEWHERE.has(name));
    this.#queue = this.#queue.filter(({ name }) => !ELSEWHERE.has(name));
    for (const pending of elsewhere) pending.reject(this.#absentError(pending, undefined));
  }

  async #open(): Promise<void> {
    if (this.#state.kind === 'closed' || this.#state.kind === 'ready') return;
    this.#state = { ...this.#state, kind: 'connecting' };
    let client: WorkerClient | undefined;
    try {
      client = await this.#connect();
      const hello = await client.request('hello', { volume: this.#volume, epoch: this.#epoch }, { timeoutMs: LIMITS.workerTimeoutMs });
      if (this.#isClosed()) return client.close();
      if (hello.disk !== this.disk || hello.worker !== this.worker) {
        throw new WorkerError('foreignVolume', `worker ${this.worker} should serve disk ${this.disk}, and worker ${hello.worker} with disk ${hello.disk} answered`);
      }
      this.#established(client, hello);
    } catch (error) {
      client?.close();
      if (this.#isClosed()) return;
      if (client !== undefined && error instanceof TimeoutError) this.#silentHello(error);
      if (error instanceof WorkerError && (error.code === 'staleEpoch' || error.code === 'foreignVolume')) this.#refuse(error);
      else this.#unreachable(error as Error);
    }
  }

  /** It listens and does not answer: where it stalled before, it will not do so by itself. */
  #silentHello(error: TimeoutError): void {
    if (this.#trouble !== 'stalled' || this.#saidHung) return;
    this.#saidHung = true;
    for (const listener of this.#listeners) listener.hung?.(this, error);
  }

  #isClosed(): boolean {
    return this.#state.kind === 'closed';
  }

  #established(client: WorkerClient, hello: Hello): void {
    this.#lastAbsenceMs = this.absentMs;
    this.#state = { kind: 'ready', client };
    this.#hello = hello;
    this.#trouble = 'none';
    this.#heard = true;
    this.#attempts = 0;
    clearTimeout(this.#expiryTimer);
    this.#expiryMs = Infinity;
    client.onClose((cause) => this.#drop(client, cause));
    // What waited goes first, what the listeners send behind it.
    this.#drain(client);
    if (!this.isReady) return;
    for (const listener of this.#listeners) listener.ready?.(this);
  }

  #unreachable(cause: Error): void {
    const state = this.#state;
    if (state.kind !== 'connecting') return;
    this.#state = { kind: 'absent', sinceMs: state.sinceMs, cause };
    this.#openLater();
  }

  #openLater(): void {
    const delayMs = Math.min(LIMITS.reconnectDelayMaxMs, LIMITS.reconnectDelayMinMs * 2 ** Math.min(this.#attempts++, 16));
    this.#reconnectTimer = setTimeout(() => void this.#open(), delayMs);
  }

  #refuse(error: Error): void {
    this.#logger.error({ err: error, worker: this.worker }, 'a worker refuses this driver');
    this.close(error);
    for (const listener of this.#listeners) listener.refused?.(this, error);
  }

  #absentError(pending: Pending, cause: Error | undefined): WorkerAbsentError {
    return new WorkerAbsentError(`${pending.name}: worker ${this.worker} is absent for ${Math.round(this.absentMs)} ms`, { cause });
  }

  /** Rejects what waited too long for a channel. */
  #expire(): void {
    this.#expiryMs = Infinity;
    const state = this.#state;
    if (state.kind === 'ready' || state.kind === 'closed') return;
    const now = performance.now();
    const expired = this.#queue.filter((pending) => pending.deadlineMs <= now);
    this.#queue = this.#queue.filter((pending) => pending.deadlineMs > now);
    for (const pending of this.#queue) this.#armExpiry(pending.deadlineMs);
    for (const pending of expired) pending.reject(this.#absentError(pending, state.cause));
  }

  #armExpiry(deadlineMs: number): void {
    if (deadlineMs >= this.#expiryMs) return;
    clearTimeout(this.#expiryTimer);
    this.#expiryMs = deadlineMs;
    // Timers count whole milliseconds and may be early by a part of one.
    this.#expiryTimer = setTimeout(() => this.#expire(), Math.ceil(deadlineMs - performance.now()) + 1);
  }
}
