// sdfs gc: looks over all blocks now, makes copies whole, and removes what nobody needs; or only says what it would remove.
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { ControlClient } from '../control/client.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { locateMount } from './locate.ts';
import { formatBytes, print } from './terminal.ts';
import { describeRun } from './upkeep-text.ts';

const LOOK_MS = 200;

export function registerGc(program: Command): void {
  program
    .command('gc')
    .summary('remove blocks that nobody needs')
    .description('Look over all blocks now instead of when it is due: bring every block to its number of copies, move copies to where they belong, and delete those that nothing needs. Nothing is deleted while a disk of the volume is away.')
    .argument('[mountpoint]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('--dry-run', 'only count what nobody needs')
    .option('--json', 'print the result as JSON (its shape: DriverUpkeepRun in src/ipc/process-messages.ts)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, options: { dryRun?: boolean; json?: boolean }) => {
      const client = new ControlClient(locateMount(target).controlSocket);
      const { ticket } = await client.upkeep({ ask: 'gc', dryRun: options.dryRun ?? false });
      if (ticket === undefined) throw new UserError('the driver is of another version than this command', EXIT.unsupported);
      for (;;) {
        const { run } = await client.upkeep({ ask: 'result', ticket });
        if (run === undefined) {
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
          continue;
        }
        if (options.json) print(JSON.stringify(run, null, 2));
        else if (options.dryRun) print(`${run.garbageCopies} unneeded copies (${formatBytes(run.garbageBytes)}) of blocks; ${run.blocks} blocks are needed`);
        else print(describeRun(run));
        return;
      }
    });
}
