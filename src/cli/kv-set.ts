// sdfs kv set: gives a key a value, from the command line, a file or stdin.
import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ValueLike } from '../store/store.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { keysOption, parseDuration, parseKey, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';
import { parseCount } from './values.ts';

interface SetOptions extends StoreChoice, KeyOptions {
  readonly file?: string;
  readonly ttl?: number;
  readonly ifAbsent?: boolean;
  readonly ifVersion?: number;
  readonly sync?: boolean;
  readonly json?: boolean;
}

export function registerKvSet(kv: Command): void {
  storeCommand(kv, 'set', 'set the value of a key')
    .description(`Set the value of a key: the given text, or all that comes from stdin where it is "-". The exit code is ${EXIT.busy} when a condition does not hold; nothing is changed then.`)
    .argument('<key>')
    .argument('[value]', 'text; "-" is stdin')
    .option('-f, --file <file>', 'the value is what is in the file')
    .option('--ttl <time>', 'the key goes by itself after so long: 90s, 15m, 24h, 7d', parseDuration)
    .option('--if-absent', 'only when there is no such key')
    .option('--if-version <n>', 'only when the key has this version, as "get --json" shows it', parseCount)
    .option('--sync', 'return when it survives a power cut; else that takes up to a second')
    .option('--json', 'print the new version, as JSON')
    .addOption(keysOption())
    .action((name: string, text: string | undefined, options: SetOptions, command: Command) => {
      if ((text === undefined) === (options.file === undefined)) throw new UserError('give a value, or "-" for stdin, or --file', EXIT.usage);
      return withStore(options, command, async (store) => {
        const { ttl, ifAbsent, ifVersion, sync } = options;
        const version = await store.set(parseKey(name, options.keys), await valueOf(text, options.file), {
          ...(ttl !== undefined && { ttlMs: ttl }), ...(ifAbsent === true && { ifAbsent }), ...(ifVersion !== undefined && { ifVersion }), ...(sync === true && { sync }),
        });
        if (options.json) await writeOut(`${JSON.stringify({ version })}\n`);
      });
    });
}

async function valueOf(text: string | undefined, file: string | undefined): Promise<ValueLike> {
  if (file !== undefined) return smallAsBytes(readable(file));
  return text === '-' ? smallAsBytes(process.stdin) : (text as string);
}

async function* readable(file: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(file, { highWaterMark: LIMITS.blockBytesMax }) as AsyncIterable<Buffer>;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new UserError(`cannot read ${file}: ${code === 'ENOENT' ? 'there is no such file' : (cause as Error).message}`, code === 'ENOENT' ? EXIT.notFound : EXIT.failure, { cause });
  }
}

/** Small values lie beside their keys, which a stream of unknown length cannot. */
async function smallAsBytes(stream: AsyncIterable<Buffer>): Promise<ValueLike> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  const iterator = stream[Symbol.asyncIterator]();
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    pieces.push(next.value);
    if ((bytes += next.value.length) > LIMITS.inlineBytesMax) return rest(pieces, iterator);
  }
  return Buffer.concat(pieces);
}

async function* rest(pieces: readonly Buffer[], iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield* pieces;
  yield* { [Symbol.asyncIterator]: () => iterator };
}
