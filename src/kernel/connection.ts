// What the kernel lets be set and stopped about a live FUSE connection, through sysfs. None of it touches the mount.
import { writeFileSync } from 'node:fs';
import { SystemCallError, errno, mount } from '../os/libc.ts';
import { readMountTable } from './mount-table.ts';

const CONNECTIONS = '/sys/fs/fuse/connections';
const EBUSY = 16;

/**
 * Ends connection `minor` (the mount's device number, see MountEntry): all that wait on it get ECONNABORTED, whatever
 * the driver does. Its owner may do so, and root. False: there is no such connection any more, it is somebody else's, or
 * only root could mount fusectl. SystemCallError where root cannot.
 */
export function abortConnection(minor: number): boolean {
  if (writeSetting(`${CONNECTIONS}/${minor}/abort`, '1')) return true;
  if (process.getuid?.() !== 0) return false;
  ensureControlFileSystem();
  return writeSetting(`${CONNECTIONS}/${minor}/abort`, '1');
}

/**
 * As abortConnection, where `minor` is what is mounted at `mountpoint`, or is in no tree any more. The kernel gives the
 * number of a mount that is gone to the next one of anybody: what has it elsewhere, and not here, is not to be ended.
 */
export function abortMount(mountpoint: string, minor: number): boolean {
  const found = readMountTable().filter((entry) => entry.major === 0 && entry.minor === minor);
  if (found.length > 0 && !found.some((entry) => entry.mountpoint === mountpoint)) return false;
  return abortConnection(minor);
}

/** Distributions mount it at boot; containers and small virtual machines do not. */
function ensureControlFileSystem(): void {
  if (mount('fusectl', CONNECTIONS, 'fusectl', 0, '') === 0) return;
  const number = errno();
  if (number !== EBUSY) throw new SystemCallError('mount', `fusectl at ${CONNECTIONS}`, number);
}

/**
 * How much the kernel reads ahead in sequential reads, in KiB. INIT can only lower its 128 KiB. False: the mount is
 * gone, this kernel shows no such setting, or an ordinary user asks.
 */
export function setReadAhead(minor: number, kib: number): boolean {
  return writeSetting(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(kib));
}

/** False where there is no such file, or it is not this user's to write. None is made: sysfs would refuse with another error. */
function writeSetting(file: string, value: string): boolean {
  try {
    writeFileSync(file, value, { flag: 'r+' });
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EPERM') return false;
    throw error;
  }
}
