// A line that a person typed, as words: quoted ones may hold spaces, and in double quotes any byte. As Redis splits lines.

const SPACE = 32;
const DOUBLE_QUOTE = 34;
const SINGLE_QUOTE = 39;
const BACKSLASH = 92;
const ESCAPES: ReadonlyMap<string, number> = new Map([['n', 10], ['r', 13], ['t', 9], ['b', 8], ['a', 7]]);

/** Undefined when a quote is not closed, or is followed by something else than a space. */
export function splitLine(line: Buffer): Buffer[] | undefined {
  const words: Buffer[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && isSpace(line[at]!)) at++;
    if (at >= line.length) return words;
    const word: number[] = [];
    const end = readWord(line, at, word);
    if (end === undefined) return undefined;
    words.push(Buffer.from(word));
    at = end;
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || (byte >= 9 && byte <= 13) || byte === 0;
}

/** Adds the bytes of the word to `word`; where it ends. */
function readWord(line: Buffer, start: number, word: number[]): number | undefined {
  for (let at = start; at < line.length && !isSpace(line[at]!); at++) {
    const byte = line[at]!;
    if (byte !== DOUBLE_QUOTE && byte !== SINGLE_QUOTE) {
      word.push(byte);
      continue;
    }
    const end = readQuoted(line, at, word);
    return end !== undefined && (end >= line.length || isSpace(line[end]!)) ? end : undefined;
  }
  let end = start;
  while (end < line.length && !isSpace(line[end]!)) end++;
  return end;
}

/** From the opening quote; where the character behind the closing one is. */
function readQuoted(line: Buffer, start: number, word: number[]): number | undefined {
  const quote = line[start]!;
  for (let at = start + 1; at < line.length; at++) {
    const byte = line[at]!;
    if (byte === quote) return at + 1;
    if (byte !== BACKSLASH || at + 1 >= line.length) {
      word.push(byte);
      continue;
    }
    if (quote === SINGLE_QUOTE) {
      // Only \' is something else than what it looks like.
      if (line[at + 1] === SINGLE_QUOTE) at++;
      word.push(line[at]!);
      continue;
    }
    const hex = /^x[0-9a-fA-F]{2}/.exec(line.toString('latin1', at + 1, at + 4));
    if (hex !== null) word.push(Number.parseInt(hex[0].slice(1), 16));
    else word.push(ESCAPES.get(String.fromCharCode(line[at + 1]!)) ?? line[at + 1]!);
    at += hex === null ? 1 : 3;
  }
  return undefined;
}
