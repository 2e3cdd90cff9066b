// Puts the status of a mount together from what the keeper sees itself and what the driver says.
import type { DiskReport, DriverStatus, Health, MountState, ProcessReport, ProcessStateName, StatusReport } from '../control/api.ts';
import type { WorkerId } from '../base/ids.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { processState } from './child-watch.ts';
import type { ShownState } from './supervisor.ts';

/** One supervised child, as the report needs it. */
export interface ChildView {
  readonly shown: ShownState;
  readonly pid: number | undefined;
  readonly restarts: number;
}

export interface StatusInput {
  readonly description: VolumeDescription;
  readonly volumeDirectory: string;
  /** The disk below it does not answer, or did not. */
  readonly directoryHangs: boolean;
  readonly mount: NonNullable<StatusReport['mount']>;
  readonly driver: ChildView;
  /** By worker id. */
  readonly workers: ReadonlyMap<WorkerId, ChildView>;
  /** Absent while the driver does not answer. */
  readonly driverStatus: DriverStatus | undefined;
}

export function statusReport(input: StatusInput): StatusReport {
  const { description, driverStatus } = input;
  const problems = findProblems(input);
  const capacity = driverStatus?.capacity;
  return {
    version: 1,
    volume: volumeReport(description, input.volumeDirectory),
    mount: input.mount,
    health: healthOf(input, problems),
    problems,
    capacity: capacity === undefined ? null : { ...capacity, usedBytes: Math.max(0, capacity.totalBytes - capacity.availableBytes) },
    inodes: driverStatus?.inodes ?? null,
    pendingBytes: driverStatus?.pendingBytes ?? null,
    degradedBlocks: driverStatus?.degradedBlocks ?? null,
    locks: driverStatus?.locks ?? null,
    upkeep: driverStatus?.upkeep ?? null,
    dumps: driverStatus?.dumps ?? null,
    processes: [
      { role: 'keeper', worker: null, pid: process.pid, state: keeperState(input.mount.state), restarts: 0, reason: null },
      childReport('driver', null, input.driver),
      ...description.disks.flatMap(({ worker }) => {
        const child = input.workers.get(worker);
        return child === undefined ? [] : [childReport('worker', worker, child)];
      }),
    ],
    disks: description.disks.map((disk) => diskReport(disk, input.workers.get(disk.worker)?.shown.kind ?? 'stopped', driverStatus)),
    sharedDevices: sharedDevices(driverStatus),
  };
}

/** The status of a volume that is not mounted; `problem` says why. */
export function unmountedReport(description: VolumeDescription, volumeDirectory: string, problem: string): StatusReport {
  return {
    version: 1, volume: volumeReport(description, volumeDirectory), mount: null, health: 'notMounted', problems: [problem],
    capacity: null, inodes: null, pendingBytes: null, degradedBlocks: null, locks: null, upkeep: null, dumps: null, processes: [],
    disks: description.disks.map((disk) => diskReport(disk, 'stopped', undefined)),
    sharedDevices: [],
  };
}

function volumeReport(description: VolumeDescription, directory: string): StatusReport['volume'] {
  return { uuid: description.volume, name: description.name, directory, copies: description.copies, blockBytes: description.blockBytes };
}

function keeperState(state: MountState): ProcessStateName {
  if (state === 'starting') return 'starting';
  return state === 'serving' ? 'ready' : 'stopping';
}

function childReport(role: 'driver' | 'worker', worker: number | null, child: ChildView): ProcessReport {
  return { role, worker, pid: child.pid ?? null, state: child.shown.kind, restarts: child.restarts, reason: reasonOf(child.shown) };
}

function reasonOf(state: ShownState): string | null {
  return state.reason ?? null;
}

function diskReport(disk: VolumeDescription['disks'][number], state: ProcessStateName, driverStatus: DriverStatus | undefined): DiskReport {
  const known = driverStatus?.disks.find((candidate) => candidate.worker === disk.worker);
  const statistics = known?.statistics;
  return {
    member: known?.member ?? null, holdsLog: known?.holdsLog ?? null, draining: disk.state === 'draining', weight: disk.weight,
    worker: disk.worker, uuid: disk.disk, directory: disk.directory, state,
    totalBytes: statistics?.totalBytes ?? null, availableBytes: statistics?.availableBytes ?? null,
    blockBytes: statistics?.blockBytes ?? null, blockCount: statistics?.blockCount ?? null,
  };
}

function sharedDevices(driverStatus: DriverStatus | undefined): number[][] {
  const groups = new Map<number, number[]>();
  for (const { worker, statistics } of driverStatus?.disks ?? []) {
    if (statistics !== undefined) groups.set(statistics.device, [...(groups.get(statistics.device) ?? []), worker]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

function findProblems(input: StatusInput): string[] {
  const problems: string[] = [];
  if (input.directoryHangs) problems.push(`the disk below ${input.volumeDirectory} hangs, or did: until the next mount the driver's database is on a disk of the volume`);
  const stuck = input.driverStatus?.stuck ?? [];
  if (input.driver.shown.kind !== 'ready') problems.push(`the driver is ${input.driver.shown.kind}${because(input.driver.shown)}: programs wait`);
  else if (input.driverStatus === undefined) problems.push(`the driver does not answer${whyNot(input.driver.pid)}: programs may wait`);
  for (const { worker: id, directory } of input.description.disks) {
    const worker = input.workers.get(id);
    if (worker === undefined) continue;
    if (worker.shown.kind !== 'ready') problems.push(`worker ${id} is ${worker.shown.kind}${because(worker.shown)}: its disk ${directory} is not in use`);
    else if (input.driverStatus?.disks.find((disk) => disk.worker === id)?.connected === false) problems.push(`${stuck.find((entry) => entry.worker === id)?.what ?? `worker ${id} is not connected to the driver`}${whyNot(worker.pid)}`);
  }
  for (const { worker, what } of stuck) if (worker === undefined) problems.push(what);
  for (const disk of input.driverStatus?.disks ?? []) {
    if (disk.connected && !disk.member) problems.push(`disk ${disk.worker} missed changes: it does not count as up to date until it has caught up`);
  }
  if (input.driverStatus?.membership.problem !== undefined) problems.push(input.driverStatus.membership.problem);
  const degraded = input.driverStatus?.degradedBlocks ?? 0;
  if (degraded > 0) problems.push(`${degraded} ${degraded === 1 ? 'block has' : 'blocks have'} fewer than ${input.description.copies} good copies`);
  const unreadable = input.driverStatus?.upkeep?.reconcile.unreadableBlocks ?? 0;
  if (unreadable > 0) problems.push(`${unreadable} ${unreadable === 1 ? 'block has' : 'blocks have'} no good copy on the disks that are there; "sdfs scrub --files" names the files`);
  const dumps = input.driverStatus?.dumps;
  if (dumps !== undefined && dumps.problem !== null) problems.push(`no backup of the metadata could be written: ${dumps.problem}`);
  return problems;
}

/** What the kernel says of a process that does not answer. */
function whyNot(pid: number | undefined): string {
  switch (pid === undefined ? undefined : processState(pid)) {
    case 'T':
    case 't': return ', it is stopped (SIGSTOP, or a debugger)';
    case 'D': return ', it waits for a disk that does not answer';
    default: return '';
  }
}

function because(state: ShownState): string {
  const reason = reasonOf(state);
  return reason === null ? '' : ` (${reason})`;
}

function healthOf(input: StatusInput, problems: readonly string[]): Health {
  if (input.driver.shown.kind !== 'ready' || input.driverStatus === undefined) return 'stalled';
  return problems.length === 0 ? 'good' : 'degraded';
}
