// Reading, writing, appending, syncing, and the limits of all that.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

forEachFileSystem((fs) => {
  it('appends of several processes follow each other, whatever their sizes and offsets', async () => {
    expect(await python(fs, `
      made('appended')
      def work(process):
          fd = os.open('appended', os.O_WRONLY | os.O_APPEND)
          for index in range(60):
              length = [20, 5000, 70_000, 400][index % 4]
              record = struct.pack('<III', process, index, length) + bytes([process + 1]) * length
              assert (os.write(fd, record) if index % 3 else os.pwrite(fd, record, 7)) == len(record)
      children = []
      for process in range(4):
          pid = os.fork()
          if pid == 0:
              work(process)
              os._exit(0)
          children.append(pid)
      statuses = [os.waitpid(pid, 0)[1] for pid in children]
      data, at, seen = contents('appended'), 0, [0] * 4
      while at < len(data):
          process, index, length = struct.unpack_from('<III', data, at)
          assert index == seen[process] and data[at + 12:at + 12 + length] == bytes([process + 1]) * length
          seen[process] += 1
          at += 12 + length
      tell([statuses, seen])
    `, { timeoutMs: 60_000 })).toEqual([[0, 0, 0, 0], [60, 60, 60, 60]]);
  });

  it('an append goes to the end that the file has then, also after a truncation', async () => {
    expect(await python(fs, `
      fd = made('end', b'12345', os.O_APPEND)
      other = os.open('end', os.O_RDWR)
      os.write(fd, b'6')
      os.ftruncate(other, 2)
      os.write(fd, b'3')
      os.pwrite(other, b'z', 5)
      os.write(fd, b'!')
      tell(contents('end').decode())
    `)).toBe('123\0\0z!');
  });

  it('O_DIRECT reads and writes what others read and write through the cache', async () => {
    expect(await python(fs, `
      data = text(MiB)
      made('direct', data)
      fd, cached = os.open('direct', os.O_RDWR | os.O_DIRECT), os.open('direct', os.O_RDWR)
      buffer = mmap.mmap(-1, 256 * KiB)
      found = [os.preadv(fd, [buffer], 512 * KiB), buffer[:] == data[512 * KiB:768 * KiB]]
      os.pread(cached, MiB, 0)
      buffer[:] = b'D' * len(buffer)
      found += [os.pwritev(fd, [buffer], 4096), os.pread(cached, 256 * KiB, 4096) == buffer[:]]
      os.pwrite(cached, b'C' * 4096, 8192)
      small = mmap.mmap(-1, 4096)
      found += [os.preadv(fd, [small], 8192), small[:] == b'C' * 4096]
      found += [os.pwritev(fd, [small], MiB), os.fstat(fd).st_size, os.preadv(fd, [buffer], MiB), os.preadv(fd, [buffer], MiB + 4096)]
      tell(found)
    `)).toEqual([256 * KiB, true, 256 * KiB, true, 4096, true, 4096, MiB + 4096, 4096, 0]);
  });

  it.runIf(fs.isSdfs)('O_DIRECT asks for no alignment', async () => {
    expect(await python(fs, `
      fd = os.open('unaligned', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
      tell([os.pwrite(fd, b'odd', 4097), os.pread(fd, 10, 4095).decode(), os.fstat(fd).st_size])
    `)).toEqual([3, '\0\0odd', 4100]);
  });

  it('O_TRUNC empties a file and says when, also one that is empty', async () => {
    expect(await python(fs, `
      made('cut', b'c' * 10_000)
      os.utime('cut', ns=(5, 5))
      fd = os.open('cut', os.O_RDWR | os.O_TRUNC)
      first = [os.fstat(fd).st_size, os.fstat(fd).st_mtime_ns > 5]
      os.utime('cut', ns=(5, 5))
      os.close(os.open('cut', os.O_WRONLY | os.O_TRUNC))
      tell([first, os.fstat(fd).st_mtime_ns > 5, os.pread(fd, 10, 0).decode()])
    `)).toEqual([[0, true], true, '']);
  });

  it('what is written with O_SYNC or O_DSYNC, or one write at a time with RWF_DSYNC, is there', async () => {
    expect(await python(fs, `
      results = []
      for name, flag in (('sync', os.O_SYNC), ('dsync', os.O_DSYNC)):
          fd = made(name, b'', flag)
          results += [os.write(fd, b's' * 5000), os.pwrite(fd, b't' * 200_000, 5000), len(contents(name))]
      fd = made('rwf')
      results += [os.pwritev(fd, [b'abc', b'def'], 0, os.RWF_DSYNC), os.pwritev(fd, [b'g'], 0, os.RWF_APPEND), contents('rwf').decode()]
      tell(results)
    `)).toEqual([5000, 200_000, 205_000, 5000, 200_000, 205_000, 6, 1, 'abcdefg']);
  });

  it('files, directories and whole file systems are synced through any descriptor', async () => {
    expect(await python(fs, `
      made('synced', b's' * 100_000)
      os.symlink('synced', 'link')
      reader, directory = os.open('synced', os.O_RDONLY), os.open('.', os.O_RDONLY)
      path, ends = os.open('synced', os.O_PATH), os.pipe()
      tell([os.fsync(reader), os.fdatasync(reader), os.fsync(directory), os.fdatasync(directory), checked('syncfs', directory), attempt(os.fsync, path), attempt(os.fsync, ends[0]),
        checked('sync_file_range', reader, ctypes.c_int64(0), ctypes.c_int64(0), 7)])
    `)).toEqual([null, null, null, null, 0, 'EBADF', 'EINVAL', 0]);
  });

  it('reads end at the end, and writes behind it leave zeros between', async () => {
    expect(await python(fs, `
      fd = made('ends', b'abc')
      os.pwrite(fd, b'xyz', 10_000)
      tell([os.pread(fd, 100, 9_999).decode(), os.pread(fd, 100, 10_003).decode(), os.pread(fd, 100, 10 ** 12).decode(), set(os.pread(fd, 9_997, 3)) == {0}, attempt(os.pread, fd, 1, -1), attempt(os.pwrite, fd, b'', 10 ** 9), os.fstat(fd).st_size])
    `)).toEqual(['\0xyz', '', '', true, 'EINVAL', 0, 10_003]);
  });

  it('descriptors do only what they were opened for', async () => {
    expect(await python(fs, `
      made('modes', b'm')
      reader, writer, directory = os.open('modes', os.O_RDONLY), os.open('modes', os.O_WRONLY), os.open('.', os.O_RDONLY)
      tell([attempt(os.write, reader, b'x'), attempt(os.read, writer, 1), attempt(os.read, directory, 1), attempt(os.open, '.', os.O_WRONLY), attempt(os.ftruncate, reader, 0), attempt(os.ftruncate, writer, -1), attempt(os.truncate, '.', 0), attempt(os.truncate, 'none', 0)])
    `)).toEqual(['EBADF', 'EBADF', 'EISDIR', 'EISDIR', 'EINVAL', 'EINVAL', 'EISDIR', 'ENOENT']);
  });

  it('data goes from file to file and through pipes in the kernel', async () => {
    expect(await python(fs, `
      data = text(300_000)
      source, target, ends = made('from', data), made('to'), os.pipe()
      sent = 0
      while sent < 100_000:
          sent += os.sendfile(target, source, sent, 100_000 - sent)
      while sent < 300_000:
          moved = os.splice(source, ends[1], min(32_768, 300_000 - sent), offset_src=sent)
          assert os.splice(ends[0], target, moved, offset_dst=sent) == moved
          sent += moved
      tell([contents('to') == data, checked('posix_fadvise', source, ctypes.c_int64(0), ctypes.c_int64(0), 4), checked('readahead', source, ctypes.c_int64(0), ctypes.c_size_t(4096))])
    `)).toEqual([true, 0, 0]);
  });

  it('a process that may write no larger files gets what fits, then SIGXFSZ or EFBIG', async () => {
    expect(await python(fs, `
      def limited(act, ignore=True):
          def run():
              resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
              signal.signal(signal.SIGXFSZ, signal.SIG_IGN if ignore else signal.SIG_DFL)
              act()
          return in_child(run)
      fd = made('limited', b'l' * 9_000)
      def part():
          assert os.pwrite(fd, b'x' * 5_000, 9_000) == 1_000
          assert attempt(os.pwrite, fd, b'x', 10_000) == 'EFBIG'
          assert attempt(os.ftruncate, fd, 10_001) == 'EFBIG'
          assert fallocate(fd, 0, 0, 10_001) == 'EFBIG'
          assert fallocate(fd, KEEP_SIZE, 0, 20_000) == 0
          os.ftruncate(fd, 10_000)
      tell([limited(part), limited(lambda: os.pwrite(fd, b'x', 10_000), ignore=False), limited(lambda: os.ftruncate(fd, 10_001), ignore=False), os.fstat(fd).st_size])
    `)).toEqual([0, 'SIGXFSZ', 'SIGXFSZ', 10_000]);
  });

  it('no file is larger than the largest', async () => {
    expect(await python(fs, `
      fd = made('huge')
      tell([attempt(os.ftruncate, fd, 2 ** 62), attempt(os.pwrite, fd, b'x', 2 ** 62), attempt(os.posix_fallocate, fd, 2 ** 62, 1), os.fstat(fd).st_size])
    `)).toEqual(['EFBIG', 'EFBIG', 'EFBIG', 0]);
  });

  it.runIf(fs.isSdfs)('a file may have 2^53 - 4096 bytes, and its last byte is read back', async () => {
    expect(await python(fs, `
      fd, limit = made('largest'), 2 ** 53 - 4096
      os.pwrite(fd, b'last', limit - 4)
      os.fsync(fd)
      tell([os.fstat(fd).st_size == limit, os.pread(fd, 10, limit - 5).decode(), attempt(os.pwrite, fd, b'x', limit), attempt(os.ftruncate, fd, limit + 1), [[start - limit, end - limit] for start, end in segments(fd)], allocated('largest'), os.ftruncate(fd, limit - 2), os.pread(fd, 10, limit - 5).decode()])
    `)).toEqual([true, '\0last', 'EFBIG', 'EFBIG', [[-4, 0]], 4096, null, '\0la']);
  });

  it.runIf(fs.isSdfs)('statfs says what there is, and less after a write', async () => {
    expect(await python(fs, `
      before = os.statvfs('.')
      fd = made('filling')
      assert fallocate(fd, 0, 0, 64 * MiB) == 0
      after = os.statvfs('.')
      os.unlink('filling')
      os.close(fd)
      tell([before.f_bsize, before.f_frsize, before.f_namemax, before.f_blocks >= before.f_bfree >= before.f_bavail > 0, before.f_files > before.f_ffree > 0, before.f_bavail - after.f_bavail >= 64 * MiB // 4096])
    `)).toEqual([4096, 4096, 255, true, true, true]);
  });

  it.runIf(fs.isSdfs)('ioctls of local file systems are not there', async () => {
    expect(await python(fs, `
      fd = made('ioctl', b'i')
      FS_IOC_GETFLAGS, FS_IOC_GETVERSION, FS_IOC_FIEMAP, FITRIM, FIFREEZE = 0x80086601, 0x80087601, 0xC020660B, 0xC0185879, 0xC0045877
      tell([attempt(fcntl.ioctl, fd, number, bytes(64)) for number in (FS_IOC_GETFLAGS, FS_IOC_GETVERSION, FS_IOC_FIEMAP, FITRIM, FIFREEZE)])
    `)).toEqual(['ENOTTY', 'ENOTTY', 'EOPNOTSUPP', 'ENOTTY', 'EOPNOTSUPP']);
  });

  it('a write of many megabytes from one buffer is whole', async () => {
    expect(await python(fs, `
      data = text(9 * MiB + 12_345)
      fd = made('whole')
      tell([os.write(fd, data) == len(data), contents('whole') == data])
    `)).toEqual([true, true]);
  });
}, { localLacks: localLacksPython });
