// Replies out of the bytes of a server, however they are split, for a client.
import { FormatError } from '../base/errors.ts';

/** An error reply: its whole line, the code at the front. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

/** Texts are for status lines, Buffers for bulk strings, null for what is not there. */
export type Reply = string | number | Buffer | null | ReplyError | readonly Reply[];

const CR = 13;
const LF = 10;
const NOTHING = Buffer.alloc(0);
/** Arrays in arrays; a server of ours sends fewer. */
const DEPTH_MAX = 8;

interface OpenArray {
  readonly items: Reply[];
  readonly wanted: number;
}

export class ReplyParser {
  readonly #bulkBytesMax: number;
  readonly #itemsMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Nothing can be read before so many bytes are there. */
  #needed = 1;
  #buffer: Buffer = NOTHING;
  #at = 0;
  #open: OpenArray[] = [];

  constructor(limits: { readonly bulkBytesMax: number; readonly itemsMax: number }) {
    this.#bulkBytesMax = limits.bulkBytesMax;
    this.#itemsMax = limits.itemsMax;
  }

  /** More bytes; the parser keeps the Buffer. Take all replies with `next` before the next push. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return;
    this.#buffer = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#at = 0;
    this.#chunks = [];
  }

  /** Undefined when more bytes are needed. FormatError when they are no reply. */
  next(): Reply | undefined {
    if (this.#buffer.length === 0) return undefined;
    for (;;) {
      const item = this.#item();
      if (item === undefined) {
        this.#keep();
        return undefined;
      }
      const whole = this.#close(item);
      if (whole !== undefined) return whole;
    }
  }

  /** What is left is read again when more of it is there. */
  #keep(): void {
    const left = this.#buffer.subarray(this.#at);
    this.#buffer = NOTHING;
    this.#chunks = left.length === 0 ? [] : [left];
    this.#bytes = left.length;
    this.#needed = Math.max(this.#needed - this.#at, left.length + 1);
    this.#at = 0;
  }

  /** The item as the next of the array that is open; the outermost reply when it is complete. */
  #close(item: Reply | OpenArray): Reply | undefined {
    let whole: Reply;
    if (isOpenArray(item)) {
      if (item.wanted > 0) {
        this.#open.push(item);
        if (this.#open.length > DEPTH_MAX) throw new FormatError('a reply', { wanted: `at most ${DEPTH_MAX} arrays in each other`, found: 'more' });
        return undefined;
      }
      whole = item.items;
    } else whole = item;
    for (let top = this.#open.at(-1); top !== undefined; top = this.#open.at(-1)) {
      top.items.push(whole);
      if (top.items.length < top.wanted) return undefined;
      this.#open.pop();
      whole = top.items;
    }
    return whole;
  }

  #item(): Reply | OpenArray | undefined {
    const buffer = this.#buffer;
    const end = buffer.indexOf(CR, this.#at);
    if (end < 0 || end + 1 >= buffer.length) {
      this.#needed = buffer.length + 1;
      return undefined;
    }
    if (buffer[end + 1] !== LF) throw new FormatError('a reply', { wanted: 'a line end', found: `byte ${buffer[end + 1]}` });
    const from = this.#at + 1;
    switch (String.fromCharCode(buffer[this.#at]!)) {
      case '+':
        this.#at = end + 2;
        return buffer.toString('utf8', from, end);
      case '-':
        this.#at = end + 2;
        return new ReplyError(buffer.toString('utf8', from, end));
      case ':':
        this.#at = end + 2;
        return numberOf(buffer.toString('latin1', from, end));
      case '$':
        return this.#bulk(numberOf(buffer.toString('latin1', from, end)), end + 2);
      case '*': {
        const count = numberOf(buffer.toString('latin1', from, end));
        if (count > this.#itemsMax) throw new FormatError('a reply', { wanted: `an array of at most ${this.#itemsMax}`, found: `one of ${count}` });
        this.#at = end + 2;
        return count < 0 ? null : { items: [], wanted: count };
      }
      default:
        throw new FormatError('a reply', { wanted: 'one of + - : $ *', found: `byte ${buffer[this.#at]}` });
    }
  }

  #bulk(bytes: number, from: number): Buffer | null | undefined {
    if (bytes > this.#bulkBytesMax) throw new FormatError('a reply', { wanted: `a bulk string of at most ${this.#bulkBytesMax} bytes`, found: `one of ${bytes}` });
    if (bytes < 0) {
      this.#at = from;
      return null;
    }
    const end = from + bytes;
    if (this.#buffer.length < end + 2) {
      this.#needed = end + 2;
      return undefined;
    }
    if (this.#buffer[end] !== CR || this.#buffer[end + 1] !== LF) throw new FormatError('a reply', { wanted: 'a line end behind a bulk string', found: 'something else' });
    this.#at = end + 2;
    return this.#buffer.subarray(from, end);
  }
}

function isOpenArray(item: Reply | OpenArray): item is OpenArray {
  return typeof item === 'object' && item !== null && 'wanted' in item;
}

function numberOf(text: string): number {
  if (!/^-?\d{1,19}$/.test(text)) throw new FormatError('a reply', { wanted: 'a whole number', found: JSON.stringify(text.slice(0, 32)) });
  return Number(text);
}
