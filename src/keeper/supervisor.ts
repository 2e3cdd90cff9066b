// Keeps one forked child alive: starts it, waits until it is ready, starts it again with back-off when it dies, ends it.
//
//   stopped ─start─► starting ─'ready'─► ready ─exit─► restarting ─delay─► starting …
//                       │ dead at the very first start: unusable, and untilReady() rejects
//   starting, ready ─'unusable'─► leaving ─exit─► unusable ─delay─► starting …
//   starting, ready ─replace()─► leaving ─exit─► restarting
//   ready ─succeed()─► replacing ─exit─► starting
//   any ─stop()/expectEnd()─► stopping ─exit─► stopped
//
// A process that waits for a disk that hangs does not even end when it is killed: no second one is started beside it
// (unless with abandon()), and nobody waits for it for ever.
import type { ChildProcess } from 'node:child_process';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { deferred } from './deferred.ts';
import type { Deferred } from './deferred.ts';

export type ChildState =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'starting'; readonly child: ChildProcess }
  | { readonly kind: 'ready'; readonly child: ChildProcess }
  | { readonly kind: 'replacing'; readonly child: ChildProcess; readonly timer: NodeJS.Timeout }
  /** Going, by itself or killed; `next` is what follows its end. */
  | { readonly kind: 'leaving'; readonly child: ChildProcess; readonly timer: NodeJS.Timeout | undefined; readonly reason: string; readonly next: 'restarting' | 'unusable' }
  | { readonly kind: 'restarting'; readonly timer: NodeJS.Timeout; readonly reason: string }
  | { readonly kind: 'unusable'; readonly timer: NodeJS.Timeout | undefined; readonly reason: string }
  | { readonly kind: 'stopping'; readonly child: ChildProcess; readonly timer: NodeJS.Timeout };

export interface ShownState {
  readonly kind: ChildState['kind'];
  readonly reason?: string;
}

/** How a child ended: its exit code, or the signal that ended it. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The messages that every child of the keeper sends. */
interface ChildMessage {
  readonly type: string;
}
interface UnusableMessage extends ChildMessage {
  readonly type: 'unusable';
  readonly reason: string;
  readonly exitCode: number;
}

export interface SupervisorOptions<In, Out extends ChildMessage> {
  /** For logs and errors: "driver", "worker 2". */
  readonly name: string;
  readonly fork: () => ChildProcess;
  /** Asked for at every start. `crashed`: the last child was ended by a fault of its own (see isCrash). */
  readonly startMessage: (crashed: boolean) => In;
  readonly stopMessage: In;
  /** Without 'ready' or 'progress' for this long it is killed. */
  readonly startMs: number;
  readonly stopMs: number;
  /** Messages other than 'ready', 'unusable' and, before it is ready, 'progress'. */
  readonly onMessage?: (message: Out) => void;
  /** After each change of state. */
  readonly onChange?: () => void;
  /** After each end that nobody asked for, before it is started again; 'leave' keeps it down. */
  readonly onDeath?: (end: ChildEnd) => 'restart' | 'leave';
}

/** What the kernel ends a process with that touched memory it has not, or gave itself up: as LMDB does over a damaged file. */
const CRASHES: ReadonlySet<NodeJS.Signals> = new Set(['SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGILL', 'SIGFPE', 'SIGTRAP']);

function isCrash(end: ChildEnd): boolean {
  return end.signal !== null && CRASHES.has(end.signal);
}

/** Deaths in this time are counted for the back-off; this many of them are answered at once. */
const QUIET_MS = 60_000;
const DEATHS_FREE = 10;

export class Supervisor<In extends object, Out extends ChildMessage> {
  readonly name: string;
  readonly #options: SupervisorOptions<In, Out>;
  readonly #log: Logger;
  #state: ChildState = { kind: 'stopped' };
  #startTimer: NodeJS.Timeout | undefined;
  #starts = 0;
  #everReady = false;
  /** Times of the deaths of the last minute. */
  #deaths: number[] = [];
  /** The last child was ended by a fault of its own. */
  #crashed = false;
  /** Starts in a row that did not get ready. */
  #failedStarts = 0;
  /** Times in a row that it could not be used, and the last of them. */
  #unusable = { count: 0, atMs: -Infinity };
  /** Why it could not be used, until it can. */
  #lastReason: string | undefined;
  readonly #ready = deferred<void>();
  /** Settled with the start of the child that takes the place of another. */
  #successor: Deferred<void> | undefined;
  #ended = deferred<ChildEnd>();

