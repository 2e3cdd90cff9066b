// Clients on real sockets: many, slow, broken, unknown ones, and a store that cannot do all they want.
import { statSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { pino } from 'pino';
import { LIMITS } from '../../src/base/limits.ts';
import { StoreError } from '../../src/keys/errors.ts';
import type { KeyEntry } from '../../src/keys/key-space.ts';
import { REDIS_COMMANDS } from '../../src/resp/command-table.ts';
import { KeyServer } from '../../src/backend/key-server.ts';
import { serve, serveKeys } from '../support/key-servers.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { RespClient, command, shown } from '../support/resp-client.ts';
import { openHarness } from '../support/vfs-harness.ts';

test('commands of a thousand clients that come together share records', async () => {
  const { client, keys } = await serve();
  const clients = await Promise.all(Array.from({ length: 1000 }, () => client()));
  const before = keys.records;
  expect(await Promise.all(clients.map((one, index) => one.call('SET', `k${index}`, index)))).toEqual(clients.map(() => 'OK'));
  expect(keys.records - before).toBeLessThan(1000);
  expect(await clients[500]!.call('DBSIZE')).toBe(1000);
});

test('of clients that make the server hold too much, the one with most is cut off, and the others go on', async () => {
  const { client } = await serve({ clientsBytesMax: 1_000_000 });
  const [small, large] = [await client(), await client()];
  small.send(Buffer.concat([Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$450000\r\n'), Buffer.alloc(400_000, 97)]));
  await small.drained();
  large.send(Buffer.concat([Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$9000000\r\n'), Buffer.alloc(700_000, 98)]));
  await large.closed;
  small.send(Buffer.concat([Buffer.alloc(50_000, 97), Buffer.from('\r\n')]));
  expect(await small.next()).toBe('OK');
  expect(await small.call('STRLEN', 'a')).toBe(450_000);
  expect(await small.call('EXISTS', 'b')).toBe(0);
});

test('answers that nobody takes count too: of clients that each ask for one, so many are cut off that the rest is bounded', async () => {
  const { client, keys } = await serve({ clientsBytesMax: 20_000_000 });
  const value = await keys.prepare(Buffer.alloc(16_000_000, 'x'));
  keys.transact((transaction) => transaction.set(Buffer.from('large'), value));
  for (let index = 0; index < 8; index++) {
    const { socket } = await client();
    socket.pause();
    socket.write('GET large\r\n');
  }
  const other = await client();
  await vi.waitFor(async () => expect(String(await other.call('CLIENT', 'LIST')).trim().split('\n').length).toBeLessThan(4), 5000);
  expect(await other.call('STRLEN', 'large')).toBe(16_000_000);
});

test('a command of more than all that one may have is refused, and others go on', async () => {
  const { client } = await serve();
  const [greedy, other] = [await client(), await client()];
  const value = Buffer.concat([Buffer.from('$1\r\nk\r\n$60000000\r\n'), Buffer.alloc(60_000_000), Buffer.from('\r\n')]);
  greedy.send(Buffer.from('*7\r\n$4\r\nMSET\r\n'));
  for (let at = 0; at < 3; at++) greedy.send(value);
  expect(String(await greedy.next())).toMatch(/too big a command/);
  await greedy.closed;
  expect(await other.call('EXISTS', 'k')).toBe(0);
});

test('a pipeline of 10,000 commands is answered in order', async () => {
  const { client } = await serve();
  const one = await client();
  one.send(Buffer.concat(Array.from({ length: 10_000 }, () => command('INCR', 'n'))));
  for (let wanted = 1; wanted <= 10_000; wanted++) expect(await one.next()).toBe(wanted);
});

test('a client that takes no answers makes the server hold little, and harms nobody', async () => {
  const { client } = await serve();
  const [slow, other] = [await client(), await client()];
  await other.call('SET', 'large', Buffer.alloc(1_000_000));
  slow.socket.pause();
  const many = Buffer.concat(Array.from({ length: 1000 }, () => command('GET', 'large')));
  const before = process.memoryUsage().rss;
  for (let round = 0; round < 20; round++) {
    slow.send(many);
    await other.call('PING');
  }
  expect(await other.call('SET', 'a', 1)).toBe('OK');
  expect(process.memoryUsage().rss - before).toBeLessThan(300_000_000);
  slow.socket.resume();
  for (let index = 0; index < 200; index++) expect((await slow.next() as Buffer).length).toBe(1_000_000);
});

test('of many large values that one connection asks for at once, one is read at a time', async () => {
  class CountingKeySpace extends ModelKeySpace {
    loading = 0;
    most = 0;
    override async load(entry: KeyEntry): Promise<Buffer> {
      this.most = Math.max(this.most, ++this.loading);
      return Promise.resolve(super.load(entry)).finally(() => { this.loading--; });
    }
  }
  const keys = new CountingKeySpace();
  const { client } = await serveKeys(keys);
  const one = await client();
  await one.call('SET', 'large', Buffer.alloc(3_000_000));
  await one.call('SET', 'middle', Buffer.alloc(20_000));
  one.send(Buffer.concat(Array.from({ length: 20 }, () => command('GET', 'large'))));
  for (let index = 0; index < 20; index++) expect((await one.next() as Buffer).length).toBe(3_000_000);
  expect(keys.most).toBe(1);
  one.send(Buffer.concat(Array.from({ length: 200 }, () => command('GET', 'middle'))));
  for (let index = 0; index < 200; index++) expect((await one.next() as Buffer).length).toBe(20_000);
  expect(keys.most).toBeGreaterThan(10);
  expect(keys.most).toBeLessThanOrEqual(64);
});

test('values that many clients ask for at once are read some at a time, and nobody is cut off for waiting', async () => {
  class SlowKeySpace extends ModelKeySpace {
    bytes = 0;
    most = 0;
    readonly goOn: (() => void)[] = [];
    override async load(entry: KeyEntry): Promise<Buffer> {
      this.most = Math.max(this.most, (this.bytes += entry.bytes));
      await new Promise<void>((resolve) => this.goOn.push(resolve));
      return Promise.resolve(super.load(entry)).finally(() => { this.bytes -= entry.bytes; });
    }
  }
  const keys = new SlowKeySpace();
  const { client } = await serveKeys(keys);
  const bytes = LIMITS.readsBytesMax / 4;
  const value = await keys.prepare(Buffer.alloc(bytes));
  keys.transact((transaction) => transaction.set(Buffer.from('large'), value));
  const clients = await Promise.all(Array.from({ length: 20 }, () => client()));
  let answered = 0;
  const answers = Promise.all(clients.map(async (one) => {
    const { length } = await one.call('GET', 'large') as Buffer;
    answered++;
    return length;
  }));
  const other = await client();
  for (let read = 0; read < clients.length; read++) {
    await vi.waitFor(() => expect(keys.goOn.length).toBeGreaterThan(0), 5000);
    expect(await other.call('STRLEN', 'large')).toBe(bytes);
    keys.goOn.shift()!();
    await vi.waitFor(() => expect(answered).toBe(read + 1), 5000);
  }
  expect(await answers).toEqual(clients.map(() => bytes));
  expect(keys.most).toBe(LIMITS.readsBytesMax);
});

test('values that are on their way to the shards count in what is held for clients, and the one with most is cut off', async () => {
  class StuckKeySpace extends ModelKeySpace {
    begun = 0;
    override prepare(): Promise<never> {
      this.begun++;
      return new Promise(() => {});
    }
  }
  const keys = new StuckKeySpace();
  const { client } = await serveKeys(keys, { clientsBytesMax: 20_000_000 });
  for (let begun = 1; begun <= 5; begun++) {
    (await client()).send(command('SET', 'large', Buffer.alloc(8_000_000)));
    await vi.waitFor(() => expect(keys.begun).toBe(begun), 5000);
  }
  const other = await client();
  await vi.waitFor(async () => expect(String(await other.call('CLIENT', 'LIST')).trim().split('\n').length).toBe(3), 5000);
});

test('a broken frame is told, and its connection closed behind the answers before it', async () => {
  const { client } = await serve();
  const one = await client();
  one.send('*1\r\n$4\r\nPING\r\n*1\r\n+OK\r\n*1\r\n$4\r\nPING\r\n');
  expect(await one.next()).toBe('PONG');
  expect(String(await one.next())).toContain("ERR Protocol error: expected '$', got '+'");
  await one.closed;
});

test('who sends all at once and no more is answered, and QUIT ends a connection', async () => {
  const { client } = await serve();
  const one = await client();
  one.send('SET a 1\r\nGET a\r\n');
  one.socket.end();
  expect([await one.next(), String(await one.next())]).toEqual(['OK', '1']);
  await one.closed;
  const other = await client();
  other.send('PING\r\nQUIT\r\nPING\r\n');
  expect([await other.next(), await other.next()]).toEqual(['PONG', 'OK']);
  await expect(other.next()).rejects.toThrow('closed');
});

test('nothing is done for who has not said the password', async () => {
  const { client, keys } = await serve({ password: 'secret' });
  const one = await client();
  expect(await one.show('SET', 'a', '1')).toBe('(error) NOAUTH Authentication required.');
  expect(await one.show('AUTH', 'wrong')).toMatch(/^\(error\) WRONGPASS/);
  expect(await one.show('AUTH', 'somebody', 'secret')).toMatch(/^\(error\) WRONGPASS/);
  expect(await one.show('PING')).toMatch(/NOAUTH/);
  expect(keys.count).toBe(0);
  one.send(Buffer.concat([command('AUTH', 'secret'), command('SET', 'a', 'x'.repeat(20_000)), command('RESET'), command('GET', 'a')]));
  expect([await one.next(), await one.next(), await one.next()]).toEqual(['OK', 'OK', 'RESET']);
  expect(String(await one.next())).toContain('NOAUTH');
  const large = await client();
  large.send('*2\r\n$4\r\nAUTH\r\n$100000\r\n');
  expect(String(await large.next())).toContain('unauthenticated bulk length');
  await large.closed;
});

test('keys and values that are too long are refused, and the connection goes on', async () => {
  const { client } = await serve();
  const one = await client();
  for (const words of [['SET', 'k'.repeat(1025), 'v'], ['APPEND', 'k'.repeat(1025), 'v'], ['MSET', 'a', '1', 'k'.repeat(1025), 'v'], ['INCR', 'k'.repeat(1025)]]) {
    expect(await one.show(...words)).toBe('(error) ERR a key of 1025 bytes; 1024 are allowed');
  }
  expect(await one.show('GET', 'k'.repeat(5000))).toBe(null);
  expect(await one.show('DEL', 'k'.repeat(5000))).toBe(0);
  expect(await one.show('GET', 'a')).toBe(null);
  const values = Array.from({ length: 300 }, (_, index) => [`k${index}`, 'v'.repeat(16_000)]).flat();
  expect(await one.show('MSET', ...values)).toMatch(/^\(error\) ERR changes of more than/);
  expect(await one.show('DBSIZE')).toBe(0);
});

test('a client above the limit is told so', async () => {
  const { client } = await serve({ clientsMax: 2 });
  const [first] = [await client(), await client()];
  const third = await client();
  expect(String(await third.next())).toContain('ERR max number of clients reached');
  await third.closed;
  await first.end();
  await expect.poll(async () => (await client()).call('PING').catch(() => 'closed')).toBe('PONG');
});

/** Fails groups when told so, as a store does whose journal cannot be written. */
class FailingKeySpace extends ModelKeySpace {
  failing = 0;
  override group<T>(work: () => T): T {
    return super.group(() => {
      const result = work();
      if (this.failing > 0) {
        this.failing--;
        throw new StoreError('FULL', 'the store is full: delete something');
      }
      return result;
    });
  }
}

test('the commands of a group that failed are carried out alone, each with its own answer, once', async () => {
  const keys = new FailingKeySpace();
  const { client } = await serveKeys(keys);
  const one = await client();
  await one.call('SET', 'large', Buffer.alloc(20_000));
  keys.failing = 1;
  one.send(Buffer.concat([command('INCR', 'n'), command('INCR', 'n'), command('STRLEN', 'large'), command('GET', 'nothing'), command('APPEND', 'large', 'x'), command('GET', 'n')]));
  expect([await one.next(), await one.next(), await one.next(), await one.next(), await one.next(), String(await one.next())]).toEqual([1, 2, 20_000, null, 20_001, '2']);
});

/** A real space whose groups fail when told so, with nothing of them done: as where the journal takes no more. */
class FullJournal extends LocalKeySpace {
  failing = 0;
  override group<T>(work: () => T): T {
    return super.group(() => {
      const result = work();
      if (this.failing > 0) {
        this.failing--;
        throw new StoreError('FULL', 'the journal is full');
      }
      return result;
    });
  }
}

test.each([
  { what: 'a write', words: ['APPEND', 'a', 'x'], answer: 5001 },
  { what: 'a read', words: ['GET', 'a'], answer: 'o'.repeat(5000) },
])('calls of a connection keep their order where a group failed, and $what has to wait for the shards that did not before', async ({ words, answer }) => {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const keys = new FullJournal(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  const { client } = await serveKeys(keys);
  const [one, other] = [await client(), await client()];
  await one.call('SET', 'a', 'o'.repeat(5000));
  await harness.context.durability.drain();
  // The group, and its first command alone.
  keys.failing = 2;
  one.send(Buffer.concat([command('SET', 'a', 'n'), command(...words), command('SET', 'a', 'y'), command('GET', 'a'), command('QUIT')]));
  const answers = [await one.next(), await one.next(), await one.next(), await one.next(), await one.next()].map(shown);
  expect(answers).toEqual(['(error) OOM the journal is full', answer, 'OK', 'y', 'OK']);
  await one.closed;
  expect(await other.show('GET', 'a')).toBe('y');
});

test('who sends all at once and no more is answered, and let go, also where the group failed', async () => {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const keys = new FullJournal(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  const { client } = await serveKeys(keys);
  const one = await client();
  keys.failing = 1;
  one.send('SET a 1\r\nGET a\r\n');
  one.socket.end();
  expect([await one.next(), String(await one.next())]).toEqual(['OK', '1']);
  await one.closed;
});

test('a store that is full says what to do, in words that clients know', async () => {
  class FullKeySpace extends ModelKeySpace {
    override transact(): never {
      throw new StoreError('FULL', 'the store is full: delete something, or add a disk');
    }
  }
  const { client } = await serveKeys(new FullKeySpace());
  expect(await (await client()).show('SET', 'a', 1)).toBe('(error) OOM the store is full: delete something, or add a disk');
});

test('writes wait for room, and reads of others do not', async () => {
  let makeRoom = (): void => {};
  class NarrowKeySpace extends ModelKeySpace {
    wait: Promise<void> | undefined;
    override room(): Promise<void> | undefined {
      return this.wait;
    }
  }
  const keys = new NarrowKeySpace();
  const { client } = await serveKeys(keys);
  const [writer, reader] = [await client(), await client()];
  keys.wait = new Promise((resolve) => { makeRoom = () => { keys.wait = undefined; resolve(); }; });
  const written = writer.call('SET', 'a', 1);
  expect(await reader.call('GET', 'a')).toBe(null);
  await delay(20);
  expect(await reader.call('GET', 'a')).toBe(null);
  makeRoom();
  expect(await written).toBe('OK');
  expect(String(await reader.call('GET', 'a'))).toBe('1');
});

test('with sync, nothing is told before it is power-proof', async () => {
  let release = (): void => {};
  class SlowKeySpace extends ModelKeySpace {
    override async sync(): Promise<void> {
      await super.sync();
      await new Promise<void>((resolve) => { release = resolve; });
    }
  }
  const keys = new SlowKeySpace();
  const { client } = await serveKeys(keys, { syncs: true });
  const [writer, reader] = [await client(), await client()];
  expect(await reader.call('GET', 'a')).toBe(null);
  const answers: unknown[] = [];
  const done = Promise.all([writer.call('SET', 'a', 1).then((answer) => answers.push(answer)), writer.call('PING').then((answer) => answers.push(answer))]);
  await expect.poll(() => keys.syncs).toBe(1);
  const seen = reader.call('GET', 'a').then((answer) => answers.push(String(answer)));
  await delay(20);
  expect(answers).toEqual([]);
  release();
  await Promise.all([done, seen]);
  expect(answers).toEqual(['OK', 'PONG', '1']);
});

test('a UNIX socket is for its owner alone, and is gone when the server is', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-key-server-'));
  const path = join(directory, 'kv.sock');
  const options = { keys: new ModelKeySpace(), commands: REDIS_COMMANDS, logger: pino({ level: 'silent' }) };
  try {
    const server = await KeyServer.listen({ path }, options);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const client = await RespClient.connect({ path });
    expect(await client.call('PING')).toBe('PONG');
    await server.close();
    await client.closed;
    expect(() => statSync(path)).toThrow('ENOENT');
    await expect(KeyServer.listen({ path: join(directory, 'nowhere', 'kv.sock') }, options)).rejects.toMatchObject({ code: 'INVALID' });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a server that closes answers what it was asked, and does not wait for who does not listen', async () => {
  const { client, server } = await serve();
  const [one, deaf] = [await client(), await client()];
  await one.call('SET', 'large', Buffer.alloc(LIMITS.clientReplyBytesMax));
  deaf.socket.pause();
  deaf.send(Buffer.concat(Array.from({ length: 50 }, () => command('GET', 'large'))));
  const answer = one.call('GET', 'large');
  await one.call('PING');
  await Promise.all([server.close(), answer]);
  await one.closed;
});
