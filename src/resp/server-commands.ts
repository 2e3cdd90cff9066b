// Commands about the server: what it is, what it can, how it is set.
import { integer, option } from './arguments.ts';
import type { Command, Handler } from './command.ts';
import { CommandError } from './errors.ts';
import { globMatches } from './glob.ts';
import { configuration, infoText } from './info.ts';
import type { ReplyWriter } from './reply-writer.ts';

const info: Handler = (context, words, reply) => reply.bulkText(infoText(context, words.slice(1).map((word) => word.toString().toLowerCase())));

const time: Handler = (_context, _words, reply) => {
  const now = Date.now();
  reply.array(2);
  reply.bulkText(String(Math.floor(now / 1000)));
  reply.bulkText(String((now % 1000) * 1000));
};

const config: Handler = (context, words, reply) => {
  const name = option(words[1]!);
  if (name !== 'GET') throw new CommandError(name === 'SET' || name === 'REWRITE' ? 'ERR this server is configured by the options of sdfs kv serve' : unknownSubcommand('CONFIG', words[1]!));
  if (words.length < 3) throw new CommandError("ERR wrong number of arguments for 'config|get' command");
  const patterns = words.slice(2).map((word) => Buffer.from(word.toString().toLowerCase()));
  const found = [...configuration(context)].filter(([parameter]) => patterns.some((pattern) => globMatches(pattern, Buffer.from(parameter))));
  reply.array(2 * found.length);
  for (const word of found.flat()) reply.bulkText(word);
};

/** There are no replicas, and none will come: what Redis would answer when the time is up is answered at once. */
const wait: Handler = (_context, words, reply) => {
  integer(words[1]!);
  if (integer(words[2]!, 'ERR timeout is not an integer or out of range') < 0) throw new CommandError('ERR timeout is negative');
  reply.integer(0);
};

function unknownSubcommand(command: string, given: Buffer): string {
  return `ERR unknown subcommand '${given.toString().slice(0, 128)}'. Try ${command} HELP.`;
}

const command: Handler = ({ table }, words, reply) => {
  const subcommand = words.length === 1 ? '' : option(words[1]!);
  switch (subcommand) {
    case '': return describeAll([...table.values()], reply);
    case 'COUNT': return reply.integer(table.size);
    // What a command is for is told by Redis's own pages; clients take none for an answer.
    case 'DOCS': return reply.array(0);
    case 'LIST': {
      reply.array(table.size);
      for (const name of table.keys()) reply.bulkText(name);
      return;
    }
    case 'INFO': {
      const wanted = words.length === 2 ? [...table.values()] : words.slice(2).map((word) => table.get(word.toString().toLowerCase()));
      return describeAll(wanted, reply);
    }
    default: throw new CommandError(unknownSubcommand('COMMAND', words[1]!));
  }
};

function describeAll(commands: readonly (Command | undefined)[], reply: ReplyWriter): void {
  reply.array(commands.length);
  for (const each of commands) {
    if (each === undefined) reply.nil();
    else describe(each, reply);
  }
}

function describe({ name, arity, kind, keys = [0, 0, 0] }: Command, reply: ReplyWriter): void {
  reply.array(6);
  reply.bulkText(name);
  reply.integer(arity);
  reply.array(kind === 'other' ? 0 : 1);
  if (kind !== 'other') reply.simple(kind === 'read' ? 'readonly' : 'write');
  for (const position of keys) reply.integer(position);
}

export const SERVER_COMMANDS: readonly Command[] = [
  { name: 'info', arity: -1, kind: 'read', handler: info },
  { name: 'time', arity: 1, kind: 'other', handler: time },
  { name: 'config', arity: -2, kind: 'other', handler: config },
  { name: 'wait', arity: 3, kind: 'other', handler: wait },
  { name: 'command', arity: -1, kind: 'other', handler: command },
];
