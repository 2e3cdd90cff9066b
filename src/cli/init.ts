// sdfs init: makes a volume.
import type { Command } from 'commander';
import { initDisk } from '../disk/identity.ts';
import { createVolume, planVolume } from '../keeper/init.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { formatBytes, formatTable, print, warn } from './terminal.ts';
import { collect, parseCount, parseSize } from './values.ts';

interface InitOptions {
  readonly disk?: readonly string[];
  readonly copies?: number;
  readonly blockSize?: number;
  readonly name?: string;
}

export function registerInit(program: Command): void {
  program
    .command('init')
    .summary('make a volume')
    .description('Make a volume: VOLUME is a directory for its description and state, and each disk is an empty directory, best on a disk of its own. Without --disk the volume gets four directories of its own in VOLUME/disks.')
    .argument('<volume>', 'the volume directory; it is made when missing')
    .option('--disk <directory>', 'an existing, empty directory that becomes a disk of the volume; repeat for each', collect)
    .option('--copies <number>', 'copies of every block, on different disks (default: 2, or 1 with one disk)', parseCount)
    .option('--block-size <size>', 'largest block: a power of two from 16K to 1M (default: 1M)', parseSize)
    .option('--name <name>', 'a name for people (default: the name of VOLUME)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (volume: string, options: InitOptions) => {
      const plan = planVolume({ volumeDirectory: volume, disks: options.disk ?? [], copies: options.copies, blockBytes: options.blockSize, name: options.name });
      await createVolume(plan, initDisk);
      const { description } = plan;
      print(`made volume ${description.name} (${description.volume}) in ${plan.volumeDirectory}`);
      print(`${description.copies} ${description.copies === 1 ? 'copy' : 'copies'} of every block, blocks of up to ${formatBytes(description.blockBytes)}, on ${description.disks.length} ${description.disks.length === 1 ? 'disk' : 'disks'}:`);
      print(formatTable(['DISK', 'DIRECTORY', 'ID'], description.disks.map((disk) => [String(disk.worker), disk.directory, disk.disk])));
      for (const group of plan.sharedDevices) warn(`disks ${group.join(', ')} lie on one device: they share its space, and they are lost together when it fails`);
      print(`mount it with: sdfs mount -d ${plan.volumeDirectory}`);
    });
}
