// sdfs kv get: the value of a key, byte for byte.
import { createWriteStream, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { formatLine, keysOption, parseKey, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';

interface GetOptions extends StoreChoice, KeyOptions {
  readonly output: string;
  readonly json?: boolean;
}

export function registerKvGet(kv: Command): void {
  storeCommand(kv, 'get', 'print the value of a key')
    .description(`Print the value of a key as it is, without a newline. The exit code is ${EXIT.notFound} when there is no such key.`)
    .argument('<key>')
    .option('-o, --output <file>', 'where to; "-" is stdout', '-')
    .option('--json', 'as a line of JSON, with the version and when it expires')
    .addOption(keysOption())
    .action((name: string, options: GetOptions, command: Command) => withStore(options, command, async (store) => {
      const key = parseKey(name, options.keys);
      if (options.json) {
        const entry = await store.getEntry(key);
        if (entry === undefined) throw noKey(name);
        return writeOut(`${formatLine({ key, ...entry })}\n`);
      }
      const value = await store.getStream(key);
      if (value === undefined) throw noKey(name);
      if (options.output !== '-') return toFile(value, resolve(options.output));
      for await (const piece of value) await writeOut(piece as Buffer);
    }));
}

export function noKey(name: string): UserError {
  return new UserError(`there is no key ${JSON.stringify(name)}`, EXIT.notFound);
}

/** The file is there as a whole, or as it was. */
async function toFile(value: Readable, file: string): Promise<void> {
  const unfinished = `${file}.new`;
  try {
    await pipeline(value, createWriteStream(unfinished));
    renameSync(unfinished, file);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}
