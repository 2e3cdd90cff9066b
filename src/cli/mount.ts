// sdfs mount: mounts a volume, in the foreground or in the background.
import { execFile } from 'node:child_process';
import { closeSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { MountOptions } from '../base/mount-options.ts';
import { DRIVER_KINDS } from '../control/api.ts';
import type { DriverKind } from '../control/api.ts';
import { launchKeeper, openLog } from '../keeper/launch.ts';
import { checkMountpoint, resolveMountpoint } from '../keeper/mountpoint.ts';
import { runKeeper } from '../keeper/run.ts';
import { checkVolumeOwner, readVolume, volumePaths } from '../keeper/volume.ts';
import { DEFAULT_MOUNT_OPTIONS, parseMountOptions } from '../kernel/mount-options.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { resolveVolume } from './locate.ts';
import { LogView } from './log-view.ts';
import { print } from './terminal.ts';
import { collect } from './values.ts';

export const DEFAULT_MOUNTPOINT = '/mnt/sdfs';

interface MountCommandOptions {
  readonly background?: boolean;
  readonly options?: readonly string[];
  readonly driver: DriverKind;
  readonly logFile?: string;
  readonly forceDegraded?: boolean;
}

/** Words of an fstab line that are for mount(8) and systemd, not for a file system. fstab(5), systemd.mount(5). */
const FOR_OTHERS = new Set(['defaults', 'auto', 'noauto', 'nofail', '_netdev', 'nouser', 'async', 'loud', 'silent']);

/**
 * The options of a mount of `volumeDirectory`, from the words after -o. Root shares it with all users, but not by
 * fuse-native, since what they made would not be theirs; an ordinary user's is theirs alone unless they ask, without
 * set-uid programs and devices. UserError (usage, denied) for an option that is unknown or for root.
 */
export function mountOptions(volumeDirectory: string, words: readonly string[], driver: DriverKind = 'direct', asRoot: boolean = process.getuid?.() === 0): MountOptions {
  const ours = words
    .flatMap((text) => text.split(','))
    .filter((word) => !FOR_OTHERS.has(word) && !word.startsWith('x-') && !word.startsWith('comment='));
  // The source column is the volume, so that `mount -a` knows an fstab line as mounted, and `df` says what it is.
  const defaults = { ...DEFAULT_MOUNT_OPTIONS, allowOther: asRoot && driver === 'direct', noSuid: !asRoot, noDev: !asRoot, fsname: volumeDirectory };
  const options = parseMountOptions(ours.join(','), defaults);
  if (!asRoot && !(options.noSuid && options.noDev)) throw new UserError('the mount options "suid" and "dev" are for root: the mount of an ordinary user is nosuid,nodev; leave them out', EXIT.denied);
  return options;
}

/** Checks it; the default mountpoint is made when missing, any other must be there. */
function prepareMountpoint(given: string | undefined): string {
  const mountpoint = resolveMountpoint(given ?? DEFAULT_MOUNTPOINT);
  try {
    checkMountpoint(mountpoint);
  } catch (error) {
    const missing = error instanceof UserError && error.exitCode === EXIT.notFound;
    if (!missing || mountpoint !== DEFAULT_MOUNTPOINT) throw error;
    makeDirectory(mountpoint);
  }
  return mountpoint;
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw new UserError(`cannot make ${path}: ${(cause as Error).message}; name a directory of your own to mount at: sdfs mount VOLUME DIRECTORY`, EXIT.denied, { cause });
  }
}

/** systemd(1), Type=notify: the unit is up when the mount is usable. */
function notifyServiceManager(mountpoint: string): void {
  if (!process.env.NOTIFY_SOCKET) return;
  execFile('systemd-notify', ['--ready', `--pid=${process.pid}`, `--status=serving ${mountpoint}`], { timeout: 5_000 }, () => {});
}

