// Patterns of keys match as in Redis, and in bounded time.
import { expect, test } from 'vitest';
import { globMatches, literalPrefix } from '../../src/resp/glob.ts';

function matches(pattern: string, text: string): boolean {
  return globMatches(Buffer.from(pattern, 'latin1'), Buffer.from(text, 'latin1'));
}

test('patterns match as those of Redis do', () => {
  for (const [pattern, text, wanted] of [
    ['*', '', true], ['*', 'abc', true], ['', '', true], ['', 'a', false], ['h?llo', 'hello', true], ['h?llo', 'hllo', false],
    ['h*llo', 'heeeello', true], ['h[ae]llo', 'hallo', true], ['h[ae]llo', 'hillo', false], ['h[^e]llo', 'hallo', true],
    ['h[^e]llo', 'hello', false], ['h[a-b]llo', 'hbllo', true], ['h[b-a]llo', 'hallo', true], ['\\*', '*', true], ['\\*', 'a', false],
    ['a*b*c', 'aXbYbZc', true], ['a*b*c', 'aXbYbZ', false], ['[abc', 'c', true], ['*[', 'a[', false], ['a\\', 'a\\', true], ['[\\]]', ']', true], ['\xff*', '\xff\xfe', true],
  ] as const) expect([pattern, text, matches(pattern, text)]).toEqual([pattern, text, wanted]);
});

test('a pattern of many stars takes time that the lengths bound', () => {
  expect(matches(`${'*a'.repeat(500)}b`, 'a'.repeat(1024))).toBe(false);
});

test('what all matches begin with is known', () => {
  expect(['user:*', 'a\\*b?', '[ab]', '', 'all'].map((pattern) => literalPrefix(Buffer.from(pattern)).toString())).toEqual(['user:', 'a*b', '', '', 'all']);
});
