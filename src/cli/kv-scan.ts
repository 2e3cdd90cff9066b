// sdfs kv scan: keys and values within bounds, from either end.
import type { Command } from 'commander';
import type { RangeOptions } from '../store/store.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { formatLine, keysOption, parseKey, warnOfDamage, writeOut } from './kv-text.ts';
import type { KeyOptions } from './kv-text.ts';
import { parseCount } from './values.ts';

const BOUNDS = ['prefix', 'gte', 'gt', 'lte', 'lt'] as const;

type ScanOptions = StoreChoice & KeyOptions & { readonly [bound in (typeof BOUNDS)[number]]?: string } & {
  readonly reverse?: boolean;
  readonly limit?: number;
  readonly values: boolean;
};

export function registerKvScan(kv: Command): void {
  storeCommand(kv, 'scan', 'print keys and values within bounds')
    .description('Print the entries within bounds as lines of JSON, in the order of keys. Bytes that are not UTF-8 are {"base64": …}.')
    .option('--prefix <key>', 'keys that begin with it')
    .option('--gte <key>', 'from this key on')
    .option('--gt <key>', 'behind this key')
    .option('--lte <key>', 'up to this key')
    .option('--lt <key>', 'before this key')
    .option('--reverse', 'from the end')
    .option('--limit <n>', 'at most so many', parseCount)
    .option('--no-values', 'keys, versions and times alone')
    .addOption(keysOption())
    .action((options: ScanOptions, command: Command) => {
      const bounds = Object.fromEntries(BOUNDS.flatMap((bound) => (options[bound] === undefined ? [] : [[bound, parseKey(options[bound], options.keys)]]))) as Pick<RangeOptions, (typeof BOUNDS)[number]>;
      return withStore(options, command, async (store) => {
        for await (const { key, value, version, expires } of store.range({ ...bounds, values: options.values, onDamaged: warnOfDamage, ...(options.reverse && { reverse: true }), ...(options.limit !== undefined && { limit: options.limit }) })) {
          await writeOut(`${formatLine({ key, value: options.values ? value : undefined, expires, version })}\n`);
        }
      });
    });
}
