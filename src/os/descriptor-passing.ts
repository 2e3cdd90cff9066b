// Receives a file descriptor that another program sends over a UNIX socket (SCM_RIGHTS). unix(7), cmsg(3).
//
//   struct msghdr, 64-bit: name u64 @0, name length u32 @8, iovec u64 @16, iovecs u64 @24, control u64 @32,
//                          control length u64 @40, flags i32 @48; 56 bytes
//   struct iovec:          base u64 @0, length u64 @8
//   struct cmsghdr:        length u64 @0 (of it all: 20), level i32 @8, type i32 @12, then the descriptor i32 @16
import { constants } from 'node:fs';
import { SystemCallError, addressOf, errno, fcntl, recvmsg, socketpair } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const F_GETFL = 3;
const F_SETFL = 4;
const HEADER_BYTES = 56;
const CONTROL_BYTES = 24;

/** Two connected stream sockets that no child inherits unless it is handed one. */
export function socketPair(): readonly [number, number] {
  const pair = Buffer.alloc(8);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) !== 0) throw new SystemCallError('socketpair', 'AF_UNIX', errno());
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}

/** The descriptor that waits at `socket`, not inherited by children; undefined when none was sent. Does not wait. */
export function receiveDescriptor(socket: number): number | undefined {
  const data = Buffer.alloc(1);
  const iovec = Buffer.alloc(16);
  iovec.writeBigUInt64LE(addressOf(data), 0);
  iovec.writeBigUInt64LE(1n, 8);
  const control = Buffer.alloc(CONTROL_BYTES);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeBigUInt64LE(addressOf(iovec), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
  if (recvmsg(socket, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) return undefined;
  const arrived = header.readBigUInt64LE(40) >= 20n && control.readInt32LE(8) === SOL_SOCKET && control.readInt32LE(12) === SCM_RIGHTS;
  return arrived ? control.readInt32LE(16) : undefined;
}

/** O_NONBLOCK belongs to the open file: every process that holds it sees the change. */
export function setNonBlocking(fd: number): void {
  const flags = fcntl(fd, F_GETFL, 0);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | constants.O_NONBLOCK) !== 0) throw new SystemCallError('fcntl', `O_NONBLOCK on fd ${fd}`, errno());
}
