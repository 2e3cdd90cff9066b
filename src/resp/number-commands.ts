// INCR and its kin: decimal 64-bit integers as values.
import { exactInteger, isInteger64, parseInteger } from './arguments.ts';
import type { Command, CommandContext, Handler, Later } from './command.ts';
import { CommandError } from './errors.ts';
import type { ReplyWriter } from './reply-writer.ts';
import { checkKey } from './string-commands.ts';
import { updateValue } from './values.ts';

function add(context: CommandContext, key: Buffer, amount: bigint, reply: ReplyWriter): Later | void {
  return updateValue(context, checkKey(key), reply, {
    change: (old, entry) => {
      const before = old === undefined ? 0n : parseInteger(old);
      if (before === undefined) throw new CommandError('ERR value is not an integer or out of range');
      const sum = before + amount;
      if (!isInteger64(sum)) throw new CommandError('ERR increment or decrement would overflow');
      return { value: Buffer.from(String(sum)), expiresMs: entry?.expiresMs ?? 0, result: sum };
    },
    write: (to, sum) => to.integer(sum),
  });
}

const incrby: Handler = (context, words, reply) => add(context, words[1]!, exactInteger(words[2]!), reply);

const decrby: Handler = (context, words, reply) => {
  const amount = exactInteger(words[2]!);
  if (!isInteger64(-amount)) throw new CommandError('ERR decrement would overflow');
  return add(context, words[1]!, -amount, reply);
};

export const NUMBER_COMMANDS: readonly Command[] = [
  { name: 'incr', arity: 2, kind: 'write', handler: (context, words, reply) => add(context, words[1]!, 1n, reply), keys: [1, 1, 1] },
  { name: 'decr', arity: 2, kind: 'write', handler: (context, words, reply) => add(context, words[1]!, -1n, reply), keys: [1, 1, 1] },
  { name: 'incrby', arity: 3, kind: 'write', handler: incrby, keys: [1, 1, 1] },
  { name: 'decrby', arity: 3, kind: 'write', handler: decrby, keys: [1, 1, 1] },
];
