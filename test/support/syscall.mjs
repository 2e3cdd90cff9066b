// One system call that neither Node nor a common program has, on a file: by koffi, in a process of its own.
// usage: syscall.mjs NAME ARGUMENT…; prints the result as JSON, an errno as {"errno": N}.
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t bytes)');
const renameat2 = libc.func('int renameat2(int fd, const char *from, int fd2, const char *to, unsigned int flags)');
const mmap = libc.func('void *mmap(void *address, uint64_t bytes, int protection, int flags, int fd, int64_t offset)');
const munmap = libc.func('int munmap(void *address, uint64_t bytes)');
const msync = libc.func('int msync(void *address, uint64_t bytes, int flags)');
const memcpy = libc.func('void *memcpy(void *to, const uint8_t *from, uint64_t bytes)');
const copyFileRange = libc.func('int64_t copy_file_range(int from, int64_t *fromOffset, int to, int64_t *toOffset, uint64_t bytes, unsigned int flags)');
const linkat = libc.func('int linkat(int fd, const char *from, int fd2, const char *to, int flags)');

const AT_FDCWD = -100;
const O_TMPFILE = 0o20200000;
const orErrno = (result) => (result === -1 || result === -1n ? { errno: koffi.errno() } : Number(result));

const calls = {
  /** FILE: the data ranges, found with SEEK_DATA and SEEK_HOLE. */
  extents(path) {
    const fd = openSync(path, 'r');
    const ranges = [];
    for (let at = 0; ; ) {
      const start = Number(lseek(fd, at, 3));
      if (start < 0) return ranges;
      at = Number(lseek(fd, start, 4));
      ranges.push([start, at]);
    }
  },
  /** FILE MODE OFFSET BYTES */
  fallocate: (path, mode, offset, bytes) => orErrno(fallocate(openSync(path, 'r+'), Number(mode), Number(offset), Number(bytes))),
  /** FROM TO FLAGS: 1 RENAME_NOREPLACE, 2 RENAME_EXCHANGE */
  rename: (from, to, flags) => orErrno(renameat2(AT_FDCWD, from, AT_FDCWD, to, Number(flags))),
  /** FILE OFFSET TEXT: writes the text through a shared mapping of the whole file. */
  mmap(path, offset, text) {
    const fd = openSync(path, 'r+');
    const bytes = Number(lseek(fd, 0, 2));
    const address = mmap(null, bytes, 3, 1, fd, 0);
    if (koffi.address(address) === 0xffff_ffff_ffff_ffffn) return { errno: koffi.errno() };
    memcpy(koffi.as(koffi.address(address) + BigInt(offset), 'void *'), Buffer.from(text), Buffer.byteLength(text));
    const result = orErrno(msync(address, bytes, 4));
    munmap(address, bytes);
    closeSync(fd);
    return result;
  },
  /** FROM OFFSET TO OFFSET BYTES */
  copyRange: (from, fromOffset, to, toOffset, bytes) =>
    orErrno(copyFileRange(openSync(from, 'r'), [BigInt(fromOffset)], openSync(to, 'r+'), [BigInt(toOffset)], Number(bytes), 0)),
  /** DIRECTORY NAME: makes a file without a name there, and gives it this one. */
  tmpfile(directory, name) {
    const fd = openSync(directory, O_TMPFILE | 2, 0o644);
    return orErrno(linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, name, 0x400));
  },
};

const [name, ...args] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify(calls[name](...args))}\n`);
