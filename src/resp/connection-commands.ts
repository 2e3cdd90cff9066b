// Commands about the connection itself: greeting, password, names, its end.
import { SYNTAX, integer, option, parseInteger } from './arguments.ts';
import type { Command, CommandContext, Handler } from './command.ts';
import { CommandError } from './errors.ts';
import { REDIS_VERSION } from './info.ts';
import type { ReplyWriter } from './reply-writer.ts';
import type { Session } from './session.ts';
import { resetSession } from './session.ts';

const DEFAULT_USER = 'default';

const ping: Handler = (_context, words, reply) => {
  if (words.length > 2) throw new CommandError("ERR wrong number of arguments for 'ping' command");
  if (words.length === 2) reply.bulk(words[1]!);
  else reply.simple('PONG');
};

const auth: Handler = (context, words, reply) => {
  if (words.length > 3) throw new CommandError(SYNTAX);
  if (context.isPassword === undefined && words.length === 2) throw new CommandError('ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?');
  login(context, words.length === 3 ? words[1]! : undefined, words.at(-1)!);
  reply.ok();
};

function login({ isPassword, session }: CommandContext, user: Buffer | undefined, password: Buffer): void {
  const isUser = user === undefined || user.toString() === DEFAULT_USER;
  if (!isUser || (isPassword !== undefined && !isPassword(password))) throw new CommandError('WRONGPASS invalid username-password pair or user is disabled.');
  session.isKnown = true;
}

/** RESP2 alone: clients that want RESP3 go on with RESP2 when they are told NOPROTO. */
const hello: Handler = (context, words, reply) => {
  const { session } = context;
  if (words.length > 1) {
    const version = parseInteger(words[1]!);
    if (version === undefined) throw new CommandError('ERR Protocol version is not an integer or out of range');
    if (version !== 2n) throw new CommandError('NOPROTO unsupported protocol version');
  }
  let name: Buffer | undefined;
  for (let at = 2; at < words.length; at++) {
    const word = option(words[at]!);
    if (word === 'AUTH' && at + 2 < words.length) {
      login(context, words[at + 1]!, words[at + 2]!);
      at += 2;
    } else if (word === 'SETNAME' && at + 1 < words.length) name = checkName(words[++at]!);
    else throw new CommandError(`ERR Syntax error in HELLO option '${words[at]!.toString().slice(0, 128)}'`);
  }
  if (!session.isKnown) throw new CommandError('NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time');
  if (name !== undefined) session.name = name;
  reply.array(14);
  for (const [field, value] of [['server', 'redis'], ['version', REDIS_VERSION], ['proto', 2], ['id', session.id], ['mode', 'standalone'], ['role', 'master']] as const) {
    reply.bulkText(field);
    if (typeof value === 'number') reply.integer(value);
    else reply.bulkText(value);
  }
  reply.bulkText('modules');
  reply.array(0);
};

function checkName(name: Buffer): Buffer {
  if (name.some((byte) => byte < 33 || byte > 126)) throw new CommandError('ERR Client names cannot contain spaces, newlines or special characters.');
  if (name.length > NAME_BYTES_MAX) throw new CommandError(`ERR Client names have at most ${NAME_BYTES_MAX} bytes`);
  return Buffer.from(name);
}

const NAME_BYTES_MAX = 256;

const select: Handler = (_context, words, reply) => {
  const index = integer(words[1]!, 'ERR invalid DB index');
  if (index !== 0) throw new CommandError('ERR DB index is out of range');
  reply.ok();
};

const quit: Handler = ({ session }, _words, reply) => {
  session.isEnding = true;
  reply.ok();
};

const reset: Handler = ({ session, isPassword }, _words, reply) => {
  resetSession(session, { isKnown: isPassword === undefined });
  reply.simple('RESET');
};

type Subcommand = (context: CommandContext, words: readonly Buffer[], reply: ReplyWriter) => void;

const CLIENT: Readonly<Record<string, { readonly words: number; readonly run: Subcommand }>> = {
  ID: { words: 2, run: ({ session }, _words, reply) => reply.integer(session.id) },
  GETNAME: { words: 2, run: ({ session }, _words, reply) => (session.name.length === 0 ? reply.nil() : reply.bulk(session.name)) },
  SETNAME: {
    words: 3, run: ({ session }, words, reply) => {
      session.name = checkName(words[2]!);
      reply.ok();
    },
  },
  /** What library a client is of is not kept. */
  SETINFO: { words: 4, run: (_context, _words, reply) => reply.ok() },
  INFO: { words: 2, run: ({ session }, _words, reply) => reply.bulkText(describeClient(session)) },
  LIST: { words: 2, run: ({ facts }, _words, reply) => reply.bulkText(facts.clients.map(describeClient).join('')) },
};

const client: Handler = (context, words, reply) => {
  const name = option(words[1]!);
  const subcommand = Object.hasOwn(CLIENT, name) ? CLIENT[name] : undefined;
  if (subcommand === undefined) throw new CommandError(`ERR unknown subcommand '${words[1]!.toString().slice(0, 128)}'. Try CLIENT HELP.`);
  if (words.length !== subcommand.words) throw new CommandError(`ERR wrong number of arguments for 'client|${name.toLowerCase()}' command`);
  subcommand.run(context, words, reply);
};

function describeClient({ id, address, name, sinceMs, lastCommand, lastCommandMs }: Session): string {
  const now = Date.now();
  return `id=${id} addr=${address} name=${name.toString()} age=${Math.floor((now - sinceMs) / 1000)} idle=${Math.floor((now - lastCommandMs) / 1000)} flags=N db=0 cmd=${lastCommand} user=${DEFAULT_USER} resp=2\n`;
}

export const CONNECTION_COMMANDS: readonly Command[] = [
  { name: 'ping', arity: -1, kind: 'other', handler: ping },
  { name: 'echo', arity: 2, kind: 'other', handler: (_context, words, reply) => reply.bulk(words[1]!) },
  { name: 'auth', arity: -2, kind: 'other', handler: auth, isOpen: true },
  { name: 'hello', arity: -1, kind: 'other', handler: hello, isOpen: true },
  { name: 'select', arity: 2, kind: 'other', handler: select },
  { name: 'client', arity: -2, kind: 'other', handler: client },
  { name: 'quit', arity: -1, kind: 'other', handler: quit, isOpen: true },
  { name: 'reset', arity: 1, kind: 'other', handler: reset, isOpen: true },
];