export function registerMount(program: Command): void {
  program
    .command('mount')
    .summary('mount a volume')
    .description('Mount a volume. In the foreground it serves until it is unmounted or interrupted (SIGINT and SIGTERM unmount cleanly); with -d it returns when the mount is usable. Without root it goes through fusermount3, on a directory of your own: the mount is yours alone (-o allow_other opens it where /etc/fuse.conf has user_allow_other).')
    .argument('<volume>', 'the volume directory')
    .argument('[mountpoint]', `where to mount it (default: ${DEFAULT_MOUNTPOINT}, made when missing)`)
    .option('-d, --background', 'serve in the background; return when the mount is usable, or say why it is not')
    .option('-o, --options <options>', 'mount options with commas between them: ro, noatime, strictatime, nodiratime, noacl, nosuid, nodev, noexec, dumps=1h (backups of the metadata onto the disks; 30m, 1d, off), locks=sdfs (keep flock and fcntl locks in sdfs, not in the kernel), …; root mounts with allow_other, an ordinary user with nosuid,nodev', collect)
    .addOption(new Option('--driver <driver>', 'how the driver reaches the kernel: "direct" speaks the protocol of /dev/fuse itself; "fuse-native" uses the npm package of that name and libfuse 2, with the gaps that docs/SEMANTICS.md lists, and allow_other off').choices(DRIVER_KINDS).default('direct'))
    .option('--log-file <file>', 'where the log goes, as JSON (default: VOLUME/log/sdfs.log, or stderr in the foreground without a terminal)')
    .option('--force-degraded', 'mount although too many disks are missing: they are gone for good, and so is what only they had')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (volume: string, givenMountpoint: string | undefined, options: MountCommandOptions, command: Command) => {
      const { driver } = options;
      const volumeDirectory = resolveVolume(volume);
      readVolume(volumeDirectory);
      checkVolumeOwner(volumeDirectory);
      const mount = mountOptions(volumeDirectory, options.options ?? [], driver);
      if (driver === 'fuse-native' && mount.locks === 'sdfs') throw new UserError('fuse-native passes no locks on: leave out -o locks=sdfs, or --driver fuse-native', EXIT.usage);
      const mountpoint = prepareMountpoint(givenMountpoint);
      const forceDegraded = options.forceDegraded ?? false;
      const level = command.optsWithGlobals<{ logLevel: string }>().logLevel;
      if (options.background) {
        const file = resolve(options.logFile ?? volumePaths(volumeDirectory).log);
        const pid = await launchKeeper({ volumeDirectory, mountpoint, mount, driver, forceDegraded, log: { level, file } });
        print(`mounted ${volumeDirectory} at ${mountpoint} (keeper ${pid}, log ${file})`);
        return;
      }
      await serveInForeground({ volumeDirectory, mountpoint, mount, driver, forceDegraded, level, logFile: options.logFile });
    });
}

interface ForegroundOptions {
  readonly volumeDirectory: string;
  readonly mountpoint: string;
  readonly mount: MountOptions;
  readonly driver: DriverKind;
  readonly forceDegraded: boolean;
  readonly level: string;
  readonly logFile?: string | undefined;
}

/** A terminal gets the log in a form for people, and the file keeps it; anything else on stderr gets the lines as they are. */
async function serveInForeground(options: ForegroundOptions): Promise<never> {
  const { volumeDirectory, mountpoint, mount, driver, forceDegraded, level } = options;
  const onTerminal = process.stderr.isTTY === true;
  const file = options.logFile !== undefined ? resolve(options.logFile) : onTerminal ? volumePaths(volumeDirectory).log : undefined;
  const view = onTerminal && file !== undefined ? viewLog(file) : undefined;
  let exitCode: ExitCode;
  try {
    exitCode = await runKeeper({ volumeDirectory, mountpoint, mount, driver, forceDegraded, log: { level, file } }, () => notifyServiceManager(mountpoint));
  } finally {
    view?.close();
  }
  // Open descriptors and timers of a mount that has ended must not keep the command alive.
  process.exit(exitCode);
}

function viewLog(file: string): LogView {
  closeSync(openLog(file));
  return new LogView(file, { colour: !process.env.NO_COLOR, write: (text) => process.stderr.write(text) });
}
