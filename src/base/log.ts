// The log of every process: pino, JSON lines by default, pretty when a terminal reads it.
import pino from 'pino';
import type { Logger } from 'pino';

export type { Logger };

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
  const destination = openDestination(options.file);
  // A log that cannot be written (a full disk) is no reason to end what it tells of.
  destination.on('error', () => {});
  return pino({ level: options.level ?? 'info', base: { role: options.role, pid: process.pid } }, destination);
}

/** A log that cannot be opened, since its disk has failed, is none either: stderr is left. */
function openDestination(file: string | undefined): ReturnType<typeof pino.destination> {
  const options = { sync: true, append: true, mkdir: true };
  try {
    return pino.destination({ ...options, dest: file ?? 2 });
  } catch {
    return pino.destination({ ...options, dest: 2 });
  }
}
