// GET, SET and their kin.
import { LIMITS } from '../base/limits.ts';
import type { KeyEntry, KeyTransaction, PreparedValue } from '../keys/key-space.ts';
import { withPrepared } from '../keys/prepared.ts';
import { SYNTAX, integer, invalidExpiry, isTimeOption, option, timeOf } from './arguments.ts';
import type { TimeOption } from './arguments.ts';
import { later } from './command.ts';
import type { Command, CommandContext, Handler, Later } from './command.ts';
import { CommandError } from './errors.ts';
import type { ReplyWriter } from './reply-writer.ts';
import { loadEntry, readValue, updateValue, writeBulkOrNil } from './values.ts';

interface SetOptions {
  readonly only: 'NX' | 'XX' | undefined;
  readonly expiresMs: number;
  readonly keepsTime: boolean;
  /** Answers with the value that was there. */
  readonly gets: boolean;
}

const PLAIN: SetOptions = { only: undefined, expiresMs: 0, keepsTime: false, gets: false };

const set: Handler = (context, words, reply) => {
  const options = words.length === 3 ? PLAIN : setOptions(words);
  const key = checkKey(words[1]!);
  const value = words[2]!;
  if (options.gets) return setAndGet(context, key, value, options, reply);
  return setValue(context, key, value, { options, reply, write: (to, done) => (done ? to.ok() : to.nil()) });
};

function setOptions(words: readonly Buffer[]): SetOptions {
  let only: SetOptions['only'];
  let expiresMs = 0;
  let keepsTime = false;
  let gets = false;
  for (let at = 3; at < words.length; at++) {
    const word = option(words[at]!);
    if ((word === 'NX' || word === 'XX') && only === undefined) only = word;
    else if (word === 'GET') gets = true;
    else if (word === 'KEEPTTL' && expiresMs === 0) keepsTime = true;
    else if (isTimeOption(word) && expiresMs === 0 && !keepsTime && at + 1 < words.length) expiresMs = lifeOf(word, words[++at]!, 'set');
    else throw new CommandError(SYNTAX);
  }
  return { only, expiresMs, keepsTime, gets };
}

/** As timeOf, for a life that has to begin: no time before 1970, no span below 1. */
function lifeOf(how: TimeOption, text: Buffer, command: string): number {
  if (integer(text) <= 0) throw new CommandError(invalidExpiry(command));
  return timeOf(how, text, command);
}

export function checkKey(key: Buffer): Buffer {
  if (key.length > LIMITS.keyBytesMax) throw new CommandError(`ERR a key of ${key.length} bytes; ${LIMITS.keyBytesMax} are allowed`);
  return key;
}

interface SetCall {
  readonly options: SetOptions;
  readonly reply: ReplyWriter;
  readonly write: (reply: ReplyWriter, done: boolean) => void;
}

function setValue({ keys, commits }: CommandContext, key: Buffer, value: Buffer, { options, reply, write }: SetCall): Later | void {
  if (!keys.isLarge(value.length)) return write(reply, keys.transact((transaction) => setInto(transaction, key, value, options)));
  return later(async () => {
    // A value that is not wanted is not put on the disks first.
    const done = isWanted(keys.get(key), options) && await withPrepared(keys, [value], ([prepared]) => commits.add((transaction) => setInto(transaction, key, prepared!, options)));
    return (to) => write(to, done);
  });
}

function isWanted(entry: KeyEntry | undefined, { only }: SetOptions): boolean {
  return only === undefined || (only === 'NX') === (entry === undefined);
}

function setInto(transaction: KeyTransaction, key: Buffer, value: Buffer | PreparedValue, options: SetOptions): boolean {
  let { expiresMs } = options;
  if (options.only !== undefined || options.keepsTime) {
    const entry = transaction.get(key);
    if (!isWanted(entry, options)) return false;
    if (options.keepsTime && entry !== undefined) ({ expiresMs } = entry);
  }
  // A time that has passed ends it at once, as the time itself would.
  if (expiresMs !== 0 && expiresMs <= Date.now()) transaction.delete(key);
  else transaction.set(key, value, { expiresMs });
  return true;
}

