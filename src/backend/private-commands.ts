// The commands of our own client (private-protocol.ts), carried out by a backend.
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import { later } from '../resp/command.ts';
import type { Command, CommandContext, WriteReply } from '../resp/command.ts';
import { CommandError } from '../resp/errors.ts';
import type { ReplyWriter } from '../resp/reply-writer.ts';
import type { Extension, Session } from '../resp/session.ts';
import type { Change, Condition, OpenValue, ShardChange, StagedValue, StoreBackend } from './backend.ts';
import { CHANGE_WORDS, IF_ABSENT, PRIVATE_PROTOCOL_VERSION, encodeError } from './private-protocol.ts';
import { Staging } from './staging.ts';

/** Values of a connection that are being read in pieces; one more, and the first is looked up again. */
const OPEN_VALUES_MAX = 16;
const CLIENT = Symbol('sdfs client');

/** What a connection of our own client has under way: it ends with the connection. */
class PrivateClient implements Extension {
  readonly backend: StoreBackend;
  readonly staging: Staging;
  readonly #open = new Map<string, OpenValue>();
  isClosed = false;

  constructor(backend: StoreBackend) {
    this.backend = backend;
    this.staging = new Staging(backend);
  }

  /** The value of that version, which may have been replaced. */
  async value(key: Buffer, version: number): Promise<OpenValue> {
    const id = `${version} ${key.toString('latin1')}`;
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const value = await this.backend.open(key);
    if (value?.version !== version) throw new StoreError('CHANGED', 'the value was replaced or deleted while it was read: read it again');
    this.#open.set(id, value);
    if (this.#open.size > OPEN_VALUES_MAX) this.#open.delete(this.#open.keys().next().value!);
    return value;
  }

  close(): void {
    this.isClosed = true;
    this.staging.close();
    this.#open.clear();
  }
}

type Work = (client: PrivateClient, words: readonly Buffer[]) => Promise<WriteReply>;

/** `words` of the work are those behind the id. */
function command(name: string, arity: number, work: (backend: StoreBackend) => Work): (backend: StoreBackend) => Command {
  return (backend) => {
    const run = work(backend);
    return {
      name: `sdfs.${name}`, arity, kind: 'other', isUnordered: true,
      handler: ({ session }: CommandContext, words) => {
        const id = numberOf(words[1]!);
        return later(async () => {
          const write = await attempt(() => run(clientOf(session, backend), words.slice(2)));
          return (reply) => {
            reply.array(2);
            reply.integer(id);
            write(reply);
          };
        });
      },
    };
  };
}

async function attempt(work: () => Promise<WriteReply>): Promise<WriteReply> {
  try {
    return await work();
  } catch (error) {
    const text = encodeError(error);
    return (reply) => reply.error(text);
  }
}

function clientOf(session: Session, backend: StoreBackend): PrivateClient {
  const known = session.extensions.get(CLIENT) as PrivateClient | undefined;
  if (known !== undefined) return known;
  const client = new PrivateClient(backend);
  session.extensions.set(CLIENT, client);
  return client;
}

function numberOf(word: Buffer): number {
  const value = Number(word.toString('latin1'));
  if (word.length === 0 || !Number.isSafeInteger(value) || value < 0) throw new CommandError(`SDFS INVALID ${JSON.stringify(word.toString('latin1', 0, 40))} is no number from 0 on`);
  return value;
}

function keyOf(word: Buffer): Buffer {
  if (word.length > LIMITS.keyBytesMax) throw new StoreError('TOO_LARGE', `a key of ${word.length} bytes; ${LIMITS.keyBytesMax} are allowed`);
  return word;
}

const isTrue = (word: Buffer): boolean => word.length === 1 && word[0] === 0x31;
const truth = (value: boolean) => (reply: ReplyWriter) => reply.integer(value ? 1 : 0);
const done = (reply: ReplyWriter) => reply.ok();

const get = (backend: StoreBackend): Work => async (_client, words) => {
  const found = await backend.getMany(words.map(keyOf));
  return (reply) => {
    reply.array(found.length);
    for (const each of found) {
      if (each === undefined) reply.nil();
      else {
        reply.array(3);
        reply.bulk(each.value);
        reply.integer(each.version);
        reply.integer(each.expiresMs);
      }
    }
  };
};

const length = (backend: StoreBackend): Work => async (_client, [key]) => {
  const value = await backend.open(keyOf(key!));
  return (reply) => {
    if (value === undefined) return reply.nil();
    reply.array(3);
    for (const number of [value.bytes, value.version, value.expiresMs]) reply.integer(number);
  };
};

const read: Work = async (client, [key, version, offset, bytes]) => {
  const value = await client.value(keyOf(key!), numberOf(version!));
  const [from, count] = [numberOf(offset!), numberOf(bytes!)];
  if (from + count > value.bytes) throw new StoreError('INVALID', `bytes ${from} to ${from + count} of a value of ${value.bytes}`);
  const part = await value.read(from, count);
  return (reply) => reply.bulk(part);
};

const commit = (backend: StoreBackend): Work => async (client, [sync, ...words]) => {
  if (words.length % CHANGE_WORDS !== 0) throw new StoreError('INVALID', `a change has ${CHANGE_WORDS} words`);
  const staged: StagedValue[] = [];
  try {
    const changes: Change[] = [];
    for (let at = 0; at < words.length; at += CHANGE_WORDS) changes.push(await changeOf(client, words.slice(at, at + CHANGE_WORDS), staged));
    const results = await backend.commit(changes, { sync: isTrue(sync!) });
    return (reply) => {
      reply.array(2 * results.length);
      for (const { version, found } of results) {
        reply.integer(version);
        reply.integer(found ? 1 : 0);
      }
    };
  } catch (error) {
    for (const value of staged) backend.discard(value);
    throw error;
  }
};

async function changeOf(client: PrivateClient, [kind, name, value, isStaged, expires, condition]: readonly Buffer[], staged: StagedValue[]): Promise<Change> {
  const key = keyOf(name!);
  const expiresMs = numberOf(expires!);
  switch (kind!.toString()) {
    case 'set': {
      if (!isTrue(isStaged!)) return { kind: 'set', key, value: Buffer.from(value!), expiresMs, ...conditionOf(condition!) };
      const large = await client.staging.take(numberOf(value!));
      staged.push(large);
      return { kind: 'set', key, value: large, expiresMs, ...conditionOf(condition!) };
    }
    case 'delete': return { kind: 'delete', key, ...conditionOf(condition!) };
    case 'expire': return { kind: 'expire', key, expiresMs };
    default: throw new StoreError('INVALID', `${JSON.stringify(kind!.toString())} is no change`);
  }
}

function conditionOf(word: Buffer): Condition {
  if (word.length === 0) return {};
  return word.toString() === IF_ABSENT ? { ifAbsent: true } : { ifVersion: numberOf(word) };
}

const page = (backend: StoreBackend): Work => async (_client, [hasStart, start, hasEnd, end, reverse, limit, values]) => {
  const range = { start: isTrue(hasStart!) ? start : undefined, end: isTrue(hasEnd!) ? end : undefined, reverse: isTrue(reverse!) };
  const { rows, more } = await backend.page(range, { limit: Math.min(numberOf(limit!), LIMITS.scanCountMax), values: isTrue(values!) });
  return (reply) => {
    reply.array(2);
    reply.integer(more ? 1 : 0);
    reply.array(4 * rows.length);
    for (const row of rows) {
      reply.bulk(row.key);
      if (row.value === undefined) reply.nil();
      else reply.bulk(row.value);
      reply.integer(row.version);
      reply.integer(row.expiresMs);
    }
  };
};

const grantReply = (grant: { readonly token: number; readonly expiresMs: number } | undefined): WriteReply => (reply) => {
  if (grant === undefined) return reply.nil();
  reply.array(2);
  reply.integer(grant.token);
  reply.integer(grant.expiresMs);
};

const acquire = (backend: StoreBackend): Work => async (client, [name, ttlMs, waitMs]) => {
  const grant = await backend.acquire(keyOf(name!), { ttlMs: numberOf(ttlMs!), waitMs: numberOf(waitMs!) });
  // Nobody is there any more to hold it.
  if (client.isClosed && grant !== undefined) await backend.release(name!, grant.token);
  return grantReply(grant);
};

const stats = (backend: StoreBackend): Work => async () => {
  const text = JSON.stringify(await backend.statistics());
  return (reply) => reply.bulkText(text);
};

const shards = (backend: StoreBackend): Work => async (_client, [change]) => {
  const shard = await backend.changeShards(JSON.parse(change!.toString()) as ShardChange);
  return (reply) => reply.integer(shard);
};

const COMMANDS = [
  command('get', -3, get),
  command('has', 3, (backend) => async (_client, [key]) => truth(await backend.has(keyOf(key!)))),
  command('length', 3, length),
  command('read', 6, () => read),
  command('stage', 4, () => async ({ staging }, [id, piece]) => staging.add(numberOf(id!), piece!).then(() => done)),
  command('staged', 3, () => async ({ staging }, [id]) => {
    const bytes = await staging.finish(numberOf(id!));
    return (reply) => reply.integer(bytes);
  }),
  command('discard', 3, () => async ({ staging }, [id]) => {
    staging.discard(numberOf(id!));
    return done;
  }),
  command('commit', -3, commit),
  command('page', 9, page),
  command('acquire', 5, acquire),
  command('renew', 5, (backend) => async (_client, [name, token, ttlMs]) => grantReply(await backend.renew(keyOf(name!), numberOf(token!), numberOf(ttlMs!)))),
  command('release', 4, (backend) => async (_client, [name, token]) => truth(await backend.release(keyOf(name!), numberOf(token!)))),
  command('stats', 2, stats),
  command('shards', 3, shards),
  command('sync', 2, (backend) => async () => backend.sync().then(() => done)),
];

const hello: Command = {
  name: 'sdfs.hello', arity: 2, kind: 'other',
  handler: (_context, words, reply) => {
    const version = numberOf(words[1]!);
    if (version > PRIVATE_PROTOCOL_VERSION) throw new CommandError(`SDFS FOREIGN this store speaks version ${PRIVATE_PROTOCOL_VERSION} of the protocol, its client wants ${version}: have its process run the newer sdfs too`);
    reply.array(2);
    reply.bulkText('sdfs');
    reply.integer(PRIVATE_PROTOCOL_VERSION);
  },
};

/** For the table of a server that only those reach who may do everything. */
export function privateCommands(backend: StoreBackend): readonly Command[] {
  return [hello, ...COMMANDS.map((make) => make(backend))];
}
