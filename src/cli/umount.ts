// sdfs umount: takes a mount away, cleanly, lazily or by force.
import { rmSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ControlClient, KeeperGoneError } from '../control/client.ts';
import { isAlive, killProcess, waitForEnd } from '../control/process-identity.ts';
import type { ProcessIdentity } from '../control/process-identity.ts';
import { isOwn } from '../control/running-mounts.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { abortConnection, abortMount } from '../kernel/connection.ts';
import { findMount } from '../kernel/mount-table.ts';
import { unmount } from '../kernel/mount.ts';
import { resolveMountpoint } from '../keeper/mountpoint.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { findHolders } from './holders.ts';
import { checkMountOwner, findMounts, locateMount } from './locate.ts';
import { print, warn } from './terminal.ts';

interface UmountOptions {
  readonly lazy?: boolean;
  readonly force?: boolean;
}

export function registerUmount(program: Command): void {
  program
    .command('umount')
    .summary('unmount a volume')
    .description('Unmount: write everything to the disks, unmount, and return when all processes of the mount have ended. A mount that programs use is left alone, and the programs are named.')
    .argument('[mountpoint]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('--lazy', 'detach the mount now; it ends when the last program that uses it is done')
    .option('--force', 'end it now, whatever its state: programs that use it get errors; what was acknowledged is kept')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, options: UmountOptions) => {
      if (options.lazy && options.force) throw new UserError('--lazy and --force exclude each other: choose one', EXIT.usage);
      if (options.force) await forceUnmount(target);
      else if (options.lazy) await lazyUnmount(target);
      else await cleanUnmount(target);
    });
}

async function cleanUnmount(target: string | undefined): Promise<void> {
  const mount = locateMount(target);
  try {
    await new ControlClient(mount.controlSocket).unmount('clean');
  } catch (error) {
    if (error instanceof KeeperGoneError) {
      // It may be ending already, for another reason or before its answer was read.
      if (!(await waitForEnd([mount.keeper, ...mount.children], LIMITS.controlCallMs)) || findMount(mount.mountpoint) !== undefined) throw deadKeeper(mount, error);
      return print(`unmounted ${mount.mountpoint}`);
    }
    if (error instanceof UserError && error.exitCode === EXIT.busy && mount.attached) await nameHolders(mount);
    throw error;
  }
  const processes = [mount.keeper, ...mount.children];
  if ((await waitForEnd([mount.keeper], LIMITS.driverStopMs + LIMITS.workerStopMs)) && !(await waitForEnd(mount.children, LIMITS.killMs))) {
    throw new UserError(`${mount.mountpoint} is unmounted, but processes ${mount.children.filter(isAlive).map(({ pid }) => pid).join(', ')} cannot be ended: they wait for a disk that hangs, and end when it goes on; until then its volume is not mounted with it`, EXIT.busy);
  }
  if (processes.some(isAlive)) {
    throw new UserError(`${mount.mountpoint} is unmounted, but processes ${processes.filter(isAlive).map(({ pid }) => pid).join(', ')} still run: it may be mounted in another namespace (a container) too; "sdfs umount --force ${mount.volumeDirectory}" ends them`, EXIT.busy);
  }
  print(`unmounted ${mount.mountpoint}`);
}

async function lazyUnmount(target: string | undefined): Promise<void> {
  const mount = locateMount(target);
  try {
    await new ControlClient(mount.controlSocket).unmount('lazy');
  } catch (error) {
    throw error instanceof KeeperGoneError ? deadKeeper(mount, error) : error;
  }
  print(`detached ${mount.mountpoint}; its processes end when nothing uses it any more`);
}

function deadKeeper(mount: RegisteredMount, cause: Error): UserError {
  const ending = isAlive(mount.keeper) ? `the keeper (process ${mount.keeper.pid}) does not answer` : `the keeper (process ${mount.keeper.pid}) is dead`;
  return new UserError(`${mount.mountpoint}: ${ending}; end the mount with: sdfs umount --force ${mount.mountpoint}`, EXIT.failure, { cause });
}

async function nameHolders(mount: RegisteredMount): Promise<never> {
  const holders = await findHolders(mount.mountpoint);
  const named = holders.map(({ pid, command, use, path }) => `${command} (process ${pid}, ${use} ${path})`);
  const who = named.length > 0 ? `by ${named.join(', ')}` : 'by something that is not a visible process (a mount below it, a swap file, a loop device)';
  throw new UserError(`${mount.mountpoint} is in use ${who}; end that, or use --lazy`, EXIT.busy);
}

/**
 * Asks the keeper, and does not rely on it: what the register names is killed, the connection aborted, the mount
 * detached, the register cleaned. Works on a FUSE mount of sdfs that is not registered, too.
 */
async function forceUnmount(target: string | undefined): Promise<void> {
  const mount = findMounts(target).length > 0 ? locateMount(target) : undefined;
  if (mount !== undefined) {
    await endProcesses(mount);
    if (mount.connection !== null) detachAll(mount.mountpoint, mount.connection);
    // Not in a directory of another user, who could lead root elsewhere meanwhile: their next mount replaces it.
    if (isOwn(mount.directory)) rmSync(mount.directory, { recursive: true, force: true });
    return print(`ended ${mount.mountpoint}`);
  }
  const mountpoint = target === undefined ? undefined : resolveMountpoint(target);
  const entry = mountpoint === undefined ? undefined : findMount(mountpoint);
  // Nobody's that is known: locateMount says so.
  if (mountpoint === undefined || entry === undefined || !entry.type.startsWith('fuse.sdfs')) return void locateMount(target);
  checkMountOwner(mountpoint);
  abortConnection(entry.minor);
  detachAll(mountpoint, entry.minor);
  print(`ended ${mountpoint}`);
}

async function endProcesses(mount: RegisteredMount): Promise<void> {
  const processes = [mount.keeper, ...mount.children];
  const answered = await new ControlClient(mount.controlSocket).unmount('force', LIMITS.controlCallMs).then(() => true, () => false);
  if (answered && (await waitForEnd(processes, LIMITS.controlCallMs))) return;
  // A process that waits for its own mount cannot die before the connection has.
  if (mount.connection !== null) abortMount(mount.mountpoint, mount.connection);
  // The keeper first: a live one would start the others again.
  for (const identity of [...processes, ...childrenNow(mount)]) killProcess(identity);
  if (!(await waitForEnd(processes, LIMITS.forcedEndMs))) warn(`processes ${processes.filter(isAlive).map(({ pid }) => pid).join(', ')} were killed and have not ended yet: they wait for a disk`);
}

/** A hung keeper may have registered others since. */
function childrenNow(mount: RegisteredMount): readonly ProcessIdentity[] {
  return findMounts(mount.mountpoint).find((candidate) => candidate.volume === mount.volume)?.children ?? [];
}

/** Mounts can be stacked on one directory; only ours are taken off. */
function detachAll(mountpoint: string, connection: number): void {
  while (findMount(mountpoint)?.minor === connection) unmount(mountpoint, 'detach');
}
