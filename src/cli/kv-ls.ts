// sdfs kv ls: which keys there are.
import type { Command } from 'commander';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { formatLine, keysOption, parseKey, showKey, warnOfDamage, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';

interface LsOptions extends StoreChoice, KeyOptions {
  readonly null?: boolean;
  readonly json?: boolean;
}

export function registerKvLs(kv: Command): void {
  storeCommand(kv, 'ls', 'list keys')
    .description('List the keys in the order of their bytes, one a line.')
    .argument('[prefix]', 'those that begin with it', '')
    .option('-0, --null', 'a NUL after each key instead of a newline, as find -print0 does')
    .option('--json', 'lines of JSON, with versions and when keys expire')
    .addOption(keysOption())
    .action((prefix: string, options: LsOptions, command: Command) => withStore(options, command, async (store) => {
      const end = Buffer.from(options.null ? '\0' : '\n');
      const toTerminal = process.stdout.isTTY && !options.null;
      for await (const { key, version, expires } of store.range({ prefix: parseKey(prefix, options.keys), values: false, onDamaged: warnOfDamage })) {
        await writeOut(options.json ? `${formatLine({ key, version, expires })}\n` : Buffer.concat([showKey(key, options.keys, { toTerminal }), end]));
      }
    }));
}
