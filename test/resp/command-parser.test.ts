// Commands as bytes, whole, split anywhere, and broken.
import { describe, expect, test } from 'vitest';
import { CommandParser, UNKNOWN_CLIENT } from '../../src/resp/command-parser.ts';
import { ProtocolError } from '../../src/resp/errors.ts';

function parseAll(parser: CommandParser, chunk: Buffer | string): string[][] {
  parser.push(Buffer.from(chunk));
  const commands: string[][] = [];
  for (let command = parser.next(); command !== undefined; command = parser.next()) commands.push(command.map((word) => word.toString('latin1')));
  return commands;
}

const BYTES = Buffer.from('*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\nget  "a\\x41\\n" \'b c\'\r\n\r\n*0\r\n*-1\r\nPING\n*1\r\n$4\r\nPING\r\n', 'latin1');
const COMMANDS = [['SET', 'k\r\n', ''], ['get', 'aA\n', 'b c'], ['PING'], ['PING']];

test('arrays and lines are read, and what is empty is nothing', () => {
  expect(parseAll(new CommandParser(), BYTES)).toEqual(COMMANDS);
});

test('commands are the same wherever their bytes are split', () => {
  for (let at = 0; at <= BYTES.length; at++) {
    const parser = new CommandParser();
    expect([...parseAll(parser, BYTES.subarray(0, at)), ...parseAll(parser, BYTES.subarray(at))]).toEqual(COMMANDS);
  }
  const parser = new CommandParser();
  expect([...BYTES].flatMap((byte) => parseAll(parser, Buffer.of(byte)))).toEqual(COMMANDS);
  expect(parser.heldBytes).toBe(0);
});

test('a value that comes in many chunks is put together, and what is held for it is at most twice what came', () => {
  const value = Buffer.alloc(3_000_000, 'abcdefg');
  const bytes = Buffer.concat([Buffer.from(`*2\r\n$4\r\nECHO\r\n$${value.length}\r\n`), value, Buffer.from('\r\nPING\r\n')]);
  const parser = new CommandParser();
  const commands: Buffer[][] = [];
  for (let at = 0; at < bytes.length; at += 1021) {
    parser.push(Buffer.from(bytes.subarray(at, at + 1021)));
    expect(parser.heldBytes).toBeLessThanOrEqual(2 * (at + 1021) + 4096);
    for (let command = parser.next(); command !== undefined; command = parser.next()) commands.push(command);
  }
  expect(commands.map((words) => words.length)).toEqual([2, 1]);
  expect(commands[0]![1]!.equals(value)).toBe(true);
});

test('a length alone makes nothing be held', () => {
  const parser = new CommandParser();
  parseAll(parser, '*2\r\n$3\r\nGET\r\n$67108864\r\nabc');
  expect(parser.heldBytes).toBeLessThan(10_000);
});

describe('broken frames', () => {
  const broken: readonly (readonly [name: string, bytes: string, message: RegExp])[] = [
    ['a count that is no number', '*x\r\n', /invalid multibulk length/],
    ['a count without digits', '*\r\n', /invalid multibulk length/],
    ['a count above the limit', '*9999999\r\n', /invalid multibulk length/],
    ['a count of more digits than a number has', `*${'1'.repeat(30)}`, /invalid multibulk length/],
    ['something else than a bulk string in an array', '*1\r\n:1\r\n', /expected '\$', got ':'/],
    ['a negative length', '*1\r\n$-1\r\n', /invalid bulk length/],
    ['a length above that of the largest value', '*1\r\n$67108865\r\n', /invalid bulk length/],
    ['a value that is longer than its length', '*1\r\n$4\r\nPINGS\r\n', /does not end after its length/],
    ['a carriage return without a line feed', '*1\r\r', /invalid multibulk length/],
    ['a line without an end', 'x'.repeat(70_000), /too big inline request/],
    ['a quote that is not closed', 'get "abc\r\n', /unbalanced quotes/],
    ['a quote that something follows', 'get "abc"d\r\n', /unbalanced quotes/],
  ];
  for (const [name, bytes, message] of broken) {
    test(`${name} is told`, () => {
      expect(() => parseAll(new CommandParser(), bytes)).toThrow(ProtocolError);
      const parser = new CommandParser();
      expect(() => [...Buffer.from(bytes)].flatMap((byte) => parseAll(parser, Buffer.of(byte)))).toThrow(message);
    });
  }
});

test('who has not said the password may send little', () => {
  expect(parseAll(new CommandParser(UNKNOWN_CLIENT), `*2\r\n$4\r\nAUTH\r\n$16384\r\n${'x'.repeat(16384)}\r\n`)).toHaveLength(1);
  expect(() => parseAll(new CommandParser(UNKNOWN_CLIENT), '*2\r\n$4\r\nAUTH\r\n$16385\r\n')).toThrow('Protocol error: unauthenticated bulk length');
  expect(() => parseAll(new CommandParser(UNKNOWN_CLIENT), '*11\r\n')).toThrow('Protocol error: unauthenticated multibulk length');
});
