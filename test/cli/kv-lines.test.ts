// Keys and values as lines of JSON: what is exported comes back, and what is no entry is named by its line.
import { Readable } from 'node:stream';
import { createGunzip, gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { EXIT, UserError } from '../../src/base/errors.ts';
import { linesOf } from '../../src/cli/kv-export.ts';
import { importLines } from '../../src/cli/kv-import.ts';
import type { Sums } from '../../src/cli/kv-import.ts';
import { formatLine, parseDuration, parseKey, parseLine, showKey } from '../../src/cli/kv-text.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { modelStore } from '../support/model-store.ts';
import type { ModelStore } from '../support/model-store.ts';

let made: ModelStore;

beforeEach(() => {
  made = modelStore();
});

const text = (lines: readonly unknown[]): string => lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');

/** In pieces that end anywhere, also within a character. */
function* inPieces(content: string, bytes = 7): Generator<Buffer> {
  const all = Buffer.from(content);
  for (let at = 0; at < all.length; at += bytes) yield all.subarray(at, at + bytes);
}

async function load(lines: readonly unknown[], { fromLine = 1, bytes = 5000 } = {}): Promise<Sums> {
  const sums = { set: 0, expired: 0 };
  await importLines(made.store, Readable.from(inPieces(text(lines), bytes)), { sums, fromLine, from: 'FILE' });
  return sums;
}

async function dump(prefix = ''): Promise<string> {
  let all = '';
  for await (const line of linesOf(made.store, Buffer.from(prefix), { writesToStdout: true })) all += line;
  return all;
}

const refusal = async (work: Promise<unknown>): Promise<UserError> => {
  const error = await work.then(() => undefined, (cause: unknown) => cause);
  if (!(error instanceof UserError)) throw new Error('was not refused', { cause: error });
  return error;
};

describe('export and import', () => {
  const entries = [
    { key: '', value: 'of the empty key' }, { key: 'binary', value: { base64: Buffer.from([0, 255, 10, 13]).toString('base64') } },
    { key: 'expires', value: 'later', expires: new Date(Date.now() + 3_600_000).toISOString() }, { key: 'large', value: 'l'.repeat(100_000) },
    { key: 'text', value: 'Zeilen\n\tund "Wörter" 🙂' }, { key: { base64: '/w==' }, value: '' },
  ];

  it('carry every entry, in order, with times, whatever the pieces that it comes in', async () => {
    for (const bytes of [1, 7, 1 << 20]) {
      made = modelStore();
      expect(await load(entries, { bytes })).toEqual({ set: 6, expired: 0 });
      expect(await dump()).toBe(text(entries));
    }
    expect(await dump('l')).toBe(text([entries[3]]));
    await load(entries);
    expect(await dump()).toBe(text(entries));
  });

  it('write no longer lines for bytes that JSON has to escape', () => {
    const value = Buffer.alloc(10_000, 1);
    const line = formatLine({ key: Buffer.from('k'), value, expires: undefined });
    expect(line.length).toBeLessThan(1.4 * value.length);
    expect(parseLine(line)).toEqual({ key: Buffer.from('k'), value, expires: undefined });
  });

  it('leave out what has expired, and take the last of several values of a key', async () => {
    expect(await load([{ key: 'a', value: '1' }, { key: 'a', value: '2' }, { key: 'old', value: 'x', expires: '2001-01-01T00:00:00Z' }, '', { key: 'b', value: '3', expires: null, version: 7 }])).toEqual({ set: 3, expired: 1 });
    expect(await dump()).toBe(text([{ key: 'a', value: '2' }, { key: 'b', value: '3' }]));
  });

  it.each([
    ['no JSON', '{"key": "a"', /no JSON/],
    ['no object', '["a", "b"]', /no object/],
    ['no key', { value: 'a' }, /"key" wants text/],
    ['no value', { key: 'a' }, /"value" wants text/],
    ['a number as a value', { key: 'a', value: 7 }, /"value" wants text/],
    ['bad base64', { key: 'a', value: { base64: '!' } }, /"value" is no base64/],
    ['something beside base64', { key: 'a', value: { base64: 'aaaa', more: 1 } }, /"value" wants text/],
    ['a strange field', { key: 'a', value: 'b', ttl: 7 }, /"ttl" is no field/],
    ['a bad time', { key: 'a', value: 'b', expires: 'tomorrow' }, /"expires" wants a time/],
    ['a long key', { key: 'k'.repeat(1025), value: 'b' }, /a key of 1025 bytes/],
  ])('name a line with %s by its number, and do nothing of its batch', async (_, bad, message) => {
    const error = await refusal(load([...entries, bad, { key: 'behind', value: 'x' }]));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/line 7 is no entry: .*\. Nothing is imported/);
    expect([error.exitCode, made.keys.count, made.keys.prepared.size]).toEqual([EXIT.usage, 0, 0]);
  });

  it('go on at the line where they were stopped', async () => {
    const good = Array.from({ length: 600 }, (_, index) => ({ key: `k${String(index).padStart(4, '0')}`, value: String(index) }));
    const lines: unknown[] = [...good];
    lines[550] = 'bad';
    expect((await refusal(load(lines))).message).toMatch(/line 551 is no entry: no JSON .*What is before line 513 is imported; go on with --from-line 513/);
    expect(made.keys.count).toBe(512);
    expect(await load(good, { fromLine: 513 })).toEqual({ set: 88, expired: 0 });
    expect(await dump()).toBe(text(good));
  });

  it('say which lines a failure of the store was about', async () => {
    await made.store.close();
    expect((await refusal(load([{ key: 'a', value: '1' }, { key: 'b', value: '2' }]))).message).toMatch(/lines 1 to 2 were not imported: the store is closed/);
  });

  it('refuse a file that was cut short or damaged, and say from where to go on', async () => {
    const packed = gzipSync(text(Array.from({ length: 5000 }, (_, index) => ({ key: `k${index}`, value: `${Math.sin(index)}` }))));
    for (const bytes of [packed.subarray(0, packed.length / 2), Buffer.concat([packed.subarray(0, 2000), Buffer.alloc(100), packed.subarray(2100)])]) {
      made = modelStore();
      const error = await refusal(importLines(made.store, Readable.from([bytes]).pipe(createGunzip()), { sums: { set: 0, expired: 0 }, fromLine: 1, from: 'FILE' }));
      expect([error.exitCode, error.message]).toEqual([EXIT.damaged, expect.stringMatching(/FILE is damaged, or was cut short: /)]);
    }
  });
});

