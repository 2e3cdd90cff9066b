// Files mapped into memory: shared and private, beside read and write, and under truncation.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

forEachFileSystem((fs) => {
  it('a shared mapping and read and write see each other at once', async () => {
    expect(await python(fs, `
      fd = made('shared', b'-' * 20_000)
      mapping = mmap.mmap(fd, 20_000)
      mapping[5000:5006] = b'mapped'
      read = os.pread(fd, 6, 5000).decode()
      os.pwrite(fd, b'written', 12_000)
      seen = mapping[12_000:12_007].decode()
      mapping.flush()
      os.fsync(fd)
      tell([read, seen, contents('shared')[5000:5006].decode()])
    `)).toEqual(['mapped', 'written', 'mapped']);
  });

  it('processes share what they write through mappings of one file', async () => {
    expect(await python(fs, `
      fd = made('counter', bytes(4 * 4096))
      def work(index):
          mapping = mmap.mmap(os.open('counter', os.O_RDWR), 4 * 4096)
          mapping[index * 4096:index * 4096 + 8] = struct.pack('<Q', index + 100)
          mapping[4 * 4096 - 1 - index] = index + 1
      ended = [in_child(lambda: work(index)) for index in range(3)]
      tell([ended, [struct.unpack('<Q', os.pread(fd, 8, index * 4096))[0] for index in range(3)], list(os.pread(fd, 3, 4 * 4096 - 3))])
    `)).toEqual([[0, 0, 0], [100, 101, 102], [3, 2, 1]]);
  });

  it('a private mapping keeps its changes to itself', async () => {
    expect(await python(fs, `
      fd = made('private', b'p' * 8192)
      mapping = mmap.mmap(os.open('private', os.O_RDONLY), 8192, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
      mapping[0:4] = b'mine'
      os.pwrite(fd, b'theirs', 4096)
      tell([mapping[0:4].decode(), os.pread(fd, 4, 0).decode(), mapping[4096:4102].decode(), contents('private')[:4].decode()])
    `)).toEqual(['mine', 'pppp', 'theirs', 'pppp']);
  });

  it('mapping asks for what the descriptor may do', async () => {
    expect(await python(fs, `
      made('rights', b'r' * 4096)
      reader, writer = os.open('rights', os.O_RDONLY), os.open('rights', os.O_WRONLY)
      def map(fd, protection, flags=mmap.MAP_SHARED):
          try:
              mmap.mmap(fd, 4096, flags=flags, prot=protection)
              return 'mapped'
          except PermissionError as error:
              return errno.errorcode[error.errno]
      tell([map(reader, mmap.PROT_READ), map(reader, mmap.PROT_READ | mmap.PROT_WRITE), map(writer, mmap.PROT_READ), map(reader, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE)])
    `)).toEqual(['mapped', 'EACCES', 'EACCES', 'mapped']);
  });

  it('behind the last page of a truncated file there is SIGBUS, and memory again when it grows', async () => {
    expect(await python(fs, `
      fd = made('truncated', b't' * 20_000)
      mapping = mmap.mmap(fd, 20_000)
      sum(mapping[:])
      os.ftruncate(fd, 5000)
      within = [mapping[4999], set(mapping[5000:8192]) == {0}]
      ends = [in_child(lambda: mapping[8192]), in_child(lambda: mapping.__setitem__(16_384, 1)), in_child(lambda: mapping[8191])]
      os.ftruncate(fd, 20_000)
      tell([within, ends, set(mapping[5000:20_000]) == {0}, contents('truncated') == b't' * 5000 + bytes(15_000)])
    `)).toEqual([[116, true], ['SIGBUS', 'SIGBUS', 0], true, true]);
  });

  it('what a mapping leaves behind the end of its last page is not in the file when that grows', async () => {
    expect(await python(fs, `
      fd = made('tail', b't' * 100)
      mapping = mmap.mmap(fd, 100)
      address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
      ctypes.memset(address + 50, ord('x'), 1000)
      os.fsync(fd)
      os.ftruncate(fd, 2000)
      tell(contents('tail') == b't' * 50 + b'x' * 50 + bytes(1900))
    `)).toBe(true);
  });

  it('pages written into holes and into space set aside become data', async () => {
    expect(await python(fs, `
      fd = made('into-holes')
      os.ftruncate(fd, 4 * MiB)
      assert fallocate(fd, KEEP_SIZE, 2 * MiB, MiB) == 0
      mapping = mmap.mmap(fd, 4 * MiB)
      mapping[MiB + 5] = 1
      mapping[2 * MiB + 5] = 2
      mapping.flush()
      os.fsync(fd)
      tell([[os.pread(fd, 2, at + 5)[0] for at in (MiB, 2 * MiB)], allocated('into-holes'), [start for start, _ in segments(fd)]])
    `)).toEqual([[1, 2], 1_048_576 + 4096, [1_048_576, 2_097_152]]);
  });

  it('punched and copied ranges are seen through a mapping at once', async () => {
    expect(await python(fs, `
      fd, source = made('below', b'b' * 100_000), made('above', b'a' * 100_000)
      mapping = mmap.mmap(fd, 100_000)
      mapping[50_000:50_010] = b'dirty page'
      fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 10_000, 20_000)
      os.copy_file_range(source, fd, 5000, 0, 49_000)
      wanted = b'b' * 10_000 + bytes(20_000) + b'b' * 19_000 + b'a' * 5000 + b'b' * 46_000
      tell([mapping[:] == wanted, contents('below') == wanted])
    `)).toEqual([true, true]);
  });

  it('a copy has what the mapping of its source held, written back or not', async () => {
    expect(await python(fs, `
      fd, target = made('mapped-source', b's' * 300_000), made('mapped-target')
      mapping = mmap.mmap(fd, 300_000)
      mapping[123_456:123_466] = b'not synced'
      os.copy_file_range(fd, target, 300_000, 0, 0)
      tell([os.pread(target, 10, 123_456).decode(), os.lseek(fd, 0, os.SEEK_DATA)])
    `)).toEqual(['not synced', 0]);
  });

  it('a mapping lives on when its file is closed and has no name', async () => {
    expect(await python(fs, `
      fd = made('gone', b'g' * 8192)
      mapping = mmap.mmap(fd, 8192)
      os.close(fd)
      os.unlink('gone')
      mapping[0:5] = b'still'
      mapping.flush()
      tell([mapping[0:6].decode(), os.path.exists('gone')])
    `)).toEqual(['stillg', false]);
  });

  it('a file can be written from and read into a mapping of itself', async () => {
    expect(await python(fs, `
      fd = made('itself', text(200_000))
      os.ftruncate(fd, 400_000)
      mapping = mmap.mmap(fd, 400_000)
      os.pwrite(fd, memoryview(mapping)[0:200_000], 200_000)
      same = contents('itself') == text(200_000) * 2
      os.preadv(fd, [memoryview(mapping)[0:1000]], 100_000)
      tell([same, contents('itself')[0:1000] == text(200_000)[100_000:101_000]])
    `)).toEqual([true, true]);
  });

  it('direct writes and a mapping of the same file agree', async () => {
    expect(await python(fs, `
      fd = made('direct', b'd' * 65_536)
      mapping, direct = mmap.mmap(fd, 65_536), os.open('direct', os.O_RDWR | os.O_DIRECT)
      mapping[0:5] = b'dirty'
      buffer = mmap.mmap(-1, 4096)
      first = [os.preadv(direct, [buffer], 0), buffer[0:6].decode()]
      buffer[:] = b'w' * 4096
      os.pwritev(direct, [buffer], 8192)
      tell([first, mapping[8191:8194].decode()])
    `)).toEqual([[4096, 'dirtyd'], 'dww']);
  });

  it('a program that runs from the file system cannot be written to', async () => {
    await fs.sh('cp "$(command -v sleep)" running && chmod 755 running');
    expect(await python(fs, `
      import subprocess, time
      child = subprocess.Popen(['./running', '5'])
      result = attempt(os.open, 'running', os.O_WRONLY)
      child.kill()
      child.wait()
      tell(result)
    `)).toBe('ETXTBSY');
  });
}, { localLacks: localLacksPython });
