// sdfs kv import: sets the entries of an export, a batch at a time, each as a whole.
import { createReadStream, statSync } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { BatchOperation, Store } from '../store/store.ts';
import type { StoreChoice } from './kv-open.ts';
import { asUserError, storeCommand, withStore } from './kv-open.ts';
import { parseLine, writeOut } from './kv-text.ts';
import type { Line } from './kv-text.ts';
import { startProgress } from './progress.ts';
import type { Progress } from './progress.ts';
import { warn } from './terminal.ts';
import { parseCount } from './values.ts';

interface ImportOptions extends StoreChoice {
  readonly fromLine?: number;
  readonly sync?: boolean;
  readonly json?: boolean;
}

/** Entries that are set as one; and bytes of their values, beyond the first. */
const BATCH_ENTRIES = 256;
const BATCH_BYTES = LIMITS.batchBytesMax / 4;
/** Base64 in JSON, escapes in the key. */
const LINE_CHARACTERS_MAX = 3 * LIMITS.valueBytesMax;

export interface Sums {
  set: number;
  expired: number;
}

export function registerKvImport(kv: Command): void {
  storeCommand(kv, 'import', 'set entries from lines of JSON')
    .description(`Set the entries that "kv export" wrote, ${BATCH_ENTRIES} at a time, each such batch as a whole or not at all. A bad line ends it, by its number, and nothing of its batch is done; what came before is, and may be set again: run it again, or go on with --from-line. Entries whose time is up are left out.`)
    .argument('[file]', 'compressed or not; "-" is stdin', '-')
    .option('--from-line <n>', 'pass over the lines before', parseCount)
    .option('--sync', 'return when all of it survives a power cut')
    .option('--json', 'print the sums as JSON')
    .action((file: string, options: ImportOptions, command: Command) => withStore(options, command, async (store) => {
      const { stream, progress } = source(file);
      const sums: Sums = { set: 0, expired: 0 };
      try {
        await importLines(store, stream, { sums, fromLine: options.fromLine ?? 1, from: file === '-' ? 'stdin' : file });
        if (options.sync) await store.sync();
      } finally {
        progress.stop();
      }
      if (options.json) return writeOut(`${JSON.stringify(sums)}\n`);
      warn(`${sums.set} entries imported${sums.expired > 0 ? `, ${sums.expired} left out whose time is up` : ''}`);
    }));
}

function source(file: string): { stream: AsyncIterable<Buffer>; progress: Progress } {
  if (file === '-') return { stream: process.stdin, progress: startProgress('importing', { total: 0, unit: 'bytes', writesToStdout: true }) };
  let bytes: number;
  try {
    bytes = statSync(file).size;
  } catch (cause) {
    throw new UserError(`cannot read ${file}: ${(cause as Error).message}`, (cause as NodeJS.ErrnoException).code === 'ENOENT' ? EXIT.notFound : EXIT.failure, { cause });
  }
  const progress = startProgress('importing', { total: bytes, unit: 'bytes' });
  const plain = createReadStream(file, { highWaterMark: LIMITS.blockBytesMax });
  let done = 0;
  plain.on('data', (piece) => progress.update((done += piece.length)));
  const stream: Readable = file.endsWith('.gz') ? plain.on('error', (error) => stream.destroy(error)).pipe(createGunzip()) : plain;
  return { stream, progress };
}

/** Counts in `sums` what is done. UserError that names the first line that is not. */
export async function importLines(store: Store, stream: AsyncIterable<Buffer>, { sums, fromLine, from }: { readonly sums: Sums; readonly fromLine: number; readonly from: string }): Promise<void> {
  let batch: BatchOperation[] = [];
  let bytes = 0;
  let first = fromLine;
  let number = 0;
  const flush = async (): Promise<void> => {
    try {
      await store.batch(batch);
    } catch (error) {
      throw failed(asUserError(error), `lines ${first} to ${number} were not imported`, first);
    }
    sums.set += batch.length;
    batch = [];
    bytes = 0;
    first = number + 1;
  };
  for await (const text of linesIn(stream, { from, fromLine: () => first })) {
    number++;
    if (number < fromLine || text.trim() === '') continue;
    let line: Line;
    try {
      line = parseLine(text);
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw cause;
      throw failed(new UserError(cause.message, EXIT.usage, { cause }), `line ${number} is no entry`, first);
    }
    const { key, value, expires } = line;
    if (expires !== undefined && expires.getTime() <= Date.now()) {
      sums.expired++;
      continue;
    }
    batch.push({ type: 'set', key, value, ...(expires !== undefined && { expires }) });
    bytes += value.length;
    if (batch.length >= BATCH_ENTRIES || bytes >= BATCH_BYTES) await flush();
  }
  if (batch.length > 0) await flush();
}

function failed(error: unknown, what: string, fromLine: number): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(`${what}: ${error.message}. ${fromLine > 1 ? `What is before line ${fromLine} is imported; go on with --from-line ${fromLine}` : 'Nothing is imported'}`, error.exitCode, { cause: error });
}

/** UserError for a line that can be none, before memory is full of it. */
async function* linesIn(stream: AsyncIterable<Buffer>, { from, fromLine }: { readonly from: string; readonly fromLine: () => number }): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  let parts: string[] = [];
  let characters = 0;
  let count = 0;
  for await (const piece of whole(stream, from, fromLine)) {
    const [head, ...rest] = decoder.write(piece).split('\n');
    parts.push(head as string);
    characters += (head as string).length;
    if (characters > LINE_CHARACTERS_MAX) throw failed(new UserError(`it has more than ${LINE_CHARACTERS_MAX} characters`, EXIT.usage), `line ${count + 1} is no entry`, fromLine());
    for (const next of rest) {
      count++;
      yield parts.join('');
      parts = [next];
      characters = next.length;
    }
  }
  parts.push(decoder.end());
  const last = parts.join('');
  if (last !== '') yield last;
}

async function* whole(stream: AsyncIterable<Buffer>, from: string, fromLine: () => number): AsyncGenerator<Buffer> {
  try {
    yield* stream;
  } catch (cause) {
    const isDamaged = (cause as NodeJS.ErrnoException).code?.startsWith('Z_') === true;
    throw failed(new UserError((cause as Error).message, isDamaged ? EXIT.damaged : EXIT.failure, { cause }), isDamaged ? `${from} is damaged, or was cut short` : `${from} cannot be read`, fromLine());
  }
}
