// The process that unmounts: umount2(2) waits for the driver, which may have to be restarted meanwhile, so the keeper
// cannot make that call itself. argv: mountpoint, mode. Exit code: 0, or the errno.
import { unmount } from '../kernel/mount.ts';
import type { UnmountMode } from '../kernel/mount.ts';
import { SystemCallError } from '../os/libc.ts';

const [mountpoint = '', mode = 'wait'] = process.argv.slice(2);
try {
  unmount(mountpoint, mode as UnmountMode);
} catch (error) {
  process.exitCode = error instanceof SystemCallError ? error.errno : 255;
}
