// sdfs scrub: reads every copy of every block back and repairs what is damaged; or says how that stands.
import type { Command } from 'commander';
import { EXIT } from '../base/errors.ts';
import type { DriverUpkeep, UpkeepAnswer } from '../control/api.ts';
import { ControlClient } from '../control/client.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { locateMount } from './locate.ts';
import { formatTable, print } from './terminal.ts';
import { describeScrub } from './upkeep-text.ts';
import { parseSize } from './values.ts';

const LOOK_MS = 500;

interface ScrubOptions {
  readonly wait?: boolean;
  readonly rate?: number;
  readonly status?: boolean;
  readonly files?: boolean;
  readonly json?: boolean;
}

export function registerScrub(program: Command): void {
  program
    .command('scrub')
    .summary('read every copy back, and repair what is damaged')
    .description('Begin to read every copy of every block from the disks in the background, and repair damaged and missing ones from a good copy. It goes on over restarts and mounts, and is begun once a month by itself.')
    .argument('[mountpoint]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('--wait', `return when it has ended; the exit code is ${EXIT.damaged} when there are blocks without a good copy`)
    .option('--rate <bytes>', 'read at most so many bytes a second (64M)', parseSize)
    .option('--status', 'do not begin one, say how it stands')
    .option('--files', 'do not begin one, name the files that need blocks of which no good copy is left')
    .option('--json', 'print it as JSON (its shape: DriverUpkeep and UpkeepAnswer in src/ipc/process-messages.ts)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, options: ScrubOptions) => {
      const client = new ControlClient(locateMount(target).controlSocket);
      if (options.files) return printFiles(await client.upkeep({ ask: 'damaged' }), options);
      const { upkeep } = await client.upkeep(options.status ? { ask: 'status' } : { ask: 'scrub', rate: options.rate });
      printScrub(options.wait && !options.status ? await untilEnded(client, upkeep) : upkeep, options);
    });
}

async function untilEnded(client: ControlClient, begun: DriverUpkeep | undefined): Promise<DriverUpkeep | undefined> {
  for (let upkeep = begun; ; { upkeep } = await client.upkeep({ ask: 'status' })) {
    if (upkeep?.scrub.state === 'idle') {
      if ((upkeep.scrub.last?.unreadableBlocks ?? 0) > 0) process.exitCode = EXIT.damaged;
      return upkeep;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function printScrub(upkeep: DriverUpkeep | undefined, options: ScrubOptions): void {
  if (upkeep === undefined) return;
  print(options.json ? JSON.stringify(upkeep.scrub, null, 2) : describeScrub(upkeep));
}

function printFiles({ damaged }: UpkeepAnswer, options: ScrubOptions): void {
  const found = damaged ?? { blocks: [], files: [] };
  if (found.blocks.length > 0) process.exitCode = EXIT.damaged;
  if (options.json) return print(JSON.stringify(found, null, 2));
  if (found.blocks.length === 0) return print('every block that was looked at has a good copy');
  print(formatTable(['FILE', 'OFFSET', 'BYTES'], found.files.flatMap((owner) => owner.ranges.map(({ offset, bytes }) => [ownerName(owner), String(offset), String(bytes)]))));
}

/** Who needs a block, for people. */
export function ownerName({ inode, key, paths }: { readonly inode: number; readonly key?: string; readonly paths: readonly string[] }): string {
  return key === undefined ? (paths[0] ?? `inode ${inode}, without a name`) : `key ${JSON.stringify(key)}`;
}
