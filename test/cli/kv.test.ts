// sdfs kv as a process, on a store of its own: output, exit codes, bytes of every kind, and what is refused.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { until } from '../support/programs.ts';
import { BuiltCommand, expectFailure } from './command.ts';
import type { Outcome } from './command.ts';

let command: BuiltCommand;
let root: string;
let store: string;
let made: Outcome;

beforeAll(async () => {
  command = new BuiltCommand('kv');
  root = mkdtempSync(join(tmpdir(), 'sdfs-kv-'));
  store = join(root, 'store');
  made = await sdfs('init', store, '--shards', '1');
}, 120_000);
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const sdfs = (...words: string[]): Promise<Outcome> => command.run(join(root, 'run'), ['kv', ...words]);
const on = (subcommand: string, ...words: string[]): Promise<Outcome> => sdfs(subcommand, '--store', store, ...words);
const done = async (subcommand: string, ...words: string[]): Promise<string> => {
  const outcome = await on(subcommand, ...words);
  expect(outcome).toMatchObject({ code: 0 });
  return outcome.stdout;
};

/** With bytes on stdin, and bytes on stdout. */
function piped(words: readonly string[], input: Buffer): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: join(root, 'run'), NO_COLOR: '1' };
    const child = execFile(process.execPath, [command.main, 'kv', ...words], { env, encoding: 'buffer', timeout: 20_000, maxBuffer: 2 ** 28 }, (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr: stderr.toString() }));
    child.stdin!.end(input);
  });
}

async function clear(): Promise<void> {
  const keys = (await done('ls', '--keys', 'hex')).split('\n').slice(0, -1);
  if (keys.length > 0) await done('del', '--keys', 'hex', ...keys);
}

