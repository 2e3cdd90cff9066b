// What the kernel lets be set and stopped about a live FUSE connection, through sysfs. None of it touches the mount.
import { writeFileSync } from 'node:fs';
import { SystemCallError, errno, mount } from '../os/libc.ts';

const CONNECTIONS = '/sys/fs/fuse/connections';
const EBUSY = 16;

/**
 * Ends connection `minor` (the mount's device number, see MountEntry): all that wait on it get ECONNABORTED, whatever
 * the driver does. False: there is no such connection any more. SystemCallError where fusectl cannot be mounted.
 */
export function abortConnection(minor: number): boolean {
  if (writeSetting(`${CONNECTIONS}/${minor}/abort`, '1')) return true;
  ensureControlFileSystem();
  return writeSetting(`${CONNECTIONS}/${minor}/abort`, '1');
}

/** Distributions mount it at boot; containers and small virtual machines do not. */
function ensureControlFileSystem(): void {
  if (mount('fusectl', CONNECTIONS, 'fusectl', 0, '') === 0) return;
  const number = errno();
  if (number !== EBUSY) throw new SystemCallError('mount', `fusectl at ${CONNECTIONS}`, number);
}

/**
 * How much the kernel reads ahead in sequential reads, in KiB. INIT can only lower its 128 KiB. False: the mount is
 * gone, or this kernel shows no such setting.
 */
export function setReadAhead(minor: number, kib: number): boolean {
  return writeSetting(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(kib));
}

/** False where there is no such file, and none is made: sysfs would refuse with another error. */
function writeSetting(file: string, value: string): boolean {
  try {
    writeFileSync(file, value, { flag: 'r+' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
