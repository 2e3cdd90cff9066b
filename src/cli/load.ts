// sdfs load: makes a dump the metadata of a volume, whose own is lost or not wanted any more.
import { existsSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { readIdentity } from '../disk/identity.ts';
import { verifyDump } from '../dump/dump-reader.ts';
import { readVolume, volumePaths, writeVolume } from '../keeper/volume.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { findMounts, resolveVolume } from './locate.ts';
import { openOffline } from './rescue.ts';
import { print } from './terminal.ts';

export function registerLoad(program: Command): void {
  program
    .command('load')
    .summary('restore the metadata from a backup')
    .description('Make a dump (of "sdfs dump", or DISK/dumps/…) the metadata of a volume, which must not be mounted. Files are then as they were when it was written, as far as their blocks are still on the disks ("sdfs fsck" names the others). Blocks that the dump does not know are kept until "sdfs gc" is asked for. The dump is verified before anything is changed.')
    .argument('<file>', 'the dump, compressed or not')
    .argument('<volume>', 'the volume directory; made anew from the dump when it is lost')
    .option('--force', 'also in the place of newer metadata')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (givenFile: string, volume: string, { force }: { force?: boolean }, command: Command) => {
      const file = resolve(givenFile);
      const { header, trailer } = await verifyDump(file);
      const volumeDirectory = resolveVolume(volume);
      const [running] = findMounts(volume);
      if (running !== undefined) throw new UserError(`the volume is mounted at ${running.mountpoint}: end that mount first: sdfs umount ${running.mountpoint}`, EXIT.busy);
      if (!existsSync(volumePaths(volumeDirectory).description)) restoreDescription(volumeDirectory, header.description as VolumeDescription);
      const description = readVolume(volumeDirectory);
      if (description.volume !== header.volume) throw new UserError(`${file} is a dump of the volume ${header.volume}, and ${volumeDirectory} is ${description.volume}`, EXIT.foreign);
      const level = command.optsWithGlobals<{ logLevel: string }>().logLevel;
      const offline = await openOffline(volumeDirectory, { purpose: 'sdfs load', level, edge: { kind: 'offline', load: { file, sequence: header.sequence, force: force ?? false } } });
      await offline.close();
      print(`${trailer.rows} rows, as of ${header.written}, are the metadata of ${volumeDirectory} now. Look whether all blocks are there: sdfs fsck ${volumeDirectory}. When you are content: mount it, and "sdfs gc" removes blocks that came later.`);
    });
}

/** The disks say whose they are: only those of this volume, all in their places, are taken for it. */
function restoreDescription(directory: string, description: VolumeDescription): void {
  for (const { worker, disk, directory: place } of description.disks) {
    const identity = readIdentity(place);
    if (identity.disk !== disk || identity.worker !== worker || identity.description.volume !== description.volume) throw new UserError(`${place} is not disk ${worker} of the volume ${description.volume}: mount the right disk there`, EXIT.foreign);
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeVolume(directory, description);
}
