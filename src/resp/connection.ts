// One connection: its bytes become calls of commands, and the answers of these its bytes in the order of the calls.
//
//   bytes ─► parser ─► calls, one after the other, carried out by the executor ─► slots ─► bytes
//
// Some answers take longer, since their values lie on the shards: those behind them wait in slots. A call waits for all
// before it, but for reads: they wait beside each other. What says in its reply what it answers has no slot.
import { LIMITS } from '../base/limits.ts';
import type { Command, CommandContext } from './command.ts';
import { CommandParser, KNOWN_CLIENT, UNKNOWN_CLIENT } from './command-parser.ts';
import { hasArity, unknownCommand, wrongArity } from './command-table.ts';
import { ProtocolError } from './errors.ts';

/** The other end of a connection, whatever it is. */
export interface Outlet {
  /** Whole replies. Keeps the Buffers. */
  send(pieces: readonly Buffer[]): void;
  /** More than little is in memory for this connection, and was not sent. */
  held(): void;
  /** Bytes that were sent and not taken; `drained` of the connection is to be called when they are. */
  readonly pendingBytes: number;
  /** No more bytes are wanted for now, or again. */
  pause(): void;
  resume(): void;
  /** Closes it when all is out. */
  end(): void;
}

export type Call =
  | { readonly command: Command; readonly words: readonly Buffer[] }
  /** Refused as it stands. `isFatal`: nothing behind it can be understood. */
  | { readonly command: undefined; readonly refusal: string; readonly isFatal: boolean };

/** Whoever carries out what connections have ready. */
export interface CallRunner {
  wake(connection: Connection): void;
}

/** Answers in order; undefined where one is not there yet. */
interface Slot {
  pieces: readonly Buffer[] | undefined;
}

/** What one connection holds besides is little, and weighed when something comes or goes. */
const HELD_BYTES = 64 * 1024;

export class Connection {
  readonly context: CommandContext;
  /** The executor knows that it is to be looked at. */
  isQueued = false;
  /** One of the calls that wait has to be answered before anything else is begun. */
  isBarred = false;
  /** Calls whose answers are slots without bytes, or on their way into one; and what the values in these have. */
  #waitingCalls = 0;
  #waitingBytes = 0;
  /** Of the words of calls under way: values that are being put on the shards. */
  #callBytes = 0;
  readonly #outlet: Outlet;
  readonly #runner: CallRunner;
  readonly #parser: CommandParser;
  readonly #slots: Slot[] = [];
  #head: Call | undefined;
  /** Calls that were begun, and have to be begun anew, before the head. */
  #returned: Call[] = [];
  #heldBytes = 0;
  #isPaused = false;
  #isClosed = false;
  /** The other end sends nothing more. */
  #isAtEnd = false;
  /** Looks of the executor at it whose answers are not handed over. */
  #visits = 0;

