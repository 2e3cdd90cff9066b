// Replies as bytes, and read back, split anywhere.
import { expect, test } from 'vitest';
import { ReplyError, ReplyParser } from '../../src/resp/reply-parser.ts';
import type { Reply } from '../../src/resp/reply-parser.ts';
import { ReplyWriter, encoded } from '../../src/resp/reply-writer.ts';

const LIMITS = { bulkBytesMax: 1_000_000, itemsMax: 1000 };

function writeOne(reply: ReplyWriter): void {
  reply.array(8);
  reply.ok();
  reply.nil();
  reply.integer(-5);
  reply.integer(2 ** 53 - 1);
  reply.bulk(Buffer.from('a\r\nb'));
  reply.array(0);
  reply.array(2);
  reply.bulkText('');
  reply.error('ERR no\r\nsuch');
  reply.integer(42);
}

const ONE = ['OK', null, -5, 2 ** 53 - 1, Buffer.from('a\r\nb'), [], [Buffer.alloc(0), new ReplyError('ERR no such')], 42];

function parseAll(parser: ReplyParser, chunk: Buffer): Reply[] {
  parser.push(Buffer.from(chunk));
  const replies: Reply[] = [];
  for (let reply = parser.next(); reply !== undefined; reply = parser.next()) replies.push(reply);
  return replies;
}

test('what is written as replies is read as what it was', () => {
  const bytes = encoded((reply) => {
    writeOne(reply);
    reply.integer(2n ** 62n);
    reply.simple('END');
  });
  expect(parseAll(new ReplyParser(LIMITS), bytes)).toEqual([ONE, 2 ** 62, 'END']);
});

test('replies are the same wherever their bytes are split', () => {
  const bytes = encoded(writeOne);
  for (let at = 0; at < 200; at++) {
    const parser = new ReplyParser(LIMITS);
    expect([...parseAll(parser, bytes.subarray(0, at)), ...parseAll(parser, bytes.subarray(at))]).toEqual([ONE]);
  }
  const parser = new ReplyParser(LIMITS);
  const replies: Reply[] = [];
  for (let at = 0; at < bytes.length; at++) replies.push(...parseAll(parser, bytes.subarray(at, at + 1)));
  expect(replies).toEqual([ONE]);
});

test('a writer is used again, and what was taken from it stays', () => {
  const reply = new ReplyWriter();
  reply.bulk(Buffer.from('first'));
  const first = reply.take();
  reply.bulk(Buffer.from('other'));
  expect(Buffer.concat(first).toString()).toBe('$5\r\nfirst\r\n');
  expect(Buffer.concat(reply.take()).toString()).toBe('$5\r\nother\r\n');
  expect(reply.take()).toEqual([]);
});

test('large values are not copied into a reply', () => {
  const value = Buffer.alloc(100_000, 'v');
  const reply = new ReplyWriter();
  reply.bulk(value);
  expect(reply.take()).toContain(value);
});

test('bytes that are no reply are refused', () => {
  for (const bytes of ['hello\r\n', ':1x\r\n', '$3\r\nabcd\r\n', '*99999\r\n', '$99999999\r\n', '+ok\rx', `${'*1\r\n'.repeat(20)}`]) {
    expect(() => parseAll(new ReplyParser(LIMITS), Buffer.from(bytes))).toThrow(/^a reply: wanted/);
  }
});