function setAndGet(context: CommandContext, key: Buffer, value: Buffer, options: SetOptions, reply: ReplyWriter): Later | void {
  return updateValue(context, key, reply, {
    change: (old, entry) => {
      const expiresMs = options.keepsTime ? (entry?.expiresMs ?? 0) : options.expiresMs;
      if (!isWanted(entry, options)) return { value: undefined, expiresMs: entry?.expiresMs ?? 0, result: old };
      return { value, expiresMs, result: old };
    },
    write: writeBulkOrNil,
  });
}

/** SETEX and PSETEX: key, time, value. */
function setWithLife(how: TimeOption, command: string): Handler {
  return (context, words, reply) => {
    const options = { ...PLAIN, expiresMs: lifeOf(how, words[2]!, command) };
    return setValue(context, checkKey(words[1]!), words[3]!, { options, reply, write: (to) => to.ok() });
  };
}

const setnx: Handler = (context, words, reply) => setValue(context, checkKey(words[1]!), words[2]!, {
  options: { ...PLAIN, only: 'NX' }, reply, write: (to, done) => to.integer(done ? 1 : 0),
});

const get: Handler = ({ keys }, words, reply) => readValue(keys, words[1]!, reply, writeBulkOrNil);

const getset: Handler = (context, words, reply) => setAndGet(context, checkKey(words[1]!), words[2]!, PLAIN, reply);

const getdel: Handler = (context, words, reply) => updateValue(context, words[1]!, reply, {
  change: (old) => ({ value: old === undefined ? undefined : null, expiresMs: 0, result: old }),
  write: writeBulkOrNil,
});

const getex: Handler = (context, words, reply) => {
  const how = words.length > 2 ? option(words[2]!) : '';
  const persists = how === 'PERSIST' && words.length === 3;
  if (words.length > 2 && !persists && !(isTimeOption(how) && words.length === 4)) throw new CommandError(SYNTAX);
  const expiresMs = isTimeOption(how) ? lifeOf(how, words[3]!, 'getex') : persists ? 0 : undefined;
  return updateValue(context, words[1]!, reply, {
    change: (old, entry) => ({
      value: old !== undefined && expiresMs !== undefined && expiresMs !== 0 && expiresMs <= Date.now() ? null : undefined,
      expiresMs: expiresMs ?? entry?.expiresMs ?? 0, result: old,
    }),
    write: writeBulkOrNil,
  });
};

const strlen: Handler = ({ keys }, words, reply) => reply.integer(keys.get(words[1]!)?.bytes ?? 0);

const append: Handler = (context, words, reply) => {
  const key = checkKey(words[1]!);
  const more = words[2]!;
  return updateValue(context, key, reply, {
    change: (old, entry) => {
      const bytes = (old?.length ?? 0) + more.length;
      if (bytes > LIMITS.valueBytesMax) throw new CommandError('ERR string exceeds maximum allowed size (proto-max-bulk-len)');
      const value = old === undefined || old.length === 0 ? more : Buffer.concat([old, more], bytes);
      return { value, expiresMs: entry?.expiresMs ?? 0, result: bytes };
    },
    write: (to, bytes) => to.integer(bytes),
  });
};

const getrange: Handler = ({ keys }, words, reply) => {
  const entry = keys.get(words[1]!);
  const bounds = [integer(words[2]!), integer(words[3]!)] as const;
  const write = (to: ReplyWriter, part: Buffer) => to.bulk(part);
  if (entry === undefined) return write(reply, NOTHING);
  if (entry.inline !== undefined) return write(reply, slice(entry.inline, bounds));
  return later(async () => {
    for (let now: KeyEntry | undefined = entry, attempt = 0; ; attempt++, now = keys.get(words[1]!)) {
      if (now === undefined) return (answer) => write(answer, NOTHING);
      const [from, to] = sliceBounds(now.bytes, bounds);
      try {
        const part = from >= to ? NOTHING : await keys.read(now, from, to - from);
        return (answer) => write(answer, part);
      } catch (error) {
        if (attempt + 1 >= LIMITS.valueReadsMax || keys.get(words[1]!)?.version === now.version) throw error;
      }
    }
  }, entry.bytes);
};

const NOTHING = Buffer.alloc(0);

/** First and end; the last one of `bounds` is in it, negative ones count from the end, and those before it are it, as in Redis. */
function sliceBounds(bytes: number, [first, last]: readonly [number, number]): readonly [number, number] {
  if (bytes === 0 || (first < 0 && last < 0 && first > last)) return [0, 0];
  const from = Math.max(0, first < 0 ? bytes + first : first);
  const to = Math.min(bytes - 1, Math.max(0, last < 0 ? bytes + last : last));
  return from > to ? [0, 0] : [from, to + 1];
}

