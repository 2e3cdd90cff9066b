// Replies as bytes: written one behind the other into one Buffer that is used again, large values beside it without a copy.
//
//   +<text>\r\n   -<error>\r\n   :<integer>\r\n   $<bytes>\r\n<bytes>\r\n   $-1\r\n (nil)   *<count>\r\n (then so many replies)

const FIRST_BYTES = 64 * 1024;
/** Values from this size on are not copied. */
const APART_BYTES = 16 * 1024;
/** A Buffer that grew beyond this is not kept. */
const KEPT_BYTES_MAX = 1024 * 1024;

const DOLLAR = 36;
const STAR = 42;
const COLON = 58;
const DIGIT_0 = 48;
const CR = 13;
const LF = 10;

const OK = Buffer.from('+OK\r\n');
const NIL = Buffer.from('$-1\r\n');

export class ReplyWriter {
  /** Its first #length bytes are the last of what was written. */
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;
  /** What comes before them, since the last `take`. */
  #pieces: Buffer[] = [];
  #piecesBytes = 0;

  /** Bytes since the last `take`. */
  get bytes(): number {
    return this.#piecesBytes + this.#length;
  }

  ok(): void {
    this.raw(OK);
  }

  nil(): void {
    this.raw(NIL);
  }

  /** One line, without line ends in it. */
  simple(text: string): void {
    this.#line('+', text);
  }

  /** `text` begins with its code, as in `ERR no such thing`. */
  error(text: string): void {
    this.#line('-', /[\r\n]/.test(text) ? text.replaceAll(/[\r\n]+/g, ' ') : text);
  }

  /** A whole number that is exact in a JS number, or a BigInt. */
  integer(value: number | bigint): void {
    if (typeof value === 'bigint' || value < 0) {
      this.#line(':', String(value));
      return;
    }
    this.#header(COLON, value);
  }

  array(count: number): void {
    this.#header(STAR, count);
  }

  /** Keeps values from 16 KiB on: do not change them. */
  bulk(value: Buffer): void {
    this.#header(DOLLAR, value.length);
    if (value.length >= APART_BYTES) {
      this.#cut();
      this.#pieces.push(value);
      this.#piecesBytes += value.length;
    } else this.raw(value);
    this.#ensure(2);
    this.#buffer[this.#length++] = CR;
    this.#buffer[this.#length++] = LF;
  }

  bulkText(text: string): void {
    this.bulk(Buffer.from(text));
  }

  /** Whole replies, encoded. */
  raw(bytes: Buffer): void {
    const { length } = bytes;
    this.#ensure(length);
    if (length <= 32) {
      // Cheaper than a call into the runtime.
      const buffer = this.#buffer;
      let at = this.#length;
      for (let index = 0; index < length; index++) buffer[at++] = bytes[index]!;
    } else bytes.copy(this.#buffer, this.#length);
    this.#length += length;
  }

  /** What was written since the last call, as Buffers of its own; none when nothing was. */
  take(): Buffer[] {
    this.#cut();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#piecesBytes = 0;
    return pieces;
  }

  #cut(): void {
    if (this.#length === 0) return;
    const piece = Buffer.from(this.#buffer.subarray(0, this.#length));
    this.#pieces.push(piece);
    this.#piecesBytes += piece.length;
    this.#length = 0;
    if (this.#buffer.length > KEPT_BYTES_MAX) this.#buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  #line(mark: string, text: string): void {
    const bytes = text.length * 3 + 3;
    this.#ensure(bytes);
    this.#length += this.#buffer.write(`${mark}${text}\r\n`, this.#length, 'utf8');
  }

  /** `value` is a whole number from 0 on. */
  #header(mark: number, value: number): void {
    this.#ensure(24);
    const buffer = this.#buffer;
    buffer[this.#length++] = mark;
    if (value < 10) buffer[this.#length++] = DIGIT_0 + value;
    else if (value < 100) {
      buffer[this.#length++] = DIGIT_0 + Math.trunc(value / 10);
      buffer[this.#length++] = DIGIT_0 + (value % 10);
    } else this.#length += buffer.write(String(value), this.#length, 'latin1');
    buffer[this.#length++] = CR;
    buffer[this.#length++] = LF;
  }

  #ensure(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#buffer.length));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/** One reply, or several, as bytes of their own. */
export function encoded(write: (reply: ReplyWriter) => void): Buffer {
  const reply = new ReplyWriter();
  write(reply);
  const pieces = reply.take();
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}
