// sdfs sync: returns when everything acknowledged is on the disks.
import type { Command } from 'commander';
import { ControlClient } from '../control/client.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { locateMount } from './locate.ts';

export function registerSync(program: Command): void {
  program
    .command('sync')
    .summary('write everything to the disks')
    .description('Return when everything that was acknowledged so far is on as many disks as the volume keeps copies, safe from a power cut.')
    .argument('[mountpoint]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined) => new ControlClient(locateMount(target).controlSocket).sync());
}
