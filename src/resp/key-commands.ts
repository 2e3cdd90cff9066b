// Commands on keys whatever their values are: deleting, looking whether they are there, and when they go by themselves.
import type { KeyEntry } from '../keys/key-space.ts';
import { option, timeOf } from './arguments.ts';
import type { TimeOption } from './arguments.ts';
import type { Command, Handler } from './command.ts';
import { CommandError } from './errors.ts';

const del: Handler = ({ keys }, words, reply) => {
  const count = keys.transact((transaction) => {
    let deleted = 0;
    for (let at = 1; at < words.length; at++) if (transaction.delete(words[at]!)) deleted++;
    return deleted;
  });
  reply.integer(count);
};

const exists: Handler = ({ keys }, words, reply) => {
  let count = 0;
  for (let at = 1; at < words.length; at++) if (keys.get(words[at]!) !== undefined) count++;
  reply.integer(count);
};

const type: Handler = ({ keys }, words, reply) => reply.simple(keys.get(words[1]!) === undefined ? 'none' : 'string');

/** Whether the new time is to be set, by the option at the end. */
const WHEN: ReadonlyMap<string, (before: number, after: number) => boolean> = new Map([
  ['NX', (before) => before === 0],
  ['XX', (before) => before !== 0],
  ['GT', (before, after) => before !== 0 && after > before],
  ['LT', (before, after) => before === 0 || after < before],
]);

function expire(how: TimeOption, command: string): Handler {
  return ({ keys }, words, reply) => {
    const expiresMs = timeOf(how, words[2]!, command);
    const wanted = words.slice(3).map((word) => {
      const when = WHEN.get(option(word));
      if (when === undefined) throw new CommandError(`ERR Unsupported option ${word.toString().slice(0, 128)}`);
      return when;
    });
    reply.integer(keys.transact((transaction) => {
      const entry = transaction.get(words[1]!);
      if (entry === undefined || !wanted.every((when) => when(entry.expiresMs, expiresMs))) return 0;
      // One that has passed ends it at once.
      if (expiresMs <= Date.now()) transaction.delete(words[1]!);
      else transaction.expire(words[1]!, expiresMs);
      return 1;
    }));
  };
}

const persist: Handler = ({ keys }, words, reply) => {
  reply.integer(keys.transact((transaction) => {
    const entry = transaction.get(words[1]!);
    return entry !== undefined && entry.expiresMs !== 0 && transaction.expire(words[1]!, 0) ? 1 : 0;
  }));
};

/** -2: no such key; -1: it does not go by itself. */
function answerTime(of: (entry: KeyEntry) => number): Handler {
  return ({ keys }, words, reply) => {
    const entry = keys.get(words[1]!);
    reply.integer(entry === undefined ? -2 : entry.expiresMs === 0 ? -1 : of(entry));
  };
}

const leftMs = ({ expiresMs }: KeyEntry): number => Math.max(0, expiresMs - Date.now());

export const KEY_COMMANDS: readonly Command[] = [
  { name: 'del', arity: -2, kind: 'write', handler: del, keys: [1, -1, 1] },
  { name: 'unlink', arity: -2, kind: 'write', handler: del, keys: [1, -1, 1] },
  { name: 'exists', arity: -2, kind: 'read', handler: exists, keys: [1, -1, 1] },
  { name: 'touch', arity: -2, kind: 'read', handler: exists, keys: [1, -1, 1] },
  { name: 'type', arity: 2, kind: 'read', handler: type, keys: [1, 1, 1] },
  { name: 'expire', arity: -3, kind: 'write', handler: expire('EX', 'expire'), keys: [1, 1, 1] },
  { name: 'pexpire', arity: -3, kind: 'write', handler: expire('PX', 'pexpire'), keys: [1, 1, 1] },
  { name: 'expireat', arity: -3, kind: 'write', handler: expire('EXAT', 'expireat'), keys: [1, 1, 1] },
  { name: 'pexpireat', arity: -3, kind: 'write', handler: expire('PXAT', 'pexpireat'), keys: [1, 1, 1] },
  { name: 'persist', arity: 2, kind: 'write', handler: persist, keys: [1, 1, 1] },
  { name: 'ttl', arity: 2, kind: 'read', handler: answerTime((entry) => Math.round(leftMs(entry) / 1000)), keys: [1, 1, 1] },
  { name: 'pttl', arity: 2, kind: 'read', handler: answerTime(leftMs), keys: [1, 1, 1] },
  { name: 'expiretime', arity: 2, kind: 'read', handler: answerTime(({ expiresMs }) => Math.round(expiresMs / 1000)), keys: [1, 1, 1] },
  { name: 'pexpiretime', arity: 2, kind: 'read', handler: answerTime(({ expiresMs }) => expiresMs), keys: [1, 1, 1] },
];
