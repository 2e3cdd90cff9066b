// Carries out the calls of all connections: those that came in one turn of the event loop as one group, which is one
// record of the log. Each answer goes out when its group is process-proof; with `syncs` when it is power-proof.
import { ByteBudget } from '../base/byte-budget.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { StoreError } from '../keys/errors.ts';
import type { KeySpace } from '../keys/key-space.ts';
import type { Later } from './command.ts';
import { bytesOf } from './connection.ts';
import type { Call, CallRunner, Connection } from './connection.ts';
import { errorReply } from './error-reply.ts';
import { ReplyWriter } from './reply-writer.ts';

interface DeferredCall {
  readonly call: Call;
  readonly later: Later;
  /** Of its words, which are in memory until it is over. */
  readonly heldBytes: number;
}

/** What one connection had carried out in a group: bytes of answers, and between them the calls that take longer. */
interface Visit {
  readonly connection: Connection;
  calls: Call[];
  results: (readonly Buffer[] | DeferredCall)[];
}

export class Executor implements CallRunner {
  /** Calls that were begun, ever. */
  callsRun = 0;
  readonly #keys: KeySpace;
  readonly #logger: Logger;
  readonly #syncs: boolean;
  readonly #reply = new ReplyWriter();
  /** For answers that come later, while the other one may be in use. */
  readonly #laterReply = new ReplyWriter();
  #ready: Connection[] = [];
  #isScheduled = false;
  /** Resolves when calls, or writes alone, may go on. */
  #pause: { readonly of: 'all' | 'writes' } | undefined;
  /** Why no write can be carried out: those that waited for room will not have it, or their group may have been done. */
  #writeError: Error | undefined;
  /** For large values that are read to be answers: they are bounded together, before they are in memory. */
  readonly #reads = new ByteBudget(LIMITS.readsBytesMax);
  /** Connections whose next call waits for room. */
  readonly #parked = new Set<Connection>();
  /** The last sync that was asked for; what was answered before it is told after it. */
  #syncing: Promise<void> | undefined;

  constructor(keys: KeySpace, { syncs, logger }: { syncs: boolean; logger: Logger }) {
    this.#keys = keys;
    this.#syncs = syncs;
    this.#logger = logger;
  }

  wake(connection: Connection): void {
    if (connection.isQueued) return;
    connection.isQueued = true;
    this.#ready.push(connection);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#ready.length === 0 || this.#pause?.of === 'all') return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    this.#lookForRoom();
    if (this.#pause?.of === 'all') return;
    const ready = this.#ready;
    this.#ready = [];
    const visits: Visit[] = [];
    let visited = 0;
    try {
      this.#keys.group(() => {
        let calls = 0;
        for (; visited < ready.length && calls < LIMITS.callsPerTurnMax && !this.#isFull; visited++) calls += this.#visit(ready[visited]!, visits);
      });
    } catch (error) {
      this.#logger.debug({ err: error, connections: visits.length }, 'a group of commands failed: each is carried out alone');
      // The store may be closed, or unable to go on: then no group can be begun, and each command is told.
      if (visits.length > 0) this.#runAlone(visits, error);
      else for (; visited < ready.length; visited++) this.#visit(ready[visited]!, visits);
    }
    this.#writeError = undefined;
    if (visited < ready.length) this.#ready = [...ready.slice(visited), ...this.#ready];
    this.#deliver(visits);
    this.#schedule();
  }

  /** How many of its calls were carried out. */
  #visit(connection: Connection, visits: Visit[]): number {
    connection.isQueued = false;
    connection.beginVisit();
    const visit: Visit = { connection, calls: [], results: [] };
    for (;;) {
      if (visit.calls.length >= LIMITS.callsPerVisitMax || this.#isFull) {
        this.wake(connection);
        break;
      }
      const call = connection.peek();
      if (call === undefined || connection.owesTooMuch(this.#reply.bytes)) break;
      if (call.command?.kind === 'write' && this.#pause !== undefined) {
        this.#parked.add(connection);
        break;
      }
      connection.shift();
      visit.calls.push(call);
      this.#carryOut(call, visit);
      if (connection.isBarred || connection.context.session.isEnding) break;
    }
    this.#takeReply(visit);
    visits.push(visit);
    const last = visit.calls.at(-1);
    if (last !== undefined) {
      connection.context.session.lastCommandMs = Date.now();
      if (last.command !== undefined) connection.context.session.lastCommand = last.command.name;
    }
    this.callsRun += visit.calls.length;
    return visit.calls.length;
  }

  get #isFull(): boolean {
    try {
      return this.#keys.groupIsFull;
    } catch {
      return false;
    }
  }