describe('sdfs kv', () => {
  it('has help with the exit codes', async () => {
    const { stdout } = await sdfs('--help');
    for (const name of ['init', 'get', 'set', 'del', 'ls', 'scan', 'stat', 'export', 'import', 'serve', 'bench']) expect(stdout).toContain(`\n  ${name} `);
    expect((await sdfs('import', '--help')).stdout).toMatch(/Exit codes:\n  0  done/);
  }, 120_000);

  it('makes a store, and none by a typing error', async () => {
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/a store of 1 shard with 1 copy of everything, and room for/) });
    const wrong = join(root, 'wrong');
    for (const words of [['set', 'a', 'b'], ['stat']]) expectFailure(await sdfs(...words, '--store', wrong), EXIT.notFound, /there is no store at .*wrong: make one with: sdfs kv init/);
    expect(existsSync(wrong)).toBe(false);
    expectFailure(await sdfs('init', store), EXIT.foreign, /is a store already/);
    mkdirSync(join(root, 'full'));
    writeFileSync(join(root, 'full', 'file'), '');
    expectFailure(await sdfs('init', join(root, 'full')), EXIT.foreign, /not empty/);
    expect(readdirSync(join(root, 'full'))).toEqual(['file']);
  }, 120_000);

  it('refuses what cannot be', async () => {
    expectFailure(await sdfs('get', 'a', '--store', store, '--mount', '/mnt'), EXIT.usage, /give one of the two/);
    expectFailure(await sdfs('get', 'a', '--mount', join(root, 'nothing')), EXIT.notFound, /no sdfs volume is mounted/);
    expectFailure(await on('get', 'x'.repeat(1025)), EXIT.usage, /a key of 1025 bytes/);
    expectFailure(await on('set', 'a'), EXIT.usage, /give a value, or "-" for stdin, or --file/);
    expectFailure(await on('set', 'a', 'b', '--ttl', 'soon'), EXIT.usage, /wants a time/);
    expectFailure(await on('set', 'a', 'b', '--if-absent', '--if-version', '3'), EXIT.usage, /cannot both hold/);
    expectFailure(await on('set', 'a', '--file', join(root, 'nothing')), EXIT.notFound, /there is no such file/);
    expectFailure(await on('scan', '--prefix', 'a', '--gte', 'b'), EXIT.usage, /prefix, or bounds/);
    expectFailure(await on('bench', '--count', '0'), EXIT.usage, /from 1 on/);
  }, 120_000);

  it('sets, gets and deletes', async () => {
    expect(await done('set', 'name', 'value')).toBe('');
    expect(await done('get', 'name')).toBe('value');
    const { version } = JSON.parse(await done('get', 'name', '--json')) as { version: number };
    expectFailure(await on('set', 'name', 'other', '--if-absent'), EXIT.busy, /wanted no key, found version/);
    expectFailure(await on('set', 'name', 'other', '--if-version', String(version + 1)), EXIT.busy, /found version/);
    expect(JSON.parse(await done('set', 'name', 'other', '--if-version', String(version), '--json', '--sync'))).toEqual({ version: expect.any(Number) });
    expectFailure(await on('del', 'name', '--if-version', String(version)), EXIT.busy, /found version/);
    expect(await done('del', 'name', 'nothing', '--json')).toBe('{"deleted":1}\n');
    expectFailure(await on('del', 'name'), EXIT.notFound, /there is no key "name"/);
    expectFailure(await on('del', 'name', 'nothing'), EXIT.notFound, /none of these keys/);
    expectFailure(await on('get', 'name'), EXIT.notFound, /there is no key "name"/);
  }, 120_000);

  it('keeps every byte of values from stdin and files, small and large', async () => {
    for (const bytes of [0, 16 * 1024, 16 * 1024 + 1, 3 * 2 ** 20 + 7]) {
      const value = Buffer.from(Array.from({ length: bytes }, (_, index) => (index * 7 + (index >>> 8)) & 0xff));
      expect((await piped(['set', 'binary', '-', '--store', store], value)).code).toBe(0);
      expect((await piped(['get', 'binary', '--store', store], Buffer.alloc(0))).stdout.equals(value)).toBe(true);
    }
    const value = Buffer.alloc(2 ** 21, 'file');
    writeFileSync(join(root, 'value'), value);
    await done('set', 'file', '--file', join(root, 'value'));
    await done('get', 'file', '-o', join(root, 'copy'));
    expect(readFileSync(join(root, 'copy')).equals(value)).toBe(true);
    expectFailure(await on('get', 'nothing', '-o', join(root, 'copy')), EXIT.notFound, /no key/);
    expect(readFileSync(join(root, 'copy')).length).toBeGreaterThan(0);
    await clear();
  }, 120_000);

  it('lists and scans in the order of bytes, within bounds, in any encoding', async () => {
    for (const key of ['62', '6201', 'ff00', '']) await done('set', '--keys', 'hex', key, `of ${key}`);
    expect(await done('ls', '--keys', 'hex')).toBe('\n62\n6201\nff00\n');
    expect(await done('ls', 'b', '-0')).toBe('b\0b\u0001\0');
    expect(JSON.parse((await done('ls', '--json')).trim().split('\n').at(-1)!)).toEqual({ key: { base64: '/wA=' }, version: expect.any(Number) });
    const scanned = (await done('scan', '--reverse', '--gt', '', '--limit', '2')).trim().split('\n').map((line) => JSON.parse(line) as unknown);
    expect(scanned).toMatchObject([{ key: { base64: '/wA=' }, value: 'of ff00' }, { key: 'b\u0001', value: 'of 6201' }]);
    expect(JSON.parse(await done('scan', '--gte', 'b', '--lte', 'b', '--no-values'))).toEqual({ key: 'b', version: expect.any(Number) });
    await clear();
  }, 120_000);

  it('lets a key go by itself', async () => {
    await done('set', 'soon', 'value', '--ttl', '1ms');
    expect(await on('get', 'soon')).toMatchObject({ code: EXIT.notFound });
    await done('set', 'later', 'value', '--ttl', '1h');
    const { expires } = JSON.parse(await done('get', 'later', '--json')) as { expires: string };
    expect(Math.abs(new Date(expires).getTime() - Date.now() - 3_600_000)).toBeLessThan(60_000);
    await clear();
  }, 120_000);

  it('shows how the store is', async () => {
    await done('set', 'a', 'value');
    expect(await done('stat')).toMatch(/keys +\d+\ncopies +1\nspace .* free\npending .*\n\nSHARD .*\n0 +ready /);
    expect(JSON.parse(await done('stat', '--json'))).toMatchObject({ keys: expect.any(Number), copies: 1, shards: [{ shard: 0, state: 'ready' }] });
    await clear();
  }, 120_000);

  it('ends quietly when nobody reads its output any more', async () => {
    const lines = Array.from({ length: 3000 }, (_, index) => JSON.stringify({ key: `key ${index}`, value: 'x'.repeat(100) })).join('\n');
    expect((await piped(['import', '-', '--store', store], Buffer.from(lines))).stderr).toBe('sdfs: 3000 entries imported\n');
    const outcome = await new Promise<Outcome>((resolve) => {
      const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: join(root, 'run') };
      execFile('bash', ['-c', `set -o pipefail; '${process.execPath}' '${command.main}' kv scan --store '${store}' | head -1`], { env, timeout: 20_000 }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }));
    });
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout.split('\n').length).toBe(2);
    await clear();
  }, 120_000);

  it('asks the process that has the store open, and opens it itself when that has gone', async () => {
    const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: join(root, 'run') };
    const other = execFile(process.execPath, [command.main, 'kv', 'import', '-', '--store', store], { env });
    const ended = new Promise((resolve) => other.on('exit', resolve));
    other.stdin!.write('{"key":"theirs","value":"1"}\n');
    await until('the other process has it open', async () => existsSync(join(root, 'run')) && readdirSync(join(root, 'run'), { recursive: true }).some((name) => String(name).endsWith('keys.sock')), 20_000);
    await done('set', 'ours', 'value');
    expect((await piped(['set', 'large', '-', '--store', store], Buffer.alloc(2 ** 21, 'x'))).code).toBe(0);
    expect((await piped(['get', 'large', '--store', store], Buffer.alloc(0))).stdout.length).toBe(2 ** 21);
    expect(JSON.parse(await done('stat', '--json'))).toMatchObject({ shards: [{ state: 'ready' }] });
    other.stdin!.end();
    await ended;
    expect(await done('ls')).toBe('large\nours\ntheirs\n');
    const killed = execFile(process.execPath, [command.main, 'kv', 'import', '-', '--store', store], { env });
    const gone = new Promise((resolve) => killed.on('exit', resolve));
    await until('it has it open', async () => readdirSync(join(root, 'run'), { recursive: true }).some((name) => String(name).endsWith('keys.sock')), 20_000);
    killed.kill('SIGKILL');
    await gone;
    expect(await done('get', 'ours')).toBe('value');
    await clear();
  }, 120_000);

  it('measures itself and LMDB on keys that it takes away again', async () => {
    const { sdfs: own, lmdb } = JSON.parse(await done('bench', '--count', '500', '--batch', '50', '--against-lmdb', '--directory', root, '--json')) as { sdfs: { work: string; keys: number; perSecond: number }[]; lmdb: unknown[] };
    expect(own.map(({ work, keys }) => [work, keys])).toEqual([['batch of 50', 500], ['set', 500], ['set, one at a time', 50], ['get', 500], ['get, one at a time', 50], ['get of 50', 500], ['range', 500], ['delete of 50', 500]]);
    expect([own.every(({ perSecond }) => perSecond > 0), lmdb.length]).toEqual([true, own.length]);
    expect(await done('ls')).toBe('');
    const table = await sdfs('bench', '--count', '200', '--directory', root, '--shards', '1', '--copies', '1');
    expect(table.stdout).toMatch(/^WORK +KEYS +PER SECOND +MEDIAN +P99\nbatch of 100 +200 /);
    expect(readdirSync(root).filter((name) => name.startsWith('sdfs-bench'))).toEqual([]);
  }, 120_000);
});

