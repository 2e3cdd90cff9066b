// sdfs kv: the key-value store from the command line. Each subcommand has a file of its own.
import type { Command } from 'commander';
import { EXIT_CODES_HELP } from './failure.ts';
import { registerKvBench } from './kv-bench.ts';
import { registerKvDel } from './kv-del.ts';
import { registerKvExport } from './kv-export.ts';
import { registerKvGet } from './kv-get.ts';
import { registerKvImport } from './kv-import.ts';
import { registerKvInit } from './kv-init.ts';
import { registerKvLs } from './kv-ls.ts';
import { registerKvScan } from './kv-scan.ts';
import { registerKvServe } from './kv-serve.ts';
import { registerKvSet } from './kv-set.ts';
import { registerKvStat } from './kv-stat.ts';

export function registerKv(program: Command): void {
  const kv = program.command('kv').summary('read and write keys')
    .description('A distributed key-value store: keys of up to 1 KiB, values of up to 64 MiB, several copies of everything, on shards that are directories on different disks. A store of its own is made by "kv init"; a mounted volume has one too, apart from its files.')
    .addHelpText('after', EXIT_CODES_HELP);
  for (const register of [registerKvInit, registerKvGet, registerKvSet, registerKvDel, registerKvLs, registerKvScan, registerKvStat, registerKvExport, registerKvImport, registerKvServe, registerKvBench]) register(kv);
}
