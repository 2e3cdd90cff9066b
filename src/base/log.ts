// The log of every process: pino, JSON lines by default, pretty when a terminal reads it.
import { existsSync, mkdirSync, open, openSync, write, writeSync } from 'node:fs';
import { mkdir as mkdirLater } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import type { Logger } from 'pino';
import { LIMITS } from './limits.ts';

export type { Logger };

const STDERR = 2;

export interface LogOptions {
  /** pino level name; default `info`. */
  level?: string;
  /** Process role, part of every line. */
  role: string;
  /** Where lines go: a file path, or fd 2 when absent. */
  file?: string | undefined;
}

/** A logger whose lines are on their way to the file when it returns, and there when the process exits. */
export function createLogger(options: LogOptions): Logger {
  return pino({ level: options.level ?? 'info', base: { role: options.role, pid: process.pid } }, new LogFile(options.file));
}

const files = new Set<LogFile>();
process.on('exit', () => {
  for (const file of files) file.writeRest();
});

/**
 * Where pino's lines go. A line that cannot be written is lost: a full, read-only, hanging or dead disk is no reason to end
 * or to hold up what the log tells of. (pino's own destination, told to write at once, tries such a line for ever.) So a
 * thread of libuv's pool writes, and no more than one: that of a disk that hangs does not come back.
 */
class LogFile {
  readonly #file: string | undefined;
  #fd: number | undefined;
  #waiting: string[] = [];
  /** Since when a write is on its way. */
  #busySinceMs: number | undefined;
  /** A line was cut off: the next one begins on a line of its own. */
  #isCut = false;

  constructor(file: string | undefined) {
    this.#file = file;
    this.#fd = file === undefined ? STDERR : undefined;
    if (file !== undefined) files.add(this);
  }

  write(line: string): void {
    if (this.#file === undefined) {
      this.#writeNow(line);
      return;
    }
    if (this.#waiting.length < LIMITS.logLinesMax) this.#waiting.push(line);
    if (this.#busySinceMs === undefined) void this.#writeAll();
  }

  /** At exit, when nothing comes back from other threads any more. */
  writeRest(): void {
    if (this.#waiting.length === 0 || performance.now() - (this.#busySinceMs ?? Infinity) > LIMITS.logStuckMs) return;
    this.#writeNow(this.#waiting.join(''));
  }

  async #writeAll(): Promise<void> {
    this.#busySinceMs = performance.now();
    this.#fd ??= await openLater(this.#file!);
    while (this.#waiting.length > 0) {
      const text = this.#waiting.join('');
      this.#waiting = [];
      this.#busySinceMs = performance.now();
      const bytes = Buffer.from(this.#isCut ? `\n${text}` : text);
      try {
        for (let written = 0; written < bytes.length; ) {
          const { bytesWritten } = await writeLater(this.#fd, bytes.subarray(written));
          written += bytesWritten;
          this.#isCut = written < bytes.length;
        }
      } catch {
        // There is nowhere to say it.
      }
    }
    this.#busySinceMs = undefined;
  }

  #writeNow(text: string): void {
    try {
      this.#fd ??= openNow(this.#file!);
      const bytes = Buffer.from(this.#isCut ? `\n${text}` : text);
      for (let written = 0; written < bytes.length; ) {
        written += writeSync(this.#fd, bytes, written);
        this.#isCut = written < bytes.length;
      }
    } catch {
      // There is nowhere to say it.
    }
  }
}

const writeLater = promisify(write);

/** A log that cannot be opened, since its disk has failed, is none: stderr is left. */
async function openLater(file: string): Promise<number> {
  try {
    // Not recursive: Node tries for ever where the parent is there and takes no directory, as in /proc.
    await mkdirLater(dirname(file), { mode: 0o700 }).catch(() => {});
    return await promisify(open)(file, 'a', 0o600);
  } catch {
    return STDERR;
  }
}

function openNow(file: string): number {
  try {
    if (!existsSync(dirname(file))) mkdirSync(dirname(file), { mode: 0o700 });
    return openSync(file, 'a', 0o600);
  } catch {
    return STDERR;
  }
}