  #carryOut(call: Call, visit: Visit): void {
    const { connection } = visit;
    if (call.command === undefined) {
      if (call.isFatal) connection.context.session.isEnding = true;
      this.#reply.error(call.refusal);
      return;
    }
    let later: Later | void;
    try {
      if (this.#writeError !== undefined && call.command.kind === 'write') throw this.#writeError;
      later = call.command.handler(connection.context, call.words, this.#reply);
    } catch (error) {
      this.#reply.error(errorReply(error, this.#logger));
      return;
    }
    if (later === undefined) return;
    this.#takeReply(visit);
    const deferred = { call, later, heldBytes: bytesOf(call.words) };
    visit.results.push(deferred);
    connection.hold(deferred.heldBytes);
    if (call.command.isUnordered === true) return;
    connection.wait(later.bytes, { bars: call.command.kind !== 'read' });
  }

  #takeReply(visit: Visit): void {
    if (this.#reply.bytes > 0) visit.results.push(this.#reply.take());
  }

  /**
   * Nothing of the group happened: its calls again, each in a group of its own, so that each has its own answer. Where it
   * may have happened after all, no write is done a second time.
   */
  #runAlone(visits: readonly Visit[], error: unknown): void {
    this.#reply.take();
    if (error instanceof StoreError && error.code === 'UNAVAILABLE') this.#writeError = error;
    for (const visit of visits) {
      const { connection, calls } = visit;
      for (const result of visit.results) {
        if (!('later' in result)) continue;
        connection.hold(-result.heldBytes);
        if (result.call.command?.isUnordered !== true) connection.waited(result.later.bytes);
      }
      visit.results = [];
      if (calls.length > 0 && connection.context.session.isEnding) {
        // What ended it is among its calls, or came behind them: it is met again.
        connection.context.session.isEnding = false;
        this.wake(connection);
      }
      let begun = 0;
      // One may have to wait now that had not to before: so has what is behind it.
      for (; begun < calls.length && connection.mayBegin(calls[begun]!); begun++) this.#carryOut(calls[begun]!, visit);
      visit.calls = calls.slice(0, begun);
      connection.putBack(calls.slice(begun));
      this.#takeReply(visit);
    }
  }

  #deliver(visits: readonly Visit[]): void {
    const writes = this.#syncs && visits.some(({ calls }) => calls.some(({ command }) => command?.kind === 'write'));
    const synced = writes ? this.#sync() : this.#syncing;
    if (synced === undefined) {
      for (const visit of visits) this.#hand(visit);
      return;
    }
    synced.then(() => { for (const visit of visits) this.#hand(visit); }, (error: unknown) => {
      for (const visit of visits) this.#handErrors(visit, error);
    });
  }

  #hand(visit: Visit): void {
    const { connection, results } = visit;
    // What was not begun for a client that is gone was not promised to it either.
    if (connection.isClosed) return;
    for (const result of results) {
      if (!('later' in result)) connection.answer(result);
      else if (result.call.command?.isUnordered === true) {
        this.#finish(result, (pieces) => {
          connection.hold(-result.heldBytes);
          connection.answerUnordered(pieces);
        });
      }
      else {
        const slot = connection.reserve();
        this.#finish(result, (pieces) => {
          connection.hold(-result.heldBytes);
          connection.fill(slot, pieces);
          connection.answered(result.later.bytes);
        });
      }
    }
    connection.endVisit();
  }

  /** Not power-proof, so none of it is acknowledged. */
  #handErrors({ connection, calls }: Visit, error: unknown): void {
    for (const { command } of calls) if (command?.isUnordered !== true) this.#laterReply.error(errorReply(error, this.#logger));
    connection.answer(this.#laterReply.take());
    connection.context.session.isEnding = true;
    connection.endVisit();
  }

  #finish(deferred: DeferredCall, answer: (pieces: readonly Buffer[]) => void): void {
    const { bytes } = deferred.later;
    // Small ones are read already, and little.
    if (bytes <= LIMITS.inlineBytesMax) void this.#complete(deferred, answer);
    else Promise.resolve(this.#reads.take(bytes)).then(() => this.#complete(deferred, answer)).finally(() => this.#reads.give(bytes));
  }

  async #complete({ call, later }: DeferredCall, answer: (pieces: readonly Buffer[]) => void): Promise<void> {
    try {
      const write = await later.run();
      if (this.#syncs) await (call.command?.kind === 'write' ? this.#sync() : this.#syncing);
      write(this.#laterReply);
    } catch (error) {
      this.#laterReply.error(errorReply(error, this.#logger));
    }
    try {
      answer(this.#laterReply.take());
    } catch (error) {
      this.#logger.error({ err: error }, 'an answer could not be given');
    }
  }

  /** Resolves when all that was done before is power-proof. */
  #sync(): Promise<void> {
    // Not before those that were asked for earlier: answers keep their order.
    const syncing: Promise<void> = Promise.all([this.#keys.sync(), this.#syncing]).then(() => {}).finally(() => {
      if (this.#syncing === syncing) this.#syncing = undefined;
    });
    this.#syncing = syncing;
    return syncing;
  }

  /** Asks the key space whether all, or writes, have to wait. */
  #lookForRoom(): void {
    if (this.#pause !== undefined) return;
    try {
      const paused = this.#keys.paused();
      const wait = paused ?? this.#keys.room();
      if (wait === undefined) return;
      const pause = { of: paused === undefined ? 'writes' as const : 'all' as const };
      this.#pause = pause;
      wait.catch((error: Error) => { this.#writeError = error; }).finally(() => {
        this.#pause = undefined;
        for (const connection of this.#parked) this.wake(connection);
        this.#parked.clear();
        this.#schedule();
      });
    } catch {
      // It is closed, or cannot go on: each call is told.
    }
  }
}
