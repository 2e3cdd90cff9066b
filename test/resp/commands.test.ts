// What each command answers, told as redis-cli shows it.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { serve } from '../support/key-servers.ts';
import type { Reply } from '../../src/resp/reply-parser.ts';
import { command } from '../support/resp-client.ts';
import type { RespClient } from '../support/resp-client.ts';

const WRONG_INTEGER = '(error) ERR value is not an integer or out of range';
const SYNTAX = '(error) ERR syntax error';

/** Each row: a command, and what it answers as redis-cli shows it. */
async function talk(client: RespClient, rows: readonly (readonly [command: string, answer: unknown])[]): Promise<void> {
  for (const [line, answer] of rows) {
    const words = line.split(' ').map((word) => (word === '""' ? '' : word));
    expect([line, await client.show(...words)]).toEqual([line, answer]);
  }
}

test('strings are set and read under conditions', async () => {
  const { client } = await serve();
  await talk(await client(), [
    ['GET a', null], ['SET a 1', 'OK'], ['get a', '1'], ['SET a 2 NX', null], ['SET b 2 NX', 'OK'], ['SET c 3 XX', null], ['SET a 2 XX', 'OK'],
    ['SET a 3 GET', '2'], ['SET a 4 XX GET', '3'], ['SET new 1 GET', null], ['SET a 1 NX XX', SYNTAX], ['SET a 1 EX 10 PX 10', SYNTAX],
    ['SET a 1 EX', SYNTAX], ['SET a 1 EX x', WRONG_INTEGER], ['SET a 1 EX 0', "(error) ERR invalid expire time in 'set' command"],
    ['SETNX a 1', 0], ['SETNX d 1', 1], ['GETSET a 9', '4'], ['GETSET e 9', null], ['GETDEL e', '9'], ['GETDEL e', null], ['SET "" ""', 'OK'], ['GET ""', ''],
    ['MSET x 1 y 2', 'OK'], ['MGET x nothing y', ['1', null, '2']], ['MSETNX y 3 z 4', 0], ['MSETNX v 3 w 4', 1], ['EXISTS z v w', 2],
    ['MSET x', "(error) ERR wrong number of arguments for 'mset' command"], ['MSET x 1 y', "(error) ERR wrong number of arguments for 'mset' command"],
    ['APPEND x 23', 3], ['STRLEN x', 3], ['STRLEN nothing', 0], ['APPEND fresh abc', 3], ['TYPE fresh', 'string'], ['TYPE nothing', 'none'],
    ['DEL x y nothing', 2], ['UNLINK v v', 1], ['EXISTS x x a a', 2],
  ]);
});

test('parts of values are read as Redis counts them', async () => {
  const { client } = await serve();
  await talk(await client(), [
    ['SET a abcdef', 'OK'], ['GETRANGE a 0 -1', 'abcdef'], ['GETRANGE a 1 2', 'bc'], ['GETRANGE a -3 -2', 'de'], ['GETRANGE a 4 100', 'ef'],
    ['GETRANGE a 3 1', ''], ['GETRANGE a -1 -3', ''], ['GETRANGE a 0 -100', 'a'], ['GETRANGE nothing 0 -1', ''], ['GETRANGE a x 1', WRONG_INTEGER],
  ]);
});

test('numbers are 64-bit, and what is none is refused', async () => {
  const { client } = await serve();
  await talk(await client(), [
    ['INCR n', 1], ['INCRBY n 41', 42], ['DECR n', 41], ['DECRBY n 50', -9], ['GET n', '-9'], ['SET n 9223372036854775806', 'OK'],
    ['INCR n', 2 ** 63], ['INCR n', '(error) ERR increment or decrement would overflow'], ['GET n', '9223372036854775807'],
    ['SET n abc', 'OK'], ['INCR n', WRONG_INTEGER], ['SET n 1.5', 'OK'], ['INCR n', WRONG_INTEGER], ['SET n +1', 'OK'], ['INCR n', WRONG_INTEGER], ['SET n 01', 'OK'], ['INCR n', WRONG_INTEGER],
    ['INCRBY n 9223372036854775808', WRONG_INTEGER], ['DECRBY m -9223372036854775808', '(error) ERR decrement would overflow'],
  ]);
});