describe('keys and times on the command line', () => {
  it('are read in the encoding that was asked for, and refused in another', () => {
    expect(parseKey('ab', 'text')).toEqual(Buffer.from('ab'));
    expect(parseKey('FF00', 'hex')).toEqual(Buffer.of(255, 0));
    expect(parseKey('/wA=', 'base64')).toEqual(Buffer.of(255, 0));
    expect(parseKey('/wA', 'base64')).toEqual(Buffer.of(255, 0));
    expect(() => parseKey('xyz', 'hex')).toThrow('"xyz" is no hex');
    expect(() => parseKey('abc', 'hex')).toThrow('"abc" is no hex');
    expect(() => parseKey('a!', 'base64')).toThrow('"a!" is no base64');
    expect(() => parseKey('é'.repeat(513), 'text')).toThrow('a key of 1026 bytes');
  });

  it('do not reach a terminal as they are, and reach a pipe so', () => {
    const key = Buffer.from('a\u001b[31mb\u009b');
    expect(showKey(key, 'text', { toTerminal: true }).toString()).toBe('a?[31mb?');
    expect(showKey(key, 'text', { toTerminal: false })).toEqual(key);
    expect(showKey(Buffer.of(255), 'hex', { toTerminal: true }).toString()).toBe('ff');
  });

  it('are durations with a unit, seconds without one', () => {
    expect(['500ms', '90s', '90', '1.5m', '24h', '7d'].map(parseDuration)).toEqual([500, 90_000, 90_000, 90_000, 86_400_000, 604_800_000]);
    for (const bad of ['', 'soon', '0', '-5s', '5y', `${LIMITS.ttlMsMax}d`]) expect(() => parseDuration(bad)).toThrow('wants a time');
  });
});
