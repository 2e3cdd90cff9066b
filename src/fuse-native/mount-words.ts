// The option words of a mount, as libfuse 2.9 takes them: the package passes some on, and the others go along with fsname.
import { EXIT, UserError } from '../base/errors.ts';
import type { MountOptions, OwnMountOptions } from '../base/mount-options.ts';
import type { PackageOptions } from './package.ts';

export type NativeMountOptions = OwnMountOptions & Pick<MountOptions, 'readOnly' | 'accessTime'>;

/** The most that libfuse 2.9 takes at once (FUSE_MAX_PAGES_PER_REQ 32); without big_writes it is one page. */
const WRITE_BYTES_MAX = 131_072;
/** All changes of names come through this mount, so what the kernel remembers of them stays true. */
const NAMES_SECONDS = 86_400;
/** The package's buffer, less the NUL and the words that it adds itself. */
const WORDS_BYTES_MAX = 900;

/** UserError where the source's name is too long. `root`: who mounts, since others get nosuid and nodev whatever they say. */
export function packageOptions(options: NativeMountOptions, mounter: { readonly root: boolean }): PackageOptions {
  const words = [
    escapeWord(options.fsname), 'big_writes', `max_write=${WRITE_BYTES_MAX}`, 'use_ino', 'nonempty',
    `entry_timeout=${NAMES_SECONDS}`, `negative_timeout=${NAMES_SECONDS}`,
    // Names of one file have an inode each in the kernel: what changes by one has to be asked for by the others.
    'attr_timeout=0',
  ];
  if (options.readOnly) words.push('ro');
  if (options.noExec) words.push('noexec');
  if (options.accessTime === 'noatime') words.push('noatime');
  if (options.maxReadBytes !== undefined) words.push(`max_read=${options.maxReadBytes}`);
  if (mounter.root && !options.noSuid) words.push('suid');
  if (mounter.root && !options.noDev) words.push('dev');
  const fsname = words.join(',');
  if (Buffer.byteLength(fsname) > WORDS_BYTES_MAX) throw new UserError(`the name of the volume, ${options.fsname}, is too long for libfuse: give another with -o fsname=NAME`, EXIT.usage);
  return { timeout: false, allowOther: options.allowOther, defaultPermissions: true, fsname, subtype: options.subtype };
}

/** fuse_opt.h: commas part the words, and a backslash takes the meaning off what follows. */
function escapeWord(text: string): string {
  return text.replace(/[\\,]/g, '\\$&');
}