test('keys go when their time is up', async () => {
  const { client, keys } = await serve();
  const one = await client();
  await talk(one, [
    ['SET a 1 EX 100', 'OK'], ['TTL a', 100], ['PERSIST a', 1], ['TTL a', -1], ['PERSIST a', 0], ['TTL nothing', -2], ['EXPIRE a 50', 1], ['TTL a', 50], ['EXPIRE nothing 50', 0],
    ['EXPIRE a 40 GT', 0], ['EXPIRE a 60 GT', 1], ['EXPIRE a 60 NX', 0], ['EXPIRE a 10 LT', 1], ['EXPIRE a 10 ZZ', '(error) ERR Unsupported option ZZ'], ['TTL a', 10],
    ['SET a 2 KEEPTTL', 'OK'], ['TTL a', 10], ['INCR a', 3], ['TTL a', 10], ['SET a 3', 'OK'], ['TTL a', -1], ['PEXPIRE a 90000', 1], ['TTL a', 90], ['EXPIREAT a 4102444800', 1], ['EXPIRETIME a', 4102444800],
    ['GETEX a PERSIST', '3'], ['TTL a', -1], ['EXPIRE a -1', 1], ['EXISTS a', 0], ['SETEX b 20 x', 'OK'], ['TTL b', 20], ['PSETEX b 30000 x', 'OK'], ['TTL b', 30],
    ['SETEX b 0 x', "(error) ERR invalid expire time in 'setex' command"], ['EXPIRE b 9223372036854775807', "(error) ERR invalid expire time in 'expire' command"], ['SET c 1 PXAT 1000', 'OK'], ['EXISTS c', 0],
  ]);
  expect(await one.show('PTTL', 'b')).toBeGreaterThan(29_000);
  keys.transact((transaction) => transaction.expire(Buffer.from('b'), Date.now() - 1));
  await talk(one, [['GET b', null], ['EXISTS b', 0], ['SET b 1 NX', 'OK']]);
});

test('WAIT is answered as by a server without replicas, and behind the writes before it', async () => {
  const { client } = await serve();
  const one = await client();
  await talk(one, [
    ['WAIT 0 0', 0], ['WAIT 1 100', 0], ['WAIT 1 0', 0], ['WAIT x 0', WRONG_INTEGER], ['WAIT 1 x', '(error) ERR timeout is not an integer or out of range'], ['WAIT 1 -1', '(error) ERR timeout is negative'],
  ]);
  one.send(Buffer.concat([command('SET', 'a', 'v'.repeat(20_000)), command('WAIT', 1, 100)]));
  expect([await one.next(), await one.next()]).toEqual(['OK', 0]);
});

test('unknown commands and wrong numbers of words are answered as by Redis', async () => {
  const { client } = await serve();
  await talk(await client(), [
    ['LPUSH l 1', "(error) ERR unknown command 'LPUSH', with args beginning with: 'l' '1' "], ['GET', "(error) ERR wrong number of arguments for 'get' command"],
    ['GET a b', "(error) ERR wrong number of arguments for 'get' command"], ['PING', 'PONG'], ['PING hello', 'hello'], ['ECHO x', 'x'], ['SELECT 0', 'OK'],
    ['SELECT 1', '(error) ERR DB index is out of range'], ['HELLO 3', '(error) NOPROTO unsupported protocol version'], ['CLIENT SETNAME me', 'OK'], ['CLIENT GETNAME', 'me'],
    ['CLIENT SETINFO LIB-NAME x', 'OK'], ['CLIENT KILL x', "(error) ERR unknown subcommand 'KILL'. Try CLIENT HELP."], ['RESET', 'RESET'], ['CLIENT GETNAME', null],
    ['CONFIG GET databases', ['databases', '1']], ['CONFIG GET append*', ['appendfsync', 'everysec', 'appendonly', 'yes']], ['COMMAND DOCS', []], ['AUTH x', expect.stringMatching(/^\(error\) ERR AUTH <password> called without/)],
    ['COMMAND INFO get nothing', [['get', 2, ['readonly'], 1, 1, 1], null]], ['DBSIZE', 0],
  ]);
});

test('HELLO 2 greets, and may log in', async () => {
  const { client } = await serve({ password: 'secret' });
  const one = await client();
  expect(await one.show('HELLO', '2')).toMatch(/^\(error\) NOAUTH HELLO/);
  expect(await one.show('HELLO', '2', 'AUTH', 'default', 'wrong')).toMatch(/^\(error\) WRONGPASS/);
  const greeting = (await one.show('HELLO', '2', 'AUTH', 'default', 'secret', 'SETNAME', 'me')) as unknown[];
  expect(greeting.slice(0, 6)).toEqual(['server', 'redis', 'version', '7.0.15', 'proto', 2]);
  expect(await one.show('CLIENT', 'GETNAME')).toBe('me');
});

/** Digests instead of bytes: comparing millions of these one by one takes a minute. */
function brief(reply: Reply): unknown {
  if (Buffer.isBuffer(reply)) return `${reply.length} ${createHash('sha1').update(reply).digest('hex')}`;
  return Array.isArray(reply) ? reply.map(brief) : reply;
}

