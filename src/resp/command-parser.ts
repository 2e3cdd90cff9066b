// Commands out of the bytes of a connection, however they are split: RESP arrays of bulk strings, and lines as people type.
//
//   *<count>\r\n  then count times  $<bytes>\r\n <bytes> \r\n        an array, as programs send it
//   word word "quoted word"\r\n                                      a line, as telnet sends it; \n alone will do
//
// https://redis.io/docs/latest/develop/reference/protocol-spec/; the texts of the errors are those of Redis.
import { LIMITS } from '../base/limits.ts';
import { ProtocolError } from './errors.ts';
import { splitLine } from './inline-command.ts';

export interface ParserLimits {
  readonly argumentsMax: number;
  readonly bulkBytesMax: number;
  /** Said with the errors: what would allow more. */
  readonly whose: 'unauthenticated ' | '';
}

/** A connection that has not said its password may not make the server hold much for it. The numbers are Redis's. */
export const UNKNOWN_CLIENT: ParserLimits = { argumentsMax: 10, bulkBytesMax: 16_384, whose: 'unauthenticated ' };
export const KNOWN_CLIENT: ParserLimits = { argumentsMax: LIMITS.commandArgumentsMax, bulkBytesMax: LIMITS.valueBytesMax, whose: '' };

const CR = 13;
const LF = 10;
const DOLLAR = 36;
const MINUS = 45;
const STAR = 42;
const DIGIT_0 = 48;
const DIGIT_9 = 57;
const NOTHING = Buffer.alloc(0);
/** A length has at most so many characters, its line end apart. */
const LENGTH_CHARACTERS = 20;
const GATHER_BYTES_MIN = 4096;

/** What `#length` found: a number from 0 on, or one of these. */
const INCOMPLETE = -1;
const NOT_A_LENGTH = -2;

export class CommandParser {
  limits: ParserLimits;
  /** Bytes that are not parsed yet, [#at, #chunk.length). Arguments are views of it: it is never written to. */
  #chunk: Buffer = NOTHING;
  #at = 0;
  /** Arguments of the array that is being read, and how many it is to have; 0: none is being read. */
  #arguments: Buffer[] = [];
  #argumentBytes = 0;
  #wanted = 0;
  /** Length of the bulk string that is being read; -1: its header comes next. */
  #bulkBytes = -1;
  /** The first bytes of a bulk string that comes in several chunks. */
  #part: Buffer = NOTHING;
  #partBytes = 0;

  constructor(limits: ParserLimits = KNOWN_CLIENT) {
    this.limits = limits;
  }

  /** Bytes that are held for a command that is not complete; about, for the smallest. */
  get heldBytes(): number {
    return this.#chunk.length - this.#at + this.#part.length + this.#argumentBytes;
  }

