// sdfs kv export: all entries as lines of JSON, in the order of keys.
import { closeSync, createWriteStream, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Command } from 'commander';
import type { Store } from '../store/store.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { formatLine, keysOption, parseKey, warnOfDamage, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';
import { startProgress } from './progress.ts';
import { warn } from './terminal.ts';

interface ExportOptions extends StoreChoice, KeyOptions {
  readonly prefix: string;
}

export function registerKvExport(kv: Command): void {
  storeCommand(kv, 'export', 'write all entries as lines of JSON')
    .description('Write all entries as lines of JSON, in the order of keys, for "kv import". Bytes that are not UTF-8 are {"base64": …}. Keys that are changed meanwhile are in it as they were before or after.')
    .argument('[file]', 'compressed when it ends in .gz; it takes the place of what is there when it is complete. "-" is stdout', '-')
    .option('--prefix <key>', 'only keys that begin with it', '')
    .addOption(keysOption())
    .action((file: string, options: ExportOptions, command: Command) => withStore(options, command, async (store) => {
      const lines = linesOf(store, parseKey(options.prefix, options.keys), { writesToStdout: file === '-' });
      if (file !== '-') return toFile(lines, resolve(file));
      for await (const line of lines) await writeOut(line);
    }));
}

export async function* linesOf(store: Store, prefix: Buffer, { writesToStdout }: { readonly writesToStdout: boolean }): AsyncGenerator<string> {
  const progress = startProgress('exporting', { total: (await store.stats()).keys, unit: 'keys', writesToStdout });
  let done = 0;
  try {
    for await (const { key, value, expires } of store.range({ prefix, onDamaged: warnOfDamage })) {
      yield `${formatLine({ key, value, expires })}\n`;
      if (++done % 1000 === 0) progress.update(done);
    }
  } finally {
    progress.stop();
  }
  if (!writesToStdout) warn(`${done} entries exported`);
}

async function toFile(lines: AsyncGenerator<string>, file: string): Promise<void> {
  const unfinished = `${file}.new`;
  try {
    const stream = createWriteStream(unfinished, { mode: 0o600 });
    await (file.endsWith('.gz') ? pipeline(lines, createGzip(), stream) : pipeline(lines, stream));
    const fd = openSync(unfinished, 'r');
    fsyncSync(fd);
    closeSync(fd);
    renameSync(unfinished, file);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}