describe('values of all sizes', () => {
  for (const bytes of [0, 1, 256, 257, 16_384, 16_385, 3_000_000]) {
    test(`${bytes} bytes come back as they were, whole and in parts`, async () => {
      const { client, keys } = await serve();
      const one = await client();
      const value = Buffer.alloc(bytes, 'ab\r\n$5');
      expect(await one.call('SET', 'k', value)).toBe('OK');
      expect(brief(await one.call('GET', 'k'))).toEqual(brief(value));
      expect(brief(await one.call('GETRANGE', 'k', 2, -2))).toEqual(brief(value.subarray(2, Math.max(2, bytes - 1))));
      expect(brief(await one.call('MGET', 'k', 'k'))).toEqual(brief([value, value]));
      expect(await one.call('APPEND', 'k', 'xyz')).toBe(bytes + 3);
      expect(brief(await one.call('GETSET', 'k', value))).toEqual(brief(Buffer.concat([value, Buffer.from('xyz')])));
      expect(await one.call('SET', 'k', value, 'NX')).toBe(null);
      expect(await one.call('MSET', 'k', 'small', 'l', value)).toBe('OK');
      expect(brief(await one.call('GETDEL', 'l'))).toEqual(brief(value));
      expect(keys.prepared.size).toBe(0);
    });
  }
});

test('commands that were sent at once are answered in order, though values lie elsewhere', async () => {
  const { client } = await serve();
  const one = await client();
  const large = Buffer.alloc(20_000, 'L');
  const answers = Promise.all([one.call('SET', 'large', large), one.call('GET', 'large'), one.call('SET', 'small', 's'), one.call('GET', 'large'), one.call('GET', 'small'), one.call('DEL', 'large'), one.call('GET', 'large'), one.call('PING')]);
  expect((await answers).map((answer) => (Buffer.isBuffer(answer) ? answer.length : answer))).toEqual(['OK', 20_000, 'OK', 20_000, 1, 1, null, 'PONG']);
});

describe('SCAN', () => {
  async function scanAll(one: RespClient, ...options: string[]): Promise<string[]> {
    const found: string[] = [];
    for (let cursor = '0'; ;) {
      const [next, keys] = (await one.show('SCAN', cursor, ...options)) as [string, string[]];
      found.push(...keys);
      if (next === '0') return found;
      expect(Number(next)).toBeLessThan(2 ** 53);
      cursor = next;
    }
  }

  test('finds all keys that are there all the time, each once, while others come and go', async () => {
    const { client } = await serve();
    const one = await client();
    const keys = Array.from({ length: 1000 }, (_, index) => `key:${index}`);
    await one.call('MSET', ...keys.flatMap((key) => [key, 'v']));
    const other = await client();
    let going = true;
    const changing = (async () => {
      for (let round = 0; going; round++) await other.call(round % 2 === 0 ? 'SET' : 'DEL', `key:${round % 700}:x`, ...(round % 2 === 0 ? ['v'] : []));
    })();
    const found = (await scanAll(one, 'COUNT', '7')).filter((key) => !key.endsWith('x'));
    going = false;
    await changing;
    expect(found.toSorted()).toEqual(keys.toSorted());
  });

  test('looks only at what a pattern may match, and KEYS finds the same', async () => {
    const { client } = await serve();
    const one = await client();
    await one.call('MSET', ...['a:1', 'a:2', 'b:1', 'a:', 'A:1'].flatMap((key) => [key, 'v']));
    expect(await scanAll(one, 'MATCH', 'a:?', 'COUNT', '1')).toEqual(['a:1', 'a:2']);
    expect(await one.show('KEYS', 'a:*')).toEqual(['a:', 'a:1', 'a:2']);
    expect(await scanAll(one, 'TYPE', 'hash')).toEqual([]);
  });

  test('goes on after an answer that was lost, and says when a cursor is none of its own', async () => {
    const { client } = await serve();
    const one = await client();
    await one.call('MSET', ...Array.from({ length: 30 }, (_, index) => [`k${index}`, 'v']).flat());
    const [first] = (await one.show('SCAN', '0')) as [string];
    const [second, keys] = (await one.show('SCAN', first)) as [string, string[]];
    expect(await one.show('SCAN', first)).toEqual([second, keys]);
    expect(await one.show('SCAN', '12345')).toMatch(/^\(error\) ERR invalid cursor/);
    expect(await one.show('SCAN', 'abc')).toBe('(error) ERR invalid cursor');
  });
});
