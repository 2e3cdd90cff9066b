// sdfs kv init: makes a store.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { VOLUME_FILE } from '../keeper/volume.ts';
import { openStore } from '../store/open-store.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { asUserError } from './kv-open.ts';
import { resolveVolume } from './locate.ts';
import { formatBytes, print } from './terminal.ts';
import { collect, parseCount } from './values.ts';

interface InitOptions {
  readonly disk?: readonly string[];
  readonly shards?: number;
  readonly copies?: number;
}

export function registerKvInit(kv: Command): void {
  kv.command('init').summary('make a store')
    .description('Make an empty store. Its shards are directories on the given disks, or in the store itself, which is for trying it out: what lies on one disk is lost with it, however many copies there are.')
    .argument('<dir>', 'a new or empty directory')
    .option('--disk <dir>', 'an existing directory, on a disk of its own, for one shard; give one for each', collect)
    .option('--shards <n>', 'how many shards, without --disk (default: 4)', parseCount)
    .option('--copies <n>', 'on how many shards everything is kept (default: 2, or 1 with one shard)', parseCount)
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (given: string, { disk, shards, copies }: InitOptions, command: Command) => {
      const path = resolveVolume(given);
      if (existsSync(join(path, VOLUME_FILE))) throw new UserError(`${path} is a store already`, EXIT.foreign);
      try {
        await using store = await openStore({ path, disks: disk, shards, copies, logLevel: command.optsWithGlobals<{ logLevel: string }>().logLevel });
        const { shards: made, copies: kept, availableBytes } = await store.stats();
        print(`${path} is a store of ${made.length} ${made.length === 1 ? 'shard' : 'shards'} with ${kept} ${kept === 1 ? 'copy' : 'copies'} of everything, and room for ${formatBytes(availableBytes)}`);
      } catch (error) {
        throw asUserError(error);
      }
    });
}
