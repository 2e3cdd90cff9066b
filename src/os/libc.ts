// The system calls that Node lacks, by koffi. Numbers in, numbers out: no policy, no state.
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

/** Errno names that callers of this room look at; everything else is reported by number. Values: asm-generic/errno.h. */
export const ERRNO = { EPERM: 1, ENOENT: 2, EINTR: 4, EIO: 5, EBADF: 9, EAGAIN: 11, EBUSY: 16, ENODEV: 19, EINVAL: 22, ENOSPC: 28, EROFS: 30, EPIPE: 32, ECONNRESET: 104, ECONNABORTED: 103, ECONNREFUSED: 111, EDQUOT: 122, EINPROGRESS: 115 } as const;

/** errno of the last call of this thread. Read it right after the call. */
export function errno(): number {
  return koffi.errno();
}

/** A failed system call: its name, its argument for people, its errno number. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  readonly errno: number;
  constructor(call: string, about: string, number: number) {
    super(`${call}(${about}): ${strerror(number)} (errno ${number})`);
    this.errno = number;
  }
}

export const strerror: (number: number) => string = libc.func('str strerror(int number)');

/** Address of a Buffer's first byte. The Buffer must stay referenced while the address is used. */
export function addressOf(buffer: Uint8Array): bigint {
  return BigInt(koffi.address(buffer) as number | bigint);
}

// ssize_t calls return -1 with errno set; none of them throws.
export const read: (fd: number, buffer: Uint8Array, count: number) => number =
  libc.func('int64_t read(int fd, _Out_ uint8_t *buffer, uint64_t count)');
export const write: (fd: number, buffer: Uint8Array, count: number) => number =
  libc.func('int64_t write(int fd, const uint8_t *buffer, uint64_t count)');
export const writev: (fd: number, iovec: Uint8Array, count: number) => number =
  libc.func('int64_t writev(int fd, const uint8_t *iovec, int count)');

/** Starts write-back of a byte range without waiting: flags 2 = SYNC_FILE_RANGE_WRITE. sync_file_range(2). */
export const syncFileRange: (fd: number, offset: number, bytes: number, flags: number) => number =
  libc.func('int sync_file_range(int fd, int64_t offset, int64_t bytes, unsigned int flags)');

/** The same in a thread of its own: it waits where the device's queue is full. */
export const syncFileRangeAsync = (fd: number, offset: number, bytes: number, flags: number): Promise<number> =>
  new Promise((resolve) => {
    (syncFileRange as unknown as { async: (...all: unknown[]) => void }).async(fd, offset, bytes, flags, (_error: unknown, result: number) => resolve(result));
  });

/** preadv2(2) into one struct iovec; flags 8 = RWF_NOWAIT: only what is in the page cache, else EAGAIN. */
export const preadv2: (fd: number, iovec: Uint8Array, count: number, offset: number, flags: number) => number =
  libc.func('int64_t preadv2(int fd, const uint8_t *iovec, int count, int64_t offset, int flags)');

/** posix_fadvise(2): advice 3 = POSIX_FADV_WILLNEED begins to read the range. Returns an errno, not -1. */
export const fadvise: (fd: number, offset: number, bytes: number, advice: number) => number =
  libc.func('int posix_fadvise(int fd, int64_t offset, int64_t bytes, int advice)');

/** fallocate(2): mode 0 allocate, 1 KEEP_SIZE, 3 PUNCH_HOLE|KEEP_SIZE. */
export const fallocate: (fd: number, mode: number, offset: number, bytes: number) => number =
  libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t bytes)');

/** flock(2): 2 exclusive | 4 non-blocking; 8 unlock. */
export const flock: (fd: number, operation: number) => number = libc.func('int flock(int fd, int operation)');

const statx = libc.func('int statx(int directory, const char *path, int flags, unsigned int mask, _Out_ uint8_t *out)') as (directory: number, path: string, flags: number, mask: number, out: Uint8Array) => number;
const AT_FDCWD = -100;
const STATX_MNT_ID_UNIQUE = 0x4000;
const STATX_BYTES = 256;
const STX_MNT_ID = 144;

/** A number of the mount that `path` lies on, which no other mount gets until the next boot; undefined before Linux 6.8. statx(2). */
export function mountNumberOf(path: string): string | undefined {
  const out = Buffer.alloc(STATX_BYTES);
  if (statx(AT_FDCWD, path, 0, STATX_MNT_ID_UNIQUE, out) !== 0 || (out.readUInt32LE(0) & STATX_MNT_ID_UNIQUE) === 0) return undefined;
  return String(out.readBigUInt64LE(STX_MNT_ID));
}

export const mount: (source: string, target: string, type: string, flags: number, data: string) => number =
  libc.func('int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)');

/** umount2(2): 1 MNT_FORCE, 2 MNT_DETACH, 8 UMOUNT_NOFOLLOW. */
export const umount2: (target: string, flags: number) => number = libc.func('int umount2(const char *target, int flags)');

// Sockets. recv, like read, returns -1 with errno set; flags 0x40 = MSG_DONTWAIT.
export const socket: (domain: number, type: number, protocol: number) => number = libc.func('int socket(int domain, int type, int protocol)');
export const bind: (fd: number, address: Uint8Array, bytes: number) => number = libc.func('int bind(int fd, const uint8_t *address, unsigned int bytes)');
export const listen: (fd: number, backlog: number) => number = libc.func('int listen(int fd, int backlog)');
export const accept4: (fd: number, address: null, bytes: null, flags: number) => number = libc.func('int accept4(int fd, void *address, void *bytes, int flags)');
export const connect: (fd: number, address: Uint8Array, bytes: number) => number = libc.func('int connect(int fd, const uint8_t *address, unsigned int bytes)');
export const recv: (fd: number, buffer: Uint8Array, count: number, flags: number) => number =
  libc.func('int64_t recv(int fd, _Out_ uint8_t *buffer, uint64_t count, int flags)');
/** send(2): flags 0x40 = MSG_DONTWAIT, 0x4000 = MSG_NOSIGNAL. */
export const send: (fd: number, buffer: Uint8Array, count: number, flags: number) => number =
  libc.func('int64_t send(int fd, const uint8_t *buffer, uint64_t count, int flags)');
export const setsockopt: (fd: number, level: number, option: number, value: Uint8Array, bytes: number) => number =
  libc.func('int setsockopt(int fd, int level, int option, const uint8_t *value, unsigned int bytes)');
/** socketpair(2); `pair` takes two i32 descriptors. */
export const socketpair: (domain: number, type: number, protocol: number, pair: Uint8Array) => number =
  libc.func('int socketpair(int domain, int type, int protocol, _Out_ uint8_t *pair)');
/** recvmsg(2) with a struct msghdr; flags 0x40 = MSG_DONTWAIT, 0x40000000 = MSG_CMSG_CLOEXEC. */
export const recvmsg: (fd: number, header: Uint8Array, flags: number) => number =
  libc.func('int64_t recvmsg(int fd, _Inout_ uint8_t *header, int flags)');
/** fcntl(2) with an int: 3 F_GETFL, 4 F_SETFL. */
const fcntlInt = libc.func('int fcntl(int fd, int command, ...)') as (fd: number, command: number, type: 'int', argument: number) => number;
export const fcntl = (fd: number, command: number, argument: number): number => fcntlInt(fd, command, 'int', argument);
