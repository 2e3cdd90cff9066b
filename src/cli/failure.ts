// Ends a command that failed: one line on stderr, and the exit code that says what kind of failure it was.
import { CommanderError } from 'commander';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';

const MEANINGS: readonly (readonly [ExitCode, string])[] = [
  [EXIT.ok, 'done'],
  [EXIT.failure, 'failed for another reason; stderr says which'],
  [EXIT.usage, 'bad option or argument'],
  [EXIT.notFound, 'no such volume, mount, directory or file; status: not mounted'],
  [EXIT.busy, 'in use: mounted already, or a mount that programs are using'],
  [EXIT.denied, 'permission denied, not root, or a read-only file system'],
  [EXIT.foreign, 'a directory or disk that holds something else or belongs to another volume'],
  [EXIT.space, 'not enough space'],
  [EXIT.damaged, 'a damaged volume file or disk'],
  [EXIT.unsupported, 'made by a newer sdfs, or not supported by this system'],
  [EXIT.repaired, 'fsck: something was wrong, and all of it was repaired'],
  [EXIT.incomplete, 'too many disks are missing; see mount --force-degraded'],
];

export const EXIT_CODES_HELP = `\nExit codes:\n${MEANINGS.map(([code, meaning]) => `  ${code}  ${meaning}`).join('\n')}\n`;

export interface FailureOptions {
  /** Print the stack too. */
  readonly debug: boolean;
  readonly write?: (text: string) => void;
}

/** Prints the error and returns the exit code. */
export function reportFailure(error: unknown, options: FailureOptions): ExitCode {
  const write = options.write ?? ((text: string) => process.stderr.write(text));
  // Commander has printed its message already; --help and --version end this way too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const message = error instanceof Error ? error.message : String(error);
  const expected = error instanceof UserError || error instanceof TimeoutError;
  write(`sdfs: ${oneLine(message)}${expected ? '' : ' (this is a defect in sdfs; please report it with the output of --log-level debug)'}\n`);
  if (options.debug && error instanceof Error) write(`${stackOf(error)}\n`);
  return error instanceof UserError ? error.exitCode : EXIT.failure;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, '; ');
}

function stackOf(error: Error): string {
  const stack = error.stack ?? String(error);
  return error.cause instanceof Error ? `${stack}\ncaused by: ${stackOf(error.cause)}` : stack;
}
