// sdfs kv del: deletes keys.
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { noKey } from './kv-get.ts';
import { keysOption, parseKey, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';
import { parseCount } from './values.ts';

interface DelOptions extends StoreChoice, KeyOptions {
  readonly ifVersion?: number;
  readonly sync?: boolean;
  readonly json?: boolean;
}

export function registerKvDel(kv: Command): void {
  storeCommand(kv, 'del', 'delete keys')
    .description(`Delete keys. The exit code is ${EXIT.notFound} when none of them was there, and ${EXIT.busy} when a condition does not hold.`)
    .argument('<keys...>')
    .option('--if-version <n>', 'only when the key has this version; with one key', parseCount)
    .option('--sync', 'return when it survives a power cut')
    .option('--json', 'print how many were there, as JSON')
    .addOption(keysOption())
    .action((names: string[], options: DelOptions, command: Command) => {
      const { ifVersion, sync } = options;
      if (ifVersion !== undefined && names.length > 1) throw new UserError('--if-version goes with one key', EXIT.usage);
      const keys = names.map((name) => parseKey(name, options.keys));
      return withStore(options, command, async (store) => {
        const found = await Promise.all(keys.map((key) => store.delete(key, { ...(ifVersion !== undefined && { ifVersion }), ...(sync === true && { sync }) })));
        const deleted = found.filter(Boolean).length;
        if (options.json) await writeOut(`${JSON.stringify({ deleted })}\n`);
        if (deleted > 0) return;
        if (names.length === 1) throw noKey(names[0]!);
        throw new UserError('none of these keys is there', EXIT.notFound);
      });
    });
}
