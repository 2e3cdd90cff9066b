// sdfs upgrade: puts the code of this installation under a mount that runs, without an unmount.
import type { Command } from 'commander';
import { ControlClient } from '../control/client.ts';
import { CHILD_MODULES } from '../keeper/children.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { locateMount } from './locate.ts';
import { print } from './terminal.ts';

export function registerUpgrade(program: Command): void {
  program
    .command('upgrade')
    .summary('put this version under a running mount')
    .description('Replace the workers and the driver of a mount by those of this installation, one after the other. Programs on the mount see a short pause. The keeper process stays: it is replaced at the next mount.')
    .argument('[mountpoint]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined) => {
      const mount = locateMount(target);
      await new ControlClient(mount.controlSocket).upgrade(CHILD_MODULES);
      print(`${mount.mountpoint} runs the code of ${CHILD_MODULES.driver} now`);
    });
}