  constructor({ context, outlet, runner }: { context: CommandContext; outlet: Outlet; runner: CallRunner }) {
    this.context = context;
    this.#outlet = outlet;
    this.#runner = runner;
    this.#parser = new CommandParser(context.session.isKnown ? KNOWN_CLIENT : UNKNOWN_CLIENT);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** What is in memory for it: bytes of a command that is not whole, of those under way, and answers that are not taken. What is being read is bounded by itself. */
  get bytes(): number {
    return this.#parser.heldBytes + this.#callBytes + this.#heldBytes + this.#outlet.pendingBytes;
  }

  /** More bytes; they are kept. */
  receive(chunk: Buffer): void {
    if (this.#isClosed || this.context.session.isEnding) return;
    this.#parser.push(chunk);
    // What came before is not carried out yet: this is enough for now.
    if (this.isQueued || this.#isHeld) this.#pause();
    this.#runner.wake(this);
  }

  /** The other end sends nothing more; it may still want its answers. */
  receiveEnd(): void {
    this.#isAtEnd = true;
    this.#runner.wake(this);
  }

  /** All that was sent is taken. */
  drained(): void {
    if (this.#isHeld || this.#isPaused) this.#runner.wake(this);
  }

  get #isHeld(): boolean {
    return this.#head !== undefined || this.#returned.length > 0;
  }

  /** The other end is gone: nothing is answered any more. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#head = undefined;
    this.#returned = [];
    this.#slots.length = 0;
    for (const extension of this.context.session.extensions.values()) extension.close();
  }

  /** The next call, if it may be begun now; it stays the next until `shift`. */
  peek(): Call | undefined {
    if (this.#isClosed || this.context.session.isEnding) return undefined;
    this.#head ??= this.#returned.shift() ?? this.#parse();
    if (this.#head === undefined) {
      if (this.#isAtEnd) this.context.session.isEnding = true;
      this.#resume();
      return undefined;
    }
    return this.mayBegin(this.#head) ? this.#head : this.#hold();
  }

  shift(): void {
    this.#head = undefined;
  }

  /** Calls that were taken, and are to be the next again, in this order: nothing of them was done. */
  putBack(calls: readonly Call[]): void {
    this.#returned = [...calls, ...(this.#head === undefined ? [] : [this.#head]), ...this.#returned];
    this.#head = undefined;
  }

  /** More than is to be owed to one connection, with `more` bytes that are not in a slot. */
  owesTooMuch(more: number): boolean {
    return this.#heldBytes + this.#waitingBytes + more + this.#outlet.pendingBytes > LIMITS.clientReplyBytesMax;
  }

  /** A place for an answer that comes later. */
  reserve(): Slot {
    const slot: Slot = { pieces: undefined };
    this.#slots.push(slot);
    return slot;
  }

  fill(slot: Slot, pieces: readonly Buffer[]): void {
    if (this.#isClosed) return;
    slot.pieces = pieces;
    this.#heldBytes += bytesOf(pieces);
    this.#flush();
    if (this.#heldBytes > HELD_BYTES) this.#outlet.held();
  }

  /** Calls with so many bytes of words are under way, or are not any more. */
  hold(bytes: number): void {
    this.#callBytes += bytes;
    if (bytes > HELD_BYTES) this.#outlet.held();
  }

  /** The answers of the calls behind all that have slots. */
  answer(pieces: readonly Buffer[]): void {
    if (this.#isClosed || pieces.length === 0) return;
    if (this.#slots.length === 0) this.#outlet.send(pieces);
    else this.fill(this.reserve(), pieces);
  }

  /** An answer that says what it answers. */
  answerUnordered(pieces: readonly Buffer[]): void {
    if (!this.#isClosed) this.#outlet.send(pieces);
  }

  /** A call has to wait; a large answer holds up what is behind it, so that only one is in memory at a time. */
  wait(bytes: number, { bars }: { bars: boolean }): void {
    this.#waitingCalls++;
    this.#waitingBytes += bytes;
    if (bars) this.isBarred = true;
  }

  /** It waits no more: it is answered, or will be begun anew. */
  waited(bytes: number): void {
    this.#waitingCalls--;
    this.#waitingBytes -= bytes;
    if (this.#waitingCalls === 0) this.isBarred = false;
  }

  /** One of the waiting calls is answered. */
  answered(bytes: number): void {
    this.waited(bytes);
    if (!this.#isClosed) this.#runner.wake(this);
  }

  beginVisit(): void {
    this.#visits++;
  }

  /** Ends the connection when that was asked for and all is answered. */
  endVisit(): void {
    this.#visits--;
    if (this.context.session.isEnding && !this.#isClosed && this.#visits === 0 && this.#slots.length === 0) this.#outlet.end();
  }

  /** Whether a call has not to wait for those before it. */
  mayBegin(call: Call): boolean {
    if (this.#waitingCalls > 0 && call.command?.isUnordered !== true) {
      if (this.isBarred || call.command?.kind !== 'read' || this.#waitingCalls >= LIMITS.clientReadsMax) return false;
    }
    return !this.owesTooMuch(0);
  }

  /** It has to wait: so has what is behind it. */
  #hold(): undefined {
    this.#pause();
  }

  #parse(): Call | undefined {
    const { session, table } = this.context;
    let words: Buffer[] | undefined;
    try {
      this.#parser.limits = session.isKnown ? KNOWN_CLIENT : UNKNOWN_CLIENT;
      words = this.#parser.next();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return { command: undefined, refusal: `ERR ${error.message}`, isFatal: true };
    }
    if (words === undefined) return undefined;
    const name = words[0]!.toString('latin1');
    const command = table.get(name) ?? table.get(name.toLowerCase());
    if (command === undefined) return { command, refusal: unknownCommand(words), isFatal: false };
    if (!hasArity(command, words.length)) return { command: undefined, refusal: wrongArity(command), isFatal: false };
    if (!session.isKnown && command.isOpen !== true) return { command: undefined, refusal: 'NOAUTH Authentication required.', isFatal: false };
    return { command, words };
  }

  #flush(): void {
    const pieces: Buffer[] = [];
    let sent = 0;
    for (; this.#slots[sent]?.pieces !== undefined; sent++) pieces.push(...this.#slots[sent]!.pieces!);
    if (sent === 0) return;
    this.#slots.splice(0, sent);
    this.#heldBytes -= bytesOf(pieces);
    this.#outlet.send(pieces);
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#outlet.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#outlet.resume();
  }
}

export function bytesOf(pieces: readonly Buffer[]): number {
  let bytes = 0;
  for (const { length } of pieces) bytes += length;
  return bytes;
}
