// Makes a volume. First everything is checked and nothing changed (planVolume), then it is made (createVolume).
import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync, statfsSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Membership } from '../base/membership.ts';
import { IDENTITY_FILE, readIdentity } from '../disk/identity.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { syncPath } from '../os/replace-file.ts';
import { VolumeState } from './state.ts';
import { VOLUME_FILE, isBlockSize, volumePaths, writeVolume } from './volume.ts';

const EMBEDDED_DISKS = 4;
const DEFAULT_COPIES = 2;
const NAME_LENGTH_MAX = 64;
/** mkfs of ext2/3/4 makes it in every new file system. */
const NOT_CONTENT = new Set(['lost+found']);

export interface VolumeRequest {
  readonly volumeDirectory: string;
  /** Existing, empty directories; none: the volume gets four of its own. */
  readonly disks: readonly string[];
  /** How many of its own. */
  readonly embeddedDisks?: number | undefined;
  readonly copies?: number | undefined;
  /** Bytes. */
  readonly blockBytes?: number | undefined;
  readonly name?: string | undefined;
}

export interface VolumePlan {
  readonly volumeDirectory: string;
  readonly description: VolumeDescription;
  /** True when the disk directories are still to be made. */
  readonly embedded: boolean;
  /** Groups of two and more disks on one device. */
  readonly sharedDevices: readonly (readonly WorkerId[])[];
}

/** What disk/ does with one directory of a new volume. Throws UserError when the directory is not fit for it. */
export type InitDisk = (directory: string, options: { worker: WorkerId; description: VolumeDescription; membership?: Membership | undefined }) => void | Promise<void>;

/** Checks a request in full and changes nothing. UserError says the first thing that is wrong. */
export function planVolume(request: VolumeRequest): VolumePlan {
  const volumeDirectory = resolveNew(request.volumeDirectory);
  const embedded = request.disks.length === 0;
  const directories = embedded
    ? Array.from({ length: request.embeddedDisks ?? EMBEDDED_DISKS }, (_, index) => join(volumePaths(volumeDirectory).disks, String(index)))
    : request.disks.map(checkDiskDirectory);
  checkDistinct(directories);
  checkVolumeDirectory(volumeDirectory, directories);
  const copies = request.copies ?? Math.min(DEFAULT_COPIES, directories.length);
  if (copies < 1 || !Number.isInteger(copies)) throw usage(`--copies ${copies}: wants a whole number from 1 on`);
  if (copies > directories.length) throw usage(`${copies} copies need ${copies} disks, and there ${directories.length === 1 ? 'is' : 'are'} ${directories.length}: give more --disk, or --copies ${directories.length}`);
  const blockBytes = request.blockBytes ?? LIMITS.blockBytesMax;
  if (!isBlockSize(blockBytes)) throw usage(`--block-size ${blockBytes}: wants a power of two from ${LIMITS.checksumBytes} to ${LIMITS.blockBytesMax} bytes (16K … 1M)`);
  const places = directories.map((directory) => measure(directory));
  const sharedDevices = groupByDevice(places);
  for (const place of places) checkRoom(place);
  return {
    volumeDirectory, embedded,
    sharedDevices: [...sharedDevices.values()].filter((group) => group.length > 1),
    description: {
      version: 1, volume: newUuid(), name: checkName(request.name ?? basename(volumeDirectory)), copies, blockBytes, generation: 0,
      disks: places.map((place, index) => ({ worker: index as WorkerId, disk: newUuid(), directory: place.directory, weight: weightOf(place, sharedDevices.get(place.device)?.length ?? 1) })),
    },
  };
}

/** Carries a plan out; when a step fails, what was made is taken away again. The description is written last: it makes the volume. */
export async function createVolume(plan: VolumePlan, initDisk: InitDisk): Promise<void> {
  const firstMade = mkdirSync(plan.volumeDirectory, { recursive: true, mode: 0o700 });
  const touched: string[] = [];
  const membership: Membership = { epoch: 1, driver: 0 as DriverEpoch, members: plan.description.disks.map(({ disk }) => disk), log: null, former: [] };
  try {
    for (const disk of plan.description.disks) {
      if (plan.embedded) mkdirSync(disk.directory, { recursive: true, mode: 0o700 });
      touched.push(disk.directory);
      await initDisk(disk.directory, { worker: disk.worker, description: plan.description, membership });
    }
    VolumeState.create(volumePaths(plan.volumeDirectory).state);
    writeVolume(plan.volumeDirectory, plan.description);
    syncPath(dirname(firstMade ?? plan.volumeDirectory));
  } catch (error) {
    // They were empty when the plan was made, so all that is in them now came from here.
    for (const directory of touched) emptyDirectory(directory);
    if (plan.embedded) rmSync(volumePaths(plan.volumeDirectory).disks, { recursive: true, force: true });
    rmSync(volumePaths(plan.volumeDirectory).state, { force: true });
    if (firstMade !== undefined) rmSync(firstMade, { recursive: true, force: true });
    throw error instanceof UserError ? error : new UserError(`cannot make the volume: ${(error as Error).message}; nothing was kept of it`, EXIT.failure, { cause: error });
  }
}

/**
 * Checks a directory that is to become a disk of a volume that exists. `sharers`: its disks that lie on the same device.
 * UserError when it is not fit; changes nothing.
 */