  /** Length of a bulk string that has begun to come, else 0. */
  get expectedBytes(): number {
    return Math.max(0, this.#bulkBytes);
  }

  /** More bytes of the connection; the parser keeps the Buffer. Take all commands with `next` before the next push. */
  push(chunk: Buffer): void {
    this.#chunk = this.#at === this.#chunk.length ? chunk : Buffer.concat([this.#chunk.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** Name and arguments of the next command; undefined when more bytes are needed. ProtocolError. */
  next(): Buffer[] | undefined {
    for (;;) {
      if (this.#wanted === 0 && !this.#begin()) return undefined;
      while (this.#arguments.length < this.#wanted) {
        const bulk = this.#bulk();
        if (bulk === undefined) return undefined;
        this.#arguments.push(bulk);
        this.#argumentBytes += bulk.length;
      }
      const command = this.#arguments;
      this.#arguments = [];
      this.#argumentBytes = 0;
      this.#wanted = 0;
      // An empty line, or an array of none, is nothing, as in Redis.
      if (command.length > 0) return command;
    }
  }

  /** Reads the head of an array, or a whole line. False: more bytes are needed. */
  #begin(): boolean {
    if (this.#at === this.#chunk.length) return false;
    if (this.#chunk[this.#at] !== STAR) return this.#line();
    const count = this.#length(this.#at + 1);
    if (count === INCOMPLETE) return false;
    if (count === NOT_A_LENGTH) throw new ProtocolError('invalid multibulk length');
    if (count > this.limits.argumentsMax) throw new ProtocolError(`${this.limits.whose === '' ? 'invalid' : 'unauthenticated'} multibulk length`);
    this.#wanted = count;
    this.#bulkBytes = -1;
    return true;
  }

  #bulk(): Buffer | undefined {
    if (this.#bulkBytes < 0) {
      if (this.#at === this.#chunk.length) return undefined;
      const mark = this.#chunk[this.#at]!;
      if (mark !== DOLLAR) throw new ProtocolError(`expected '$', got '${mark >= 32 && mark < 127 ? String.fromCharCode(mark) : ' '}'`);
      const bytes = this.#length(this.#at + 1);
      if (bytes === INCOMPLETE) return undefined;
      if (bytes === NOT_A_LENGTH) throw new ProtocolError('invalid bulk length');
      if (bytes > this.limits.bulkBytesMax) throw new ProtocolError(this.limits.whose === '' ? `invalid bulk length: ${bytes} bytes, ${this.limits.bulkBytesMax} are allowed` : 'unauthenticated bulk length');
      if (this.#argumentBytes + bytes > LIMITS.commandBytesMax) throw new ProtocolError(`too big a command: ${this.#argumentBytes + bytes} bytes, ${LIMITS.commandBytesMax} are allowed`);
      this.#bulkBytes = bytes;
    }
    const bulk = this.#bulkBody(this.#bulkBytes);
    if (bulk !== undefined) this.#bulkBytes = -1;
    return bulk;
  }

  /** The bytes with their line end. What came in several chunks is gathered in a Buffer that grows with what is there. */
  #bulkBody(bytes: number): Buffer | undefined {
    const left = bytes + 2 - this.#partBytes;
    const there = this.#chunk.length - this.#at;
    const from = this.#at;
    if (there >= left && this.#partBytes === 0) {
      this.#at += left;
      this.#checkEnd(this.#chunk[from + bytes], this.#chunk[from + bytes + 1]);
      return this.#chunk.subarray(from, from + bytes);
    }
    const taken = Math.min(there, left);
    this.#gather(this.#chunk.subarray(from, from + taken), bytes + 2);
    this.#at += taken;
    if (taken < left) return undefined;
    const whole = this.#part;
    this.#part = NOTHING;
    this.#partBytes = 0;
    this.#checkEnd(whole[bytes], whole[bytes + 1]);
    return whole.subarray(0, bytes);
  }

  #gather(piece: Buffer, wholeBytes: number): void {
    const needed = this.#partBytes + piece.length;
    if (needed > this.#part.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(wholeBytes, Math.max(2 * needed, GATHER_BYTES_MIN)));
      this.#part.copy(grown, 0, 0, this.#partBytes);
      this.#part = grown;
    }
    piece.copy(this.#part, this.#partBytes);
    this.#partBytes = needed;
  }

  #checkEnd(first: number | undefined, second: number | undefined): void {
    if (first !== CR || second !== LF) throw new ProtocolError('a bulk string does not end after its length');
  }

  /** The number from `at` to the line end; moves behind it when it is whole. A negative count is none, as in Redis. */
  #length(at: number): number {
    const chunk = this.#chunk;
    let index = at;
    const isNegative = chunk[index] === MINUS;
    if (isNegative) index++;
    let value = 0;
    for (; index < chunk.length && chunk[index] !== CR; index++) {
      const digit = chunk[index]!;
      if (digit < DIGIT_0 || digit > DIGIT_9 || index - at > LENGTH_CHARACTERS) return NOT_A_LENGTH;
      value = value * 10 + (digit - DIGIT_0);
    }
    if (index + 1 >= chunk.length) return INCOMPLETE;
    if (chunk[index + 1] !== LF || index === at + (isNegative ? 1 : 0)) return NOT_A_LENGTH;
    if (isNegative && chunk[at - 1] === DOLLAR) return NOT_A_LENGTH;
    this.#at = index + 2;
    return isNegative ? 0 : value;
  }

  #line(): boolean {
    const end = this.#chunk.indexOf(LF, this.#at);
    const bytes = (end < 0 ? this.#chunk.length : end) - this.#at;
    if (bytes > LIMITS.commandLineBytesMax) throw new ProtocolError('too big inline request');
    if (end < 0) return false;
    const stop = end > this.#at && this.#chunk[end - 1] === CR ? end - 1 : end;
    const words = splitLine(this.#chunk.subarray(this.#at, stop));
    this.#at = end + 1;
    if (words === undefined) throw new ProtocolError('unbalanced quotes in request');
    this.#arguments = words;
    this.#wanted = words.length;
    return true;
  }
}
