// The one table of the commands of the Redis protocol, and what is said of those that are not in it.
import type { Command } from './command.ts';
import { CONNECTION_COMMANDS } from './connection-commands.ts';
import { KEY_COMMANDS } from './key-commands.ts';
import { NUMBER_COMMANDS } from './number-commands.ts';
import { SCAN_COMMANDS } from './scan-commands.ts';
import { SERVER_COMMANDS } from './server-commands.ts';
import { STRING_COMMANDS } from './string-commands.ts';

export const REDIS_COMMANDS: readonly Command[] = [...CONNECTION_COMMANDS, ...STRING_COMMANDS, ...NUMBER_COMMANDS, ...KEY_COMMANDS, ...SCAN_COMMANDS, ...SERVER_COMMANDS];

/** By name, in lower case. */
export function commandTable(commands: readonly Command[]): ReadonlyMap<string, Command> {
  return new Map(commands.map((command) => [command.name, command]));
}

export function hasArity({ arity }: Command, words: number): boolean {
  return arity >= 0 ? words === arity : words >= -arity;
}

const SHOWN_BYTES = 128;

export function unknownCommand(words: readonly Buffer[]): string {
  let shown = '';
  for (const word of words.slice(1)) {
    if (shown.length >= SHOWN_BYTES) break;
    shown += `'${word.toString('utf8', 0, SHOWN_BYTES - shown.length)}' `;
  }
  return `ERR unknown command '${words[0]!.toString('utf8', 0, SHOWN_BYTES)}', with args beginning with: ${shown}`;
}

export function wrongArity({ name }: Command): string {
  return `ERR wrong number of arguments for '${name}' command`;
}
