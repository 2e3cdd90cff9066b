// SCAN, KEYS and DBSIZE: keys in order, a page at a time.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LIMITS } from '../base/limits.ts';
import type { KeyPage, KeyRange } from '../keys/key-space.ts';
import { SYNTAX, integer, option, parseInteger } from './arguments.ts';
import { later } from './command.ts';
import type { Command, Handler } from './command.ts';
import { CommandError } from './errors.ts';
import { globMatches, literalPrefix } from './glob.ts';

const COUNT_DEFAULT = 10;
const ALL: Buffer = Buffer.from('*');

interface ScanOptions {
  readonly pattern: Buffer;
  readonly count: number;
  /** False for a type of which there are no keys. */
  readonly hasType: boolean;
}

const scan: Handler = ({ keys, scans }, words) => {
  const cursor = parseInteger(words[1]!);
  if (cursor === undefined || cursor < 0n) throw new CommandError('ERR invalid cursor');
  const { pattern, count, hasType } = scanOptions(words);
  const place = scans.place(cursor);
  return later(async () => {
    const range = matchingRange(pattern);
    const page = keys.page(place === undefined ? range : { ...range, start: place }, count);
    const next = scans.advance(cursor, page.next?.start);
    const found = hasType ? keysOf(page).filter((key) => globMatches(pattern, key)) : [];
    return (reply) => {
      reply.array(2);
      reply.bulkText(String(next));
      reply.array(found.length);
      for (const key of found) reply.bulk(key);
    };
  });
};

function scanOptions(words: readonly Buffer[]): ScanOptions {
  let pattern = ALL;
  let count = COUNT_DEFAULT;
  let hasType = true;
  for (let at = 2; at < words.length; at += 2) {
    const value = words[at + 1];
    const name = option(words[at]!);
    if (value === undefined) throw new CommandError(SYNTAX);
    if (name === 'MATCH') pattern = value;
    else if (name === 'COUNT') {
      count = Math.min(integer(value), LIMITS.scanCountMax);
      if (count < 1) throw new CommandError(SYNTAX);
    } else if (name === 'TYPE') hasType = option(value) === 'STRING';
    else throw new CommandError(SYNTAX);
  }
  return { pattern, count, hasType };
}

/** The keys among which all that match are. */
function matchingRange(pattern: Buffer): KeyRange {
  const prefix = literalPrefix(pattern);
  if (prefix.length === 0) return {};
  let bytes = prefix.length;
  while (bytes > 0 && prefix[bytes - 1] === 0xff) bytes--;
  if (bytes === 0) return { start: prefix };
  const end: Buffer = Buffer.from(prefix.subarray(0, bytes));
  end[bytes - 1]!++;
  return { start: prefix, end };
}

/** One whose row cannot be read is there too: who asks for its value is told. */
function keysOf({ rows, damaged }: KeyPage): Buffer[] {
  return [...rows.map(({ key }) => key), ...(damaged === undefined ? [] : [damaged.key])];
}

const keysCommand: Handler = ({ keys }, words) => {
  const pattern = words[1]!;
  return later(async () => {
    const found: Buffer[] = [];
    let bytes = 0;
    for (let range: KeyRange | undefined = matchingRange(pattern); ;) {
      const page: KeyPage = keys.page(range, LIMITS.scanCountMax);
      for (const key of keysOf(page)) {
        if (!globMatches(pattern, key)) continue;
        found.push(key);
        bytes += key.length + KEY_OVERHEAD;
      }
      if (bytes > LIMITS.replyBytesMax) throw new CommandError(`ERR more keys match than fit in one reply of ${LIMITS.replyBytesMax} bytes: use SCAN`);
      range = page.next;
      if (range === undefined) break;
      await nextTurn();
      await keys.paused();
    }
    return (reply) => {
      reply.array(found.length);
      for (const key of found) reply.bulk(key);
    };
  }, LIMITS.replyBytesMax);
};

/** What a key costs in memory besides its bytes, about. */
const KEY_OVERHEAD = 100;

export const SCAN_COMMANDS: readonly Command[] = [
  { name: 'scan', arity: -2, kind: 'read', handler: scan },
  { name: 'keys', arity: 2, kind: 'read', handler: keysCommand },
  { name: 'dbsize', arity: 1, kind: 'read', handler: ({ keys }, _words, reply) => reply.integer(keys.count) },
];
