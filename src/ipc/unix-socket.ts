// UNIX stream sockets as bare descriptors: made, bound, connected, accepted. Numbers from the Linux headers.
import fs from 'node:fs';
import { UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { accept4, bind, connect, errno, listen, setsockopt, socket, SystemCallError } from '../os/libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const BACKLOG = 16;
/** A frame of the largest block fits, so that its sender does not have to come back for the rest. */
const SEND_BUFFER_BYTES = 4 * 1024 * 1024;

/** A listening socket at `path`, mode 0600. A socket that an earlier process left there is replaced. */
export function listenUnix(path: string): number {
  const fd = newSocket(path);
  try {
    if (fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) fs.unlinkSync(path);
    // The mode is there from the first moment: nobody can connect in between.
    const umask = process.umask(0o177);
    try {
      check('bind', path, bind(fd, address(path), 110));
    } finally {
      process.umask(umask);
    }
    check('listen', path, listen(fd, BACKLOG));
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Connected, or the errno of connect(2) as a SystemCallError. */
export function connectUnix(path: string): number {
  const fd = newSocket(path);
  const result = connect(fd, address(path), 110);
  if (result !== 0) {
    const error = new SystemCallError('connect', path, errno());
    fs.closeSync(fd);
    throw error;
  }
  growSendBuffer(fd);
  return fd;
}

/** The next connection that waits at `listener`, or undefined. */
export function acceptUnix(listener: number): number | undefined {
  const fd = accept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return undefined;
  growSendBuffer(fd);
  return fd;
}

function newSocket(path: string): number {
  const bytes = Buffer.byteLength(path);
  if (bytes > LIMITS.socketPathBytesMax) throw new UserError(`the socket path ${path} has ${bytes} bytes, and Linux allows ${LIMITS.socketPathBytesMax}: choose a shorter directory`);
  return check('socket', path, socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/** Only root may go beyond net.core.wmem_max; others get what that allows. On a UNIX socket the sender's buffer is all there is. */
function growSendBuffer(fd: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(SEND_BUFFER_BYTES);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, 4) !== 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, value, 4);
}

function address(path: string): Buffer {
  const out = Buffer.alloc(110);
  out.writeUInt16LE(AF_UNIX, 0);
  out.write(path, 2);
  return out;
}

function check(call: string, about: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, about, errno());
  return result;
}
