// sdfs disk: which disks a volume has, and what comes, goes, or is emptied while it is mounted.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { WorkerId } from '../base/ids.ts';
import type { DiskReport, DiskRequest, StatusReport, WhatIfAnswer } from '../control/api.ts';
import { ControlClient } from '../control/client.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { locateMount } from './locate.ts';
import { findReport } from './status.ts';
import { formatWhatIf, whatIfExitCode } from './what-if.ts';
import { colour, formatBytes, formatTable, print } from './terminal.ts';

const LOOK_MS = 1_000;
const ASK_LOOK_MS = 200;
const UUID_PREFIX_MIN = 4;

interface Target {
  readonly volume?: string;
}

/** The disk that a person means by its number, its directory, or the beginning of its id. UserError when there is none, or several. */
export function findDisk(disks: readonly DiskReport[], name: string): DiskReport {
  const found = /^\d{1,4}$/.test(name)
    ? disks.filter(({ worker }) => worker === Number(name))
    : disks.filter(({ uuid, directory }) => directory === resolve(name) || (name.length >= UUID_PREFIX_MIN && uuid.startsWith(name.toLowerCase())));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  const known = disks.map(({ worker, directory }) => `${worker} (${directory})`).join(', ');
  throw new UserError(`${found.length === 0 ? 'no disk of the volume is' : 'several disks are'} "${name}"; it has: ${known}`, found.length === 0 ? EXIT.notFound : EXIT.usage);
}

/** True when nothing is on it any more that the volume needs. */
export function isDrained(disk: DiskReport): boolean {
  return disk.draining && disk.blockCount === 0 && disk.holdsLog === false;
}

function describeState(disk: DiskReport): string {
  const words: string[] = [disk.state === 'ready' ? colour.green('ready') : disk.state];
  if (disk.draining) words.push(isDrained(disk) ? colour.green('drained') : colour.yellow('draining'));
  if (disk.member === false) words.push(colour.yellow('not up to date'));
  return words.join(', ');
}

export function formatDiskList(report: StatusReport): string {
  return formatTable(['DISK', 'STATE', 'BLOCKS', 'IN USE', 'FREE', 'METADATA', 'ID', 'DIRECTORY'], report.disks.map((disk) => [
    String(disk.worker), describeState(disk), String(disk.blockCount ?? '-'), formatBytes(disk.blockBytes), formatBytes(disk.availableBytes),
    disk.holdsLog === null ? '-' : disk.holdsLog ? 'yes' : 'no', disk.uuid, disk.directory,
  ]));
}

/** Asks for a change of the mounted volume; resolves with its number. */
async function change(target: Target, request: (disks: readonly DiskReport[]) => DiskRequest): Promise<{ client: ControlClient; disk: number }> {
  const client = new ControlClient(locateMount(target.volume).controlSocket);
  const answer = await client.changeDisks(request((await client.status()).disks));
  for (const note of answer.notes) print(note);
  return { client, disk: answer.disk };
}

/** Prints how far it is, until nothing is left. */
async function watchDrain(client: ControlClient, worker: number): Promise<void> {
  for (let last = '';;) {
    const disk = (await client.status()).disks.find((candidate) => candidate.worker === worker);
    if (disk === undefined || !disk.draining) throw new UserError(`disk ${worker} is not being drained any more`);
    if (isDrained(disk)) return print(`disk ${worker} is empty: take it out with "sdfs disk remove ${worker}", and unplug it then`);
    const left = `${disk.blockCount ?? '?'} blocks left${disk.holdsLog === true ? ', and the metadata' : ''}`;
    if (left !== last) print(left);
    last = left;
    await new Promise((done) => { setTimeout(done, LOOK_MS); });
  }
}

async function askWhatIf(client: ControlClient, lose: readonly WorkerId[]): Promise<WhatIfAnswer> {
  const { ticket } = await client.upkeep({ ask: 'whatIf', lose });
  if (ticket === undefined) throw new UserError('the driver is of another version than this command', EXIT.unsupported);
  for (;;) {
    const { whatIf } = await client.upkeep({ ask: 'whatIfResult', ticket });
    if (whatIf !== undefined) return whatIf;
    await new Promise((done) => { setTimeout(done, ASK_LOOK_MS); });
  }
}

