// sdfs status: how a volume is, for people as tables, for programs as JSON.
import type { Command } from 'commander';
import { EXIT } from '../base/errors.ts';
import type { Health, ProcessStateName, StatusReport } from '../control/api.ts';
import { ControlClient } from '../control/client.ts';
import { isAlive } from '../control/process-identity.ts';
import { unmountedReport } from '../keeper/status-report.ts';
import { readVolume } from '../keeper/volume.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { describeDumps, describeScrub, describeUpkeep } from './upkeep-text.ts';
import { checkMountOwner, findMounts, locateMount, resolveVolume } from './locate.ts';
import { colour, formatBytes, formatTable, print } from './terminal.ts';

export function registerStatus(program: Command): void {
  program
    .command('status')
    .summary('show how a volume is')
    .description(`Show a volume: capacity, health, processes and disks. With a volume that is not mounted the exit code is ${EXIT.notFound}.`)
    .argument('[target]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('--json', 'print it as JSON (its shape: StatusReport in src/control/api.ts)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, options: { json?: boolean }) => {
      const report = await findReport(target);
      print(options.json ? JSON.stringify(report, null, 2) : formatStatus(report));
      if (report.mount === null) process.exitCode = EXIT.notFound;
    });
}

export async function findReport(target: string | undefined): Promise<StatusReport> {
  if (target !== undefined && findMounts(target).length === 0) {
    checkMountOwner(target);
    const directory = resolveVolume(target);
    return unmountedReport(readVolume(directory), directory, 'the volume is not mounted');
  }
  const mount = locateMount(target);
  if (isAlive(mount.keeper)) return new ControlClient(mount.controlSocket).status();
  return unmountedReport(readVolume(mount.volumeDirectory), mount.volumeDirectory, `the keeper of the mount at ${mount.mountpoint} is dead: mount the volume again, or clean up with "sdfs umount --force ${mount.mountpoint}"`);
}

const HEALTH_WORDS: Record<Health, string> = { good: colour.green('good'), degraded: colour.yellow('degraded'), stalled: colour.red('stalled'), notMounted: colour.yellow('not mounted') };

export function formatStatus(report: StatusReport): string {
  const { volume, mount, capacity } = report;
  const facts: [string, string][] = [
    ['volume', `${colour.bold(volume.name)}  ${volume.directory}  ${colour.dim(volume.uuid)}`],
    ['mounted', mount === null ? 'no' : `at ${mount.mountpoint}${mount.driver === 'direct' ? '' : `, by ${mount.driver}`}${mount.readOnly ? ', read-only' : ''}, ${mount.state}, since ${mount.since}`],
    ['health', HEALTH_WORDS[report.health]],
    ['copies', `${volume.copies}${report.degradedBlocks === null ? '' : `, ${report.degradedBlocks} degraded blocks`}`],
  ];
  if (capacity !== null) facts.push(['capacity', `${formatBytes(capacity.totalBytes)}, ${formatBytes(capacity.usedBytes)} used, ${formatBytes(capacity.availableBytes)} free`]);
  if (report.inodes !== null) facts.push(['files', `${report.inodes}, ${formatBytes(report.pendingBytes)} on the way to the disks`]);
  if (report.locks !== null) facts.push(['locks', `${report.locks.held} held, ${report.locks.waiting} requests wait`]);
  if (report.upkeep !== null) facts.push(['upkeep', describeUpkeep(report.upkeep)], ['scrub', describeScrub(report.upkeep)]);
  if (report.dumps !== null) facts.push(['backup', describeDumps(report.dumps)]);
  if (mount?.logFile) facts.push(['log', mount.logFile]);
  const sections = [facts.map(([name, value]) => `${name.padEnd(9)} ${value}`).join('\n')];
  for (const problem of report.problems) sections[0] += `\n${colour.yellow('!')}         ${problem}`;
  if (report.processes.length > 0) sections.push(formatProcesses(report));
  sections.push(formatDisks(report));
  for (const group of report.sharedDevices) sections.push(`Disks ${group.join(', ')} lie on one device: they share its space, and they are lost together when it fails.`);
  return sections.join('\n\n');
}

function formatProcesses(report: StatusReport): string {
  return formatTable(['PROCESS', 'PID', 'STATE', 'RESTARTS'], report.processes.map((process) => [
    process.worker === null ? process.role : `${process.role} ${process.worker}`, String(process.pid ?? '-'), formatState(process.state), String(process.restarts),
  ]));
}

function formatDisks(report: StatusReport): string {
  return formatTable(['DISK', 'STATE', 'SIZE', 'FREE', 'BLOCKS', 'DIRECTORY'], report.disks.map((disk) => [
    String(disk.worker), formatState(disk.state), formatBytes(disk.totalBytes), formatBytes(disk.availableBytes), formatBytes(disk.blockBytes), disk.directory,
  ]));
}

function formatState(state: ProcessStateName): string {
  if (state === 'ready') return colour.green(state);
  return state === 'stopped' || state === 'starting' || state === 'stopping' ? state : colour.red(state);
}
