// The log of every process: pino, JSON lines by default, pretty when a terminal reads it.
import { existsSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import pino from 'pino';
import type { Logger } from 'pino';

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

/** A logger whose lines are written before it returns, so that the last words of a process are kept. */
export function createLogger(options: LogOptions): Logger {
  return pino({ level: options.level ?? 'info', base: { role: options.role, pid: process.pid } }, new LogFile(options.file));
}

/**
 * Where pino's lines go. A line that cannot be written is lost: a full, read-only or dead disk is no reason to end or
 * to hold up what the log tells of. (pino's own destination, told to write at once, tries such a line for ever.)
 */
class LogFile {
  readonly #file: string | undefined;
  #fd: number | undefined;
  /** A line was cut off: the next one begins on a line of its own. */
  #isCut = false;

  constructor(file: string | undefined) {
    this.#file = file;
    this.#fd = file === undefined ? STDERR : undefined;
  }

  write(line: string): void {
    try {
      this.#fd ??= openForAppend(this.#file!);
      const bytes = Buffer.from(this.#isCut ? `\n${line}` : line);
      for (let written = 0; written < bytes.length; ) {
        written += writeSync(this.#fd, bytes, written);
        this.#isCut = written < bytes.length;
      }
    } catch {
      // There is nowhere to say it.
    }
  }
}

/** A log that cannot be opened, since its disk has failed, is none: stderr is left. */
function openForAppend(file: string): number {
  try {
    // Not recursive: Node tries for ever where the parent is there and takes no directory, as in /proc.
    if (!existsSync(dirname(file))) mkdirSync(dirname(file), { mode: 0o700 });
    return openSync(file, 'a', 0o600);
  } catch {
    return STDERR;
  }
}