  constructor(log: Logger, options: SupervisorOptions<In, Out>) {
    this.name = options.name;
    this.#options = options;
    this.#log = log;
    // The rejection is for those who wait; where nobody does, the log has it.
    this.#ready.promise.catch(() => {});
  }

  get state(): ChildState {
    return this.#state;
  }
  /** As people should see it: while it is tried again, what could not be used last time counts as such. */
  get shown(): ShownState {
    const { kind } = this.#state;
    const trying = kind === 'starting' || (kind === 'leaving' && this.#state.next === 'unusable');
    return trying && this.#lastReason !== undefined ? { kind: 'unusable', reason: this.#lastReason } : this.#state;
  }
  get pid(): number | undefined {
    return 'child' in this.#state ? this.#state.child.pid : undefined;
  }
  /** Times it was started again. */
  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  start(): void {
    if (this.#state.kind !== 'stopped' && this.#state.kind !== 'restarting' && this.#state.kind !== 'unusable') return;
    this.#starts += 1;
    const child = this.#options.fork();
    this.#ended = deferred<ChildEnd>();
    this.#change({ kind: 'starting', child });
    child.on('message', (message) => this.#receive(child, message as unknown as Out | UnusableMessage));
    child.once('exit', (code, signal) => this.#exited(child, { code, signal }));
    child.on('error', (error) => {
      this.#log.error({ err: error, child: this.name }, 'child process');
      // A fork that failed (no memory, no processes left) sends no 'exit'.
      if (child.pid === undefined) this.#exited(child, { code: null, signal: null });
    });
    this.#armStart(child);
    this.send(this.#options.startMessage(this.#crashed));
  }

  #armStart(child: ChildProcess): void {
    clearTimeout(this.#startTimer);
    this.#startTimer = setTimeout(() => {
      this.#log.error({ child: this.name, pid: child.pid, afterMs: this.#options.startMs }, 'child is not ready in time; killing it');
      child.kill('SIGKILL');
    }, this.#options.startMs);
  }

  /** Settles with the first start: resolves when ready, rejects with UserError when the child cannot be used. */
  untilReady(): Promise<void> {
    return this.#ready.promise;
  }

  /** From now on a child that could not be used at its first start is tried again slowly, as later ones are. */
  keepTrying(): void {
    this.#everReady = true;
    if (this.#state.kind === 'unusable' && this.#state.timer === undefined) this.#change({ ...this.#state, timer: this.#tryLater() });
  }

  /** False when there is no child to send to. A message to a dying child is lost without an error: its exit tells. */
  send(message: In): boolean {
    if (!('child' in this.#state) || !this.#state.child.connected) return false;
    this.#state.child.send(message, (error) => {
      if (error) this.#log.debug({ err: error, child: this.name }, 'message to child was lost');
    });
    return true;
  }

  /**
   * Puts a new child in the place of the present one, which ends by itself when it gets `farewell`, or is killed after
   * `stopMs`. Resolves when the new one is ready. UserError when that cannot be used (it is tried again like any that
   * dies), or when everything ends meanwhile.
   */
  succeed(farewell: In): Promise<void> {
    const state = this.#state;
    if (state.kind !== 'ready' && state.kind !== 'starting' && state.kind !== 'restarting' && state.kind !== 'unusable') return Promise.reject(new UserError(`the ${this.name} process is ${state.kind}: try again in a moment`, EXIT.busy));
    const successor = deferred<void>();
    this.#successor = successor;
    if (state.kind === 'ready') {
      this.send(farewell);
      const timer = setTimeout(() => {
        this.#log.error({ child: this.name, childPid: state.child.pid, afterMs: this.#options.stopMs }, 'child does not hand over; killing it');
        state.child.kill('SIGKILL');
      }, this.#options.stopMs);
      this.#change({ kind: 'replacing', child: state.child, timer });
    } else if (state.kind === 'starting') {
      // What it was started with is out of date.
      state.child.kill('SIGKILL');
    } else {
      clearTimeout(state.timer);
      this.start();
    }
    return successor.promise;
  }

  /** The child is about to end by itself: its exit is no death. It is killed after `stopMs`. */
  expectEnd(): Promise<ChildEnd> {
    const state = this.#state;
    this.#successor?.reject(new UserError(`the ${this.name} process is being ended`, EXIT.busy));
    this.#successor = undefined;
    switch (state.kind) {
      case 'starting':
      case 'replacing':
      case 'leaving':
      case 'ready': {
        clearTimeout(this.#startTimer);
        if (state.kind === 'replacing' || state.kind === 'leaving') clearTimeout(state.timer);
        const timer = setTimeout(() => {
          this.#log.error({ child: this.name, pid: state.child.pid, afterMs: this.#options.stopMs }, 'child does not end; killing it');
          this.#killForGood(state.child);
        }, this.#options.stopMs);
        this.#change({ kind: 'stopping', child: state.child, timer });
        // It was told to go, or killed, already.
        if (state.kind === 'leaving') this.#killForGood(state.child);
        return this.#ended.promise;
      }
      case 'stopping':
        return this.#ended.promise;
      case 'restarting':
      case 'unusable':
        clearTimeout(state.timer);
        this.#change({ kind: 'stopped' });
        return Promise.resolve({ code: null, signal: null });
      case 'stopped':
        return Promise.resolve({ code: 0, signal: null });
    }
  }

  /** Asks the child to end and waits for it; kills it after `stopMs`. */
  stop(): Promise<ChildEnd> {
    this.send(this.#options.stopMessage);
    return this.expectEnd();
  }

  /** Ends a child that hangs; it is started again like any other that dies. */
  replace(reason: string): void {
    if (this.#state.kind !== 'ready' && this.#state.kind !== 'starting') return;
    const { child } = this.#state;
    clearTimeout(this.#startTimer);
    this.#log.error({ child: this.name, childPid: child.pid, reason }, 'killing a child, so that it is started again');
    const timer = setTimeout(() => this.#log.error({ child: this.name, childPid: child.pid, reason }, 'the child was killed and does not end: it waits for a disk; another one is started when it has ended'), LIMITS.killMs);
    this.#change({ kind: 'leaving', child, timer, reason, next: 'restarting' });
    child.kill('SIGKILL');
  }

  /** Ends the child now, for good. */
  kill(): Promise<ChildEnd> {
    const ended = this.expectEnd();
    if (this.#state.kind === 'stopping') this.#killForGood(this.#state.child);
    return ended;
  }

  #killForGood(child: ChildProcess): void {
    child.kill('SIGKILL');
    const { resolve } = this.#ended;
    setTimeout(() => resolve({ code: null, signal: null }), LIMITS.killMs).unref();
  }

  /**
   * As replace(), and when the child cannot end, another one is started beside it: only for one whose successor uses
   * nothing of what that waits for. It was killed, and does nothing more than to finish the one call that it is in.
   */
  abandon(reason: string): void {
    this.replace(reason);
    const state = this.#state;
    if (state.kind !== 'leaving' || state.next !== 'restarting') return;
    clearTimeout(state.timer);
    const timer = setTimeout(() => this.#exited(state.child, { code: null, signal: 'SIGKILL' }), LIMITS.killMs);
    this.#change({ ...state, timer });
  }

  #receive(child: ChildProcess, message: Out | UnusableMessage): void {
    if (!('child' in this.#state) || this.#state.child !== child) return;
    if (message.type === 'ready') this.#becameReady(child);
    else if (message.type === 'unusable') this.#becameUnusable(child, message as UnusableMessage);
    else if (message.type === 'progress' && this.#state.kind === 'starting') this.#armStart(child);
    else this.#options.onMessage?.(message as Out);
  }

  #becameReady(child: ChildProcess): void {
    clearTimeout(this.#startTimer);
    if (this.#state.kind !== 'starting') return;
    this.#everReady = true;
    this.#lastReason = undefined;
    this.#failedStarts = 0;
    this.#change({ kind: 'ready', child });
    this.#log.info({ child: this.name, childPid: child.pid, restarts: this.restarts }, 'child is ready');
    this.#ready.resolve();
    this.#successor?.resolve();
    this.#successor = undefined;
  }

  /** At the first start that is the end; later the cause may pass (a disk comes back), so it is tried again slowly. */
  #becameUnusable(child: ChildProcess, message: UnusableMessage): void {
    clearTimeout(this.#startTimer);
    if (this.#state.kind === 'stopping') return;
    // Said once for each reason: it is tried again every few seconds.
    const isNews = message.reason !== this.#lastReason;
    this.#lastReason = message.reason;
    this.#log[isNews ? 'error' : 'debug']({ child: this.name, reason: message.reason, exitCode: message.exitCode }, 'child cannot be used');
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMITS.restartDelayMaxMs / 2);
    this.#change({ kind: 'leaving', child, timer, reason: message.reason, next: 'unusable' });
    const error = new UserError(message.reason, message.exitCode as ExitCode);
    this.#ready.reject(error);
    this.#successor?.reject(error);
    this.#successor = undefined;
  }

  /** Slower each time: a disk may come back after a second, and after a month. */
  #tryLater(): NodeJS.Timeout {
    const now = performance.now();
    const count = now - this.#unusable.atMs > QUIET_MS ? 0 : this.#unusable.count + 1;
    this.#unusable = { count, atMs: now };
    return setTimeout(() => this.start(), Math.min(LIMITS.diskRetryMaxMs, LIMITS.diskRetryMinMs * 2 ** Math.min(count, 16)));
  }

  #exited(child: ChildProcess, end: ChildEnd): void {
    if (!('child' in this.#state) || this.#state.child !== child) return;
    this.#ended.resolve(end);
    clearTimeout(this.#startTimer);
    if (this.#state.kind === 'replacing') {
      clearTimeout(this.#state.timer);
      // With code 0 a driver did not hand over: it ended, for a reason of its own.
      if (end.code !== 0 || this.#options.onDeath === undefined) {
        this.#log.info({ child: this.name, childPid: child.pid, ...end }, 'child has handed over; starting its successor');
        this.#change({ kind: 'stopped' });
        this.start();
        return;
      }
    }
    if (this.#state.kind === 'stopping') {
      clearTimeout(this.#state.timer);
      this.#log.info({ child: this.name, childPid: child.pid, ...end }, 'child has ended');
      this.#change({ kind: 'stopped' });
      return;
    }
    if (this.#state.kind === 'leaving') {
      clearTimeout(this.#state.timer);
      if (this.#state.next === 'unusable') {
        this.#change({ kind: 'unusable', timer: this.#everReady ? this.#tryLater() : undefined, reason: this.#state.reason });
        return;
      }
    }
    this.#died(child, this.#state.kind !== 'starting', end);
  }

  #died(child: ChildProcess, wasReady: boolean, end: ChildEnd): void {
    const how = end.signal === null ? `ended with code ${end.code}` : `was ended by ${end.signal}`;
    const again = isCrash(end) && !this.#crashed;
    this.#crashed = isCrash(end);
    if (!this.#everReady && !again) {
      const reason = `the ${this.name} process ${how} before it was ready; its last log lines say why`;
      this.#log.error({ child: this.name, childPid: child.pid, ...end }, 'child ended before it was ready');
      this.#change({ kind: 'unusable', timer: undefined, reason });
      this.#ready.reject(new UserError(reason, EXIT.failure));
      return;
    }
    if ((this.#options.onDeath?.(end) ?? 'restart') === 'leave') {
      this.#change({ kind: 'stopped' });
      return;
    }
    if (!wasReady) this.#failedStarts += 1;
    const delayMs = this.#nextDelayMs();
    this.#log.error({ child: this.name, childPid: child.pid, ...end, delayMs }, 'child died; starting it again');
    this.#change({ kind: 'restarting', timer: setTimeout(() => this.start(), delayMs), reason: `the process ${how}` });
  }

  /** Doubles with every start that failed, and with every death above what a minute has for free. */
  #nextDelayMs(): number {
    const now = performance.now();
    this.#deaths = this.#deaths.filter((time) => now - time < QUIET_MS);
    this.#deaths.push(now);
    const doublings = this.#failedStarts + Math.max(0, this.#deaths.length - DEATHS_FREE);
    return Math.min(LIMITS.restartDelayMaxMs, LIMITS.restartDelayMinMs * 2 ** Math.min(doublings, 16));
  }

  #change(state: ChildState): void {
    this.#state = state;
    this.#options.onChange?.();
  }
}