describe('export and import', () => {
  const lines = `${[{ key: 'binary', value: { base64: 'AP8KDQ==' } }, { key: 'text', value: 'Wörter' }].map((entry) => JSON.stringify(entry)).join('\n')}\n`;

  it('carry entries through files and pipes, compressed and not', async () => {
    writeFileSync(join(root, 'in.jsonl'), lines);
    expect(await on('import', join(root, 'in.jsonl'), '--json', '--sync')).toMatchObject({ code: 0, stdout: '{"set":2,"expired":0}\n' });
    expect(await done('export')).toBe(lines);
    expect((await on('export', join(root, 'out.jsonl.gz'))).stderr).toBe('sdfs: 2 entries exported\n');
    expect(gunzipSync(readFileSync(join(root, 'out.jsonl.gz'))).toString()).toBe(lines);
    await clear();
    expect((await on('import', join(root, 'out.jsonl.gz'))).stderr).toBe('sdfs: 2 entries imported\n');
    expect(await done('export', '--prefix', 'b')).toBe(`${lines.split('\n')[0]}\n`);
    await clear();
  }, 120_000);

  it('refuse what is not there, or no export', async () => {
    expectFailure(await on('import', join(root, 'nothing')), EXIT.notFound, /cannot read/);
    const { code, stderr } = await piped(['import', '-', '--store', store], Buffer.from(`${lines}bad\n`));
    expect([code, stderr]).toEqual([EXIT.usage, expect.stringMatching(/^sdfs: line 3 is no entry: no JSON .*Nothing is imported\n$/)]);
    writeFileSync(join(root, 'cut.gz'), gzipSync(lines).subarray(0, 40));
    expectFailure(await on('import', join(root, 'cut.gz')), EXIT.damaged, /cut short/);
    expect(await done('ls')).toBe('');
  }, 120_000);
});
