// Shows a log file on the terminal while it grows, in a form for people. The processes write to the file, not to this
// one: nothing of theirs depends on who watches.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { prettyFactory } from 'pino-pretty';

const POLL_MS = 200;
/** Bytes shown per look; more comes with the next. */
const READ_BYTES = 256 * 1024;

export class LogView {
  readonly #fd: number;
  readonly #write: (text: string) => void;
  readonly #pretty: (line: string) => string;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  readonly #timer: NodeJS.Timeout;
  #offset: number;
  #rest = '';

  /** Shows what is written from now on. The file must exist. */
  constructor(file: string, options: { colour: boolean; write: (text: string) => void }) {
    this.#fd = openSync(file, 'r');
    this.#offset = fstatSync(this.#fd).size;
    this.#write = options.write;
    this.#pretty = prettyFactory({ colorize: options.colour, ignore: 'pid,role', translateTime: 'SYS:HH:MM:ss.l', messageFormat: '{role}: {msg}', singleLine: true }) as (line: string) => string;
    this.#timer = setInterval(() => this.#show(), POLL_MS);
    this.#timer.unref();
  }

  /** Shows the last lines and lets the file go. */
  close(): void {
    clearInterval(this.#timer);
    this.#show();
    closeSync(this.#fd);
  }

  #show(): void {
    for (;;) {
      const count = readSync(this.#fd, this.#buffer, 0, READ_BYTES, this.#offset);
      if (count === 0) return;
      this.#offset += count;
      const lines = (this.#rest + this.#buffer.toString('utf8', 0, count)).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.#write(this.#pretty(line));
    }
  }
}
