// sdfs kv serve as a process on a real store: clients that nobody here wrote, many of them, wrong passwords, SIGKILL and SIGTERM.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../../src/base/errors.ts';
import { BuiltCommand, expectFailure, runProgram } from '../../cli/command.ts';
import { endServing, serveStore } from '../../support/kv-serve.ts';
import type { Serving } from '../../support/kv-serve.ts';
import { RespClient, command as encode } from '../../support/resp-client.ts';

let built: BuiltCommand;
let root: string;
let store: string;
const children = new Set<ChildProcess>();
const hasTools = existsSync('/usr/bin/redis-cli');

beforeAll(async () => {
  built = new BuiltCommand('kv-serve');
  root = mkdtempSync(join(tmpdir(), 'sdfs-kv-serve-'));
  store = join(root, 'store');
  const { code, stderr } = await built.run(join(root, 'run'), ['kv', 'init', store, '--shards', '3']);
  if (code !== 0) throw new Error(stderr);
}, 120_000);

// What a test that failed has left would fail the others.
afterEach(async () => {
  for (const child of children) {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

async function serve(...words: string[]): Promise<Serving> {
  const serving = await serveStore(built.main, { store, runDirectory: join(root, 'run'), words });
  children.add(serving.child);
  serving.child.once('exit', () => children.delete(serving.child));
  return serving;
}

test('redis-cli, redis-benchmark and ioredis find what they know, and what was set is there after SIGTERM', { timeout: 120_000 }, async ({ skip }) => {
  if (!hasTools) skip('redis-tools are not installed');
  let serving = await serve();
  const cli = async (...words: string[]) => (await runProgram('redis-cli', ['-p', String(serving.port), ...words])).stdout.trim();
  expect(await cli('SET', 'greeting', 'hello')).toBe('OK');
  expect(await cli('GET', 'greeting')).toBe('hello');
  expect(await cli('INCR', 'greeting')).toBe('ERR value is not an integer or out of range');
  expect(await cli('--scan')).toBe('greeting');
  expect(await cli('INFO', 'server')).toContain('server_name:sdfs');
  const bench = await runProgram('redis-benchmark', ['-p', String(serving.port), '-t', 'ping,set,get,incr,mset', '-n', '2000', '-c', '50', '-P', '16', '-d', '4096', '-r', '1000', '-q']);
  expect(bench).toMatchObject({ code: 0 });
  expect(bench.stdout).toMatch(/MSET \(10 keys\): [\d.]+ requests per second/);
  const redis = new Redis(serving.port);
  const large = Buffer.alloc(5_000_000, 'large');
  expect(await redis.set('large', large, 'EX', 1000)).toBe('OK');
  expect((await redis.getBuffer('large'))!.equals(large)).toBe(true);
  expect((await redis.pipeline().incr('n').incr('n').get('n').exec())!.map(([, answer]) => answer)).toEqual([1, 2, '2']);
  let found = 0;
  for await (const keys of redis.scanStream({ count: 100 })) found += (keys as string[]).length;
  expect(found).toBe(Number(await redis.dbsize()));
  redis.disconnect();
  await endServing(serving);
  serving = await serve();
  expect(await cli('MGET', 'greeting', 'n')).toBe('hello\n2');
  expect((await runProgram('redis-cli', ['-p', String(serving.port), 'STRLEN', 'large'])).stdout.trim()).toBe('5000000');
  await endServing(serving);
});

test('a thousand clients are served beside each other', { timeout: 120_000 }, async () => {
  const serving = await serve();
  const clients: RespClient[] = [];
  for (let index = 0; index < 1000; index += 100) clients.push(...(await Promise.all(Array.from({ length: 100 }, () => RespClient.connect({ port: serving.port })))));
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(clients.map((client, index) => client.show('INCRBY', `counter:${index % 10}`, 1)));
    expect(answers.every((answer) => typeof answer === 'number')).toBe(true);
  }
  expect(await clients[0]!.show('GET', 'counter:0')).toBe('300');
  await Promise.all(clients.map((client) => client.end()));
  await endServing(serving);
});

test('after SIGKILL everything that was acknowledged is there, and an MSET is there as a whole or not at all', { timeout: 120_000 }, async () => {
  for (let round = 0; round < 3; round++) {
    const serving = await serve();
    const clients = await Promise.all(Array.from({ length: 8 }, () => RespClient.connect({ port: serving.port })));
    const acknowledged = clients.map(() => -1);
    const writing = clients.map(async (client, writer) => {
      const large = Buffer.alloc(writer % 2 === 0 ? 10 : 30_000, 'v');
      for (let step = 0; ; step++) {
        const mark = `${round}.${step}`;
        const answer = await client.call('MSET', `${writer}:a`, mark, `${writer}:b`, Buffer.concat([Buffer.from(`${mark} `), large]), `${writer}:c`, mark).catch(() => undefined);
        if (answer === undefined) return;
        expect(answer).toBe('OK');
        acknowledged[writer] = step;
      }
    });
    await expect.poll(() => Math.min(...acknowledged), { timeout: 30_000 }).toBeGreaterThan(3 + 5 * round);
    serving.child.kill('SIGKILL');
    await Promise.all(writing);
    await serving.ended;
    const after = await serve();
    const reader = await RespClient.connect({ port: after.port });
    for (const [writer, step] of acknowledged.entries()) {
      const [a, b, c] = (await reader.show('MGET', `${writer}:a`, `${writer}:b`, `${writer}:c`)) as string[];
      expect([c, b!.split(' ')[0]]).toEqual([a, a]);
      expect(a!.startsWith(`${round}.`) ? Number(a!.split('.')[1]) : -1).toBeGreaterThanOrEqual(step);
    }
    await reader.end();
    await endServing(after);
  }
});

test('a client that takes no answers makes the process hold little, and others are served', { timeout: 120_000 }, async () => {
  const serving = await serve();
  const [slow, other] = [await RespClient.connect({ port: serving.port }), await RespClient.connect({ port: serving.port })];
  await other.call('SET', 'large', Buffer.alloc(1_000_000, 'x'));
  const memory = async () => Number(/used_memory_rss:(\d+)/.exec(String(await other.show('INFO', 'memory')))![1]);
  const before = await memory();
  slow.socket.pause();
  slow.send(Buffer.concat(Array.from({ length: 2000 }, () => encode('GET', 'large'))));
  for (let index = 0; index < 200; index++) expect(await other.show('SET', `k${index}`, 'v')).toBe('OK');
  expect(await memory()).toBeLessThan(before + 200_000_000);
  await slow.end();
  await other.end();
  await endServing(serving);
});

test('a password is wanted outside of loopback, read from a file or the environment, and checked', { timeout: 120_000 }, async () => {
  const refused = (...words: string[]) => built.run(join(root, 'run'), ['kv', 'serve', '--store', store, '--port', '0', ...words]);
  expectFailure(await refused('--host', '0.0.0.0'), EXIT.usage, /give a password \(--password-file\), or listen on 127\.0\.0\.1/);
  expectFailure(await refused('--port', '70000'), EXIT.usage, /is not a port/);
  expectFailure(await refused('--password-file', join(root, 'nothing')), EXIT.usage, /cannot read the password/);
  expectFailure(await refused('--host', '192.0.2.1', '--password-file', '/dev/null'), EXIT.usage, /is empty/);
  expectFailure(await built.run(join(root, 'run'), ['kv', 'serve', '--store', join(root, 'wrong')]), EXIT.notFound, /there is no store at/);
  const file = join(root, 'password');
  writeFileSync(file, 'secret\n');
  const serving = await serve('--host', '0.0.0.0', '--password-file', file, '--sync');
  const client = await RespClient.connect({ port: serving.port });
  expect(await client.show('GET', 'a')).toMatch(/NOAUTH/);
  expect(await client.show('AUTH', 'wrong')).toMatch(/WRONGPASS/);
  expect(await client.show('AUTH', 'secret')).toBe('OK');
  expect(await client.show('SET', 'a', '1')).toBe('OK');
  expectFailure(await refused(), EXIT.busy, /open|in use|lock/i);
  await client.end();
  await endServing(serving);
});

test('a store is made where --copies says how, and only there, and one that is there has to be such', { timeout: 120_000 }, async () => {
  const words = (path: string, ...more: string[]) => ['kv', 'serve', '--store', path, '--port', '0', ...more];
  const run = (...given: string[]) => built.run(join(root, 'run'), given);
  const path = join(root, 'made');
  expectFailure(await run(...words(path)), EXIT.notFound, /there is no store at .*made/);
  expect(existsSync(path)).toBe(false);
  await endServing(await serve('--store', path, '--copies', '1', '--shards', '2'));
  expectFailure(await run(...words(path, '--copies', '2')), EXIT.usage, /keeps 1 copies, not 2/);
  await endServing(await serve('--store', path, '--copies', '1'));
  const stat = await run('kv', 'stat', '--store', path);
  expect(stat).toMatchObject({ code: 0, stdout: expect.stringMatching(/cop(y|ies)/) });
});