function slice(value: Buffer, bounds: readonly [number, number]): Buffer {
  const [from, to] = sliceBounds(value.length, bounds);
  return value.subarray(from, to);
}

const mget: Handler = ({ keys }, words, reply) => {
  const entries = words.slice(1).map((key) => ({ key, entry: keys.get(key) }));
  if (entries.every(({ entry }) => entry === undefined || entry.inline !== undefined)) {
    reply.array(entries.length);
    for (const { entry } of entries) writeBulkOrNil(reply, entry?.inline);
    return;
  }
  const bytes = entries.reduce((sum, { entry }) => sum + (entry?.bytes ?? 0), 0);
  if (bytes > LIMITS.replyBytesMax) throw new CommandError(`ERR the values of these ${entries.length} keys have ${bytes} bytes; ask for fewer at once: ${LIMITS.replyBytesMax} are allowed`);
  return later(async () => {
    const values = await Promise.all(entries.map(({ key, entry }) => loadEntry(keys, key, entry)));
    return (to) => {
      to.array(values.length);
      for (const value of values) writeBulkOrNil(to, value);
    };
  }, bytes);
};

/** MSET and MSETNX: all keys or none, whatever ends meanwhile. */
function setMany(only: 'NX' | undefined, answer: (reply: ReplyWriter, done: boolean) => void): Handler {
  return ({ keys, commits }, words, reply) => {
    if (words.length % 2 === 0) throw new CommandError(`ERR wrong number of arguments for '${only === 'NX' ? 'msetnx' : 'mset'}' command`);
    for (let at = 1; at < words.length; at += 2) checkKey(words[at]!);
    const values = words.filter((_, at) => at > 0 && at % 2 === 0);
    const large = values.filter((value) => value.length > LIMITS.inlineBytesMax);
    const setAll = (transaction: KeyTransaction, prepared: readonly PreparedValue[]): boolean => {
      if (only === 'NX') for (let at = 1; at < words.length; at += 2) if (transaction.get(words[at]!) !== undefined) return false;
      let used = 0;
      values.forEach((value, index) => transaction.set(words[2 * index + 1]!, value === large[used] ? prepared[used++]! : value));
      return true;
    };
    if (large.length === 0) return answer(reply, keys.transact((transaction) => setAll(transaction, [])));
    return later(() => withPrepared(keys, large, (prepared) => commits.add((transaction) => setAll(transaction, prepared))).then((done) => (to) => answer(to, done)));
  };
}

export const STRING_COMMANDS: readonly Command[] = [
  { name: 'get', arity: 2, kind: 'read', handler: get, keys: [1, 1, 1] },
  { name: 'set', arity: -3, kind: 'write', handler: set, keys: [1, 1, 1] },
  { name: 'setnx', arity: 3, kind: 'write', handler: setnx, keys: [1, 1, 1] },
  { name: 'setex', arity: 4, kind: 'write', handler: setWithLife('EX', 'setex'), keys: [1, 1, 1] },
  { name: 'psetex', arity: 4, kind: 'write', handler: setWithLife('PX', 'psetex'), keys: [1, 1, 1] },
  { name: 'getset', arity: 3, kind: 'write', handler: getset, keys: [1, 1, 1] },
  { name: 'getdel', arity: 2, kind: 'write', handler: getdel, keys: [1, 1, 1] },
  { name: 'getex', arity: -2, kind: 'write', handler: getex, keys: [1, 1, 1] },
  { name: 'strlen', arity: 2, kind: 'read', handler: strlen, keys: [1, 1, 1] },
  { name: 'append', arity: 3, kind: 'write', handler: append, keys: [1, 1, 1] },
  { name: 'getrange', arity: 4, kind: 'read', handler: getrange, keys: [1, 1, 1] },
  { name: 'mget', arity: -2, kind: 'read', handler: mget, keys: [1, -1, 1] },
  { name: 'mset', arity: -3, kind: 'write', handler: setMany(undefined, (reply) => reply.ok()), keys: [1, -1, 2] },
  { name: 'msetnx', arity: -3, kind: 'write', handler: setMany('NX', (reply, done) => reply.integer(done ? 1 : 0)), keys: [1, -1, 2] },
];
