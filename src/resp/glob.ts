// Patterns of KEYS, SCAN MATCH and CONFIG GET, on bytes: * ? [abc] [^a-z] \x, as Redis has them, in bounded time.

const STAR = 42;
const QUESTION = 63;
const OPEN = 91;
const CLOSE = 93;
const CARET = 94;
const MINUS = 45;
const BACKSLASH = 92;

/** The bytes that whatever matches begins with. */
export function literalPrefix(pattern: Buffer): Buffer {
  const prefix: number[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const byte = pattern[at]!;
    if (byte === STAR || byte === QUESTION || byte === OPEN) break;
    if (byte === BACKSLASH && at + 1 < pattern.length) at++;
    prefix.push(pattern[at]!);
  }
  return Buffer.from(prefix);
}

/** A star that does not fit is made longer, the last one alone: a longer earlier one gives nothing that this does not. */
export function globMatches(pattern: Buffer, text: Buffer): boolean {
  let at = 0;
  let read = 0;
  let star = -1;
  let starRead = 0;
  while (read < text.length) {
    if (at < pattern.length && pattern[at] === STAR) {
      star = at++;
      starRead = read;
      continue;
    }
    const next = at < pattern.length ? matchOne(pattern, at, text[read]!) : -1;
    if (next >= 0) {
      at = next;
      read++;
    } else if (star >= 0) {
      at = star + 1;
      read = ++starRead;
    } else return false;
  }
  while (at < pattern.length && pattern[at] === STAR) at++;
  return at === pattern.length;
}

/** Where the pattern goes on behind the element at `at` if `byte` fits it, else -1. */
function matchOne(pattern: Buffer, at: number, byte: number): number {
  const element = pattern[at]!;
  if (element === QUESTION) return at + 1;
  if (element === OPEN) return matchClass(pattern, at + 1, byte);
  if (element === BACKSLASH && at + 1 < pattern.length) return pattern[at + 1] === byte ? at + 2 : -1;
  return element === byte ? at + 1 : -1;
}

/** One that is not closed ends with the pattern. */
function matchClass(pattern: Buffer, start: number, byte: number): number {
  const isNegated = pattern[start] === CARET;
  let at = isNegated ? start + 1 : start;
  let found = false;
  for (; at < pattern.length && pattern[at] !== CLOSE; at++) {
    if (pattern[at] === BACKSLASH && at + 1 < pattern.length) {
      at++;
      if (pattern[at] === byte) found = true;
    } else if (pattern[at + 1] === MINUS && at + 2 < pattern.length) {
      const [from, to] = [pattern[at]!, pattern[at + 2]!];
      if (byte >= Math.min(from, to) && byte <= Math.max(from, to)) found = true;
      at += 2;
    } else if (pattern[at] === byte) found = true;
  }
  if (found === isNegated) return -1;
  return Math.min(at + 1, pattern.length);
}