export function inspectNewDisk(directory: string, description: VolumeDescription): { place: string; sharers: readonly WorkerId[]; weight: number } {
  const path = checkDiskDirectory(directory);
  checkDistinct([path, ...description.disks.map((disk) => disk.directory)]);
  const place = measure(path);
  checkRoom(place);
  const sharers = description.disks.filter((disk) => statSync(disk.directory, { throwIfNoEntry: false })?.dev === place.device).map(({ worker }) => worker);
  return { place: path, sharers, weight: weightOf(place, sharers.length + 1) };
}

/** Absolute, without symbolic links as far as it exists. */
function resolveNew(path: string): string {
  const absolute = resolve(path);
  return existsSync(absolute) ? realpathSync(absolute) : join(existsSync(dirname(absolute)) ? realpathSync(dirname(absolute)) : dirname(absolute), basename(absolute));
}

function checkDiskDirectory(path: string): string {
  const directory = resolve(path);
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) throw new UserError(`disk directory ${path} does not exist: make it (and mount the disk there) first`, EXIT.notFound);
  if (!found.isDirectory()) throw usage(`disk ${path} is not a directory: give the directory where the disk is mounted, or one on it`);
  checkWritable(directory, 'disk directory');
  const content = contentOf(directory);
  if (content.includes(IDENTITY_FILE)) {
    const { description, worker } = readIdentity(directory);
    throw new UserError(`disk directory ${path} is disk ${worker} of the volume "${description.name}" (${description.volume}) already: give another, or empty it if that volume is given up`, EXIT.foreign);
  }
  if (content.length > 0) throw new UserError(`disk directory ${path} is not empty (it holds ${describe(content)}): sdfs wants a directory of its own; give an empty one`, EXIT.foreign);
  return realpathSync(directory);
}

function checkDistinct(directories: readonly string[]): void {
  directories.forEach((one, index) => {
    const other = directories.find((candidate, position) => position !== index && (candidate === one || candidate.startsWith(one + sep)));
    if (other !== undefined) throw usage(`disk directories ${one} and ${other} are the same or lie in one another: give different ones`);
  });
}

/** It may be missing, or empty, or hold nothing but the given disk directories. */
function checkVolumeDirectory(directory: string, disks: readonly string[]): void {
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) {
    checkWritable(nearestExisting(directory), 'parent directory');
    return;
  }
  if (!found.isDirectory()) throw usage(`${directory} is not a directory: give a directory, or a path where one can be made`);
  if (existsSync(join(directory, VOLUME_FILE))) throw new UserError(`${directory} is an sdfs volume already: mount it with "sdfs mount ${directory}", or choose another directory`, EXIT.foreign);
  const foreign = contentOf(directory).filter((name) => !disks.some((disk) => disk === join(directory, name) || disk.startsWith(join(directory, name) + sep)));
  if (foreign.length > 0) throw new UserError(`${directory} is not empty (it holds ${describe(foreign)}): give an empty or a new directory`, EXIT.foreign);
  if (disks.includes(directory)) throw usage(`${directory} cannot be the volume and one of its disks: give the disk a directory of its own`);
  checkWritable(directory, 'volume directory');
}

function checkWritable(directory: string, what: string): void {
  try {
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    const readOnly = (cause as NodeJS.ErrnoException).code === 'EROFS';
    throw new UserError(`${what} ${directory} cannot be written${readOnly ? ': its file system is read-only; remount it for writing' : ': permission denied; change its owner or run sdfs as root'}`, EXIT.denied, { cause });
  }
}

function contentOf(directory: string): string[] {
  return readdirSync(directory).filter((name) => !NOT_CONTENT.has(name));
}

function describe(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`;
}

function checkName(name: string): string {
  if (name === '' || name.length > NAME_LENGTH_MAX || /[\p{Cc}]/u.test(name)) throw usage(`--name ${JSON.stringify(name)}: wants 1 to ${NAME_LENGTH_MAX} printable characters`);
  return name;
}

interface Place {
  readonly directory: string;
  readonly device: number;
  readonly totalBytes: number;
  readonly availableBytes: number;
}

function measure(directory: string): Place {
  const existing = nearestExisting(directory);
  const space = statfsSync(existing);
  return { directory, device: statSync(existing).dev, totalBytes: space.blocks * space.bsize, availableBytes: space.bavail * space.bsize };
}

function checkRoom(place: Place): void {
  if (place.availableBytes < LIMITS.diskBytesMin) throw new UserError(`disk ${place.directory} has ${place.availableBytes} bytes free and needs ${LIMITS.diskBytesMin}: free some space or choose another`, EXIT.space);
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path));
}

function groupByDevice(places: readonly Place[]): Map<number, WorkerId[]> {
  const groups = new Map<number, WorkerId[]>();
  places.forEach((place, index) => groups.set(place.device, [...(groups.get(place.device) ?? []), index as WorkerId]));
  return groups;
}

/** Share of the volume's blocks, in MiB of capacity; directories on one device share its capacity. */
function weightOf(place: Place, sharing: number): number {
  return Math.max(1, Math.round(place.totalBytes / sharing / 2 ** 20));
}

/** Of a directory that was checked to be empty before: all that came into it since. */
export function emptyDirectory(directory: string): void {
  for (const name of existsSync(directory) ? contentOf(directory) : []) rmSync(join(directory, name), { recursive: true, force: true });
}

function newUuid(): Uuid {
  return randomBytes(16).toString('hex') as Uuid;
}

function usage(message: string, exitCode: ExitCode = EXIT.usage): UserError {
  return new UserError(message, exitCode);
}