const drainHint = (disk: number): string => `disk ${disk} is being drained; see "sdfs disk list". It can be removed when it is drained`;

export function registerDisk(program: Command): void {
  const disk = program.command('disk').summary('list, add, drain, remove and replace disks, and ask what if they were lost').description('The disks of a volume. All but "list" need it mounted; programs on it see a short pause. A DISK is named by its number, its directory, or the first digits of its id.');
  const command = (name: string, summary: string): Command =>
    disk.command(name).summary(summary).description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`).option('--volume <target>', 'the mountpoint or the volume directory (default: the one that is mounted)').addHelpText('after', EXIT_CODES_HELP);

  command('list', 'show the disks of a volume, mounted or not')
    .option('--json', 'print them as JSON (their shape: DiskReport in src/control/api.ts)')
    .action(async (options: Target & { json?: boolean }) => {
      const report = await findReport(options.volume);
      print(options.json ? JSON.stringify(report.disks, null, 2) : formatDiskList(report));
    });

  command('what-if', 'say what would be lost if disks were lost now, and what not')
    .requiredOption('--lose <disks...>', 'numbers, directories or ids')
    .option('--json', 'print it as JSON (its shape: WhatIfAnswer in src/ipc/process-messages.ts)')
    .addHelpText('after', `\nThe exit code is ${EXIT.damaged} when something would be lost, ${EXIT.incomplete} when nothing would be but a mount would need --force-degraded.`)
    .action(async (options: Target & { lose: string[]; json?: boolean }) => {
      const client = new ControlClient(locateMount(options.volume).controlSocket);
      const { disks } = await client.status();
      const answer = await askWhatIf(client, options.lose.map((name) => findDisk(disks, name).worker as WorkerId));
      print(options.json ? JSON.stringify(answer, null, 2) : formatWhatIf(answer));
      process.exitCode = whatIfExitCode(answer);
    });

  command('add', 'add an empty directory, on a disk of its own, to the volume')
    .argument('<directory>', 'an existing, empty directory')
    .action(async (directory: string, options: Target) => {
      const { disk: added } = await change(options, () => ({ action: 'add', directory: resolve(directory) }));
      print(`${resolve(directory)} is disk ${added} now; its share of the blocks moves there in the background`);
    });

  command('drain', 'move everything from a disk to the others, never with fewer copies meanwhile')
    .argument('<disk>', 'number, directory or id')
    .option('--wait', 'return when it is empty')
    .option('--undo', 'use it as before')
    .action(async (name: string, options: Target & { wait?: boolean; undo?: boolean }) => {
      const { client, disk: worker } = await change(options, (disks) => ({ action: options.undo ? 'undrain' : 'drain', disk: findDisk(disks, name).worker }));
      if (options.undo) return print(`disk ${worker} is used again`);
      if (options.wait) return watchDrain(client, worker);
      print(drainHint(worker));
    });

  command('remove', 'take a disk out of the volume: a drained one, or one that is lost')
    .argument('<disk>', 'number, directory or id')
    .option('--force', 'also when blocks are on it that are nowhere else')
    .action(async (name: string, options: Target & { force?: boolean }) => {
      const { disk: worker } = await change(options, (disks) => ({ action: 'remove', disk: findDisk(disks, name).worker, force: options.force ?? false }));
      print(`disk ${worker} is no part of the volume any more: it can be unplugged, and its directory emptied`);
    });

  command('replace', 'add a directory, and drain the disk whose place it takes')
    .argument('<disk>', 'number, directory or id of the one that goes')
    .argument('<directory>', 'an existing, empty directory on the one that comes')
    .option('--wait', 'return when the one that goes is empty')
    .action(async (name: string, directory: string, options: Target & { wait?: boolean }) => {
      let old = 0;
      const { client, disk: added } = await change(options, (disks) => {
        old = findDisk(disks, name).worker;
        return { action: 'replace', disk: old, directory: resolve(directory) };
      });
      print(`${resolve(directory)} is disk ${added} now`);
      if (options.wait) return watchDrain(client, old);
      print(drainHint(old));
    });
}
