// Holes and what takes no space or all of it: SEEK_DATA, st_blocks, fallocate, copy_file_range.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

forEachFileSystem((fs) => {
  it('holes read as zeros, take no space, and are found', async () => {
    expect(await python(fs, `
      fd = made('holes')
      os.ftruncate(fd, 64 * MiB)
      os.pwrite(fd, b'x' * 64 * KiB, 8 * MiB)
      os.pwrite(fd, b'y' * 64 * KiB, 32 * MiB)
      tell([segments(fd), allocated('holes'), os.pread(fd, 4, 8 * MiB - 2).decode(), os.lseek(fd, 9 * MiB, os.SEEK_HOLE), os.lseek(fd, 8 * MiB + 5, os.SEEK_DATA)])
    `)).toEqual([[[8 * MiB, 8 * MiB + 64 * KiB], [32 * MiB, 32 * MiB + 64 * KiB]], 128 * KiB, '\0\0xx', 9 * MiB, 8 * MiB + 5]);
  });

  it('the end of a file is a hole, and there is nothing to find behind it', async () => {
    expect(await python(fs, `
      fd = made('end', b'z' * 8192)
      behind = [attempt(os.lseek, fd, at, how) for at in (8192, 8193, 10 ** 12) for how in (os.SEEK_DATA, os.SEEK_HOLE)]
      empty = made('empty')
      os.ftruncate(fd, 20000)
      tell([os.lseek(fd, 0, os.SEEK_HOLE), attempt(os.lseek, fd, -1, os.SEEK_DATA), behind, attempt(os.lseek, empty, 0, os.SEEK_DATA), attempt(os.lseek, fd, 8192, os.SEEK_DATA), attempt(os.lseek, fd, 0, 99)])
    `)).toEqual([8192, 'ENXIO', Array.from({ length: 6 }, () => 'ENXIO'), 'ENXIO', 'ENXIO', 'EINVAL']);
  });

  it('seeking for holes does not move what other descriptors have, and moves one of its own', async () => {
    expect(await python(fs, `
      fd = made('offset', b'a' * 8192)
      other, same = os.open('offset', os.O_RDONLY), os.dup(fd)
      os.lseek(fd, 0, os.SEEK_HOLE)
      tell([os.lseek(each, 0, os.SEEK_CUR) for each in (fd, other, same)])
    `)).toEqual([8192, 0, 8192]);
  });

  it('fallocate sets space aside: it shows in st_blocks, reads as zeros, and is a hole until it is written', async () => {
    expect(await python(fs, `
      fd = made('set-aside')
      result = fallocate(fd, 0, 0, 8 * MiB)
      before = [os.fstat(fd).st_size, allocated('set-aside'), segments(fd)]
      os.pwrite(fd, b'w' * 64 * KiB, MiB)
      os.fsync(fd)
      tell([result, before, allocated('set-aside'), segments(fd), set(os.pread(fd, 4096, 0)) == {0}])
    `)).toEqual([0, [8 * MiB, 8 * MiB, []], 8 * MiB, [[MiB, MiB + 64 * KiB]], true]);
  });

  it('fallocate with KEEP_SIZE sets space aside behind the end, and truncation to the same size gives it back', async () => {
    expect(await python(fs, `
      fd = made('keep', b'k' * 4096)
      result = fallocate(fd, KEEP_SIZE, 0, 4 * MiB)
      sizes = [os.fstat(fd).st_size, allocated('keep')]
      os.ftruncate(fd, 64 * KiB)
      grown = allocated('keep')
      os.ftruncate(fd, 64 * KiB)
      same = allocated('keep')
      os.ftruncate(fd, 4096)
      tell([result, sizes, grown, same, allocated('keep')])
    `)).toEqual([0, [4096, 4 * MiB], 4 * MiB, 64 * KiB, 4096]);
  });

  it('posix_fallocate grows a file and leaves what is in it', async () => {
    expect(await python(fs, `
      fd = made('grown', b'kept')
      os.posix_fallocate(fd, 2, MiB)
      tell([os.fstat(fd).st_size, os.pread(fd, 6, 0).decode(), attempt(os.posix_fallocate, fd, 0, 0), attempt(os.posix_fallocate, fd, -1, 5)])
    `)).toEqual([MiB + 2, 'kept\0\0', 'EINVAL', 'EINVAL']);
  });

  it('a punched hole gives its space back and keeps the size, also over the end', async () => {
    expect(await python(fs, `
      fd = made('punched', b'p' * 4 * MiB)
      os.fsync(fd)
      results = [fallocate(fd, PUNCH_HOLE | KEEP_SIZE, MiB, MiB), fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 3 * MiB, 10 * MiB), fallocate(fd, PUNCH_HOLE, 0, 5)]
      tell([results, os.fstat(fd).st_size, allocated('punched'), segments(fd), set(os.pread(fd, MiB, MiB)) == {0}, os.pread(fd, 2, MiB - 2).decode(), os.pread(fd, 2, 2 * MiB).decode()])
    `)).toEqual([[0, 0, 'EOPNOTSUPP'], 4 * MiB, 2 * MiB, [[0, MiB], [2 * MiB, 3 * MiB]], true, 'pp', 'pp']);
  });

  it('a small punch inside of blocks zeroes exactly its bytes', async () => {
    expect(await python(fs, `
      fd = made('pin-prick', b'q' * 200_000)
      os.fsync(fd)
      fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100_001, 77)
      wanted = b'q' * 100_001 + bytes(77) + b'q' * (200_000 - 100_078)
      tell(contents('pin-prick') == wanted)
    `)).toBe(true);
  });

  it('a zeroed range reads as zeros and keeps its space; without KEEP_SIZE it grows the file', async () => {
    expect(await python(fs, `
      fd = made('zeroed', b'z' * 2 * MiB)
      os.fsync(fd)
      results = [fallocate(fd, ZERO_RANGE, MiB, 4 * MiB), os.fstat(fd).st_size, allocated('zeroed')]
      results += [fallocate(fd, ZERO_RANGE | KEEP_SIZE, 5 * MiB, MiB), os.fstat(fd).st_size, allocated('zeroed')]
      tell([results, contents('zeroed') == b'z' * MiB + bytes(4 * MiB)])
    `)).toEqual([[0, 5 * MiB, 5 * MiB, 0, 5 * MiB, 6 * MiB], true]);
  });

  it('fallocate refuses what makes no sense', async () => {
    expect(await python(fs, `
      fd = made('nonsense', b'n' * 4096)
      reader, directory = os.open('nonsense', os.O_RDONLY), os.open('.', os.O_RDONLY)
      ends = os.pipe()
      tell([fallocate(fd, 0, 0, 0), fallocate(fd, 0, -1, 5), fallocate(fd, 0, 5, -1), fallocate(reader, 0, 0, 5), fallocate(directory, 0, 0, 5), fallocate(ends[1], 0, 0, 5), fallocate(fd, ZERO_RANGE | PUNCH_HOLE | KEEP_SIZE, 0, 5), fallocate(fd, 0, 2 ** 63 - 1, 2 ** 63 - 1)])
    `)).toEqual(['EINVAL', 'EINVAL', 'EINVAL', 'EBADF', 'EBADF', 'ESPIPE', 'EOPNOTSUPP', 'EFBIG']);
  });

  it.runIf(fs.isSdfs)('ranges are not collapsed, inserted or unshared', async () => {
    expect(await python(fs, `
      fd = made('others', b'o' * MiB)
      tell([fallocate(fd, mode, 0, 4096) for mode in (COLLAPSE_RANGE, INSERT_RANGE, UNSHARE_RANGE)])
    `)).toEqual(['EOPNOTSUPP', 'EOPNOTSUPP', 'EOPNOTSUPP']);
  });

  it.runIf(fs.isSdfs)('a volume can be asked for more than it has, and says no before anything is changed', async () => {
    expect(await python(fs, `
      fd = made('too-much', b't')
      tell([fallocate(fd, 0, 0, 2 ** 50), os.fstat(fd).st_size, allocated('too-much')])
    `)).toEqual(['ENOSPC', 1, 4096]);
  });

  it('copy_file_range copies any range, to its end, and moves the offsets that it was not given', async () => {
    expect(await python(fs, `
      data = text(3_000_000)
      source, target = made('source', data), made('target', b'old' * 1_000_000)
      os.lseek(source, 1_234_567, os.SEEK_SET)
      copied, total = None, 0
      while copied != 0:
          copied = os.copy_file_range(source, target, 10 ** 9, offset_dst=77_777 + total)
          total += copied
      wanted = bytearray(b'old' * 1_000_000)
      wanted[77_777:77_777 + len(data) - 1_234_567] = data[1_234_567:]
      tell([total, os.lseek(source, 0, os.SEEK_CUR), os.lseek(target, 0, os.SEEK_CUR), contents('target') == bytes(wanted)])
    `)).toEqual([3_000_000 - 1_234_567, 3_000_000, 0, true]);
  });

  it('copy_file_range copies nothing from behind the end, and refuses to overlap itself', async () => {
    expect(await python(fs, `
      fd, other = made('self', text(100_000)), made('other')
      reader, appender, directory = os.open('self', os.O_RDONLY), os.open('other', os.O_WRONLY | os.O_APPEND), os.open('.', os.O_RDONLY)
      copy = lambda *arguments: attempt(os.copy_file_range, *arguments)
      tell([copy(fd, other, 10, 100_000, 0), copy(fd, other, 10, 200_000, 0), os.fstat(other).st_size,
        copy(fd, fd, 50_000, 0, 49_999), copy(fd, fd, 50_000, 0, 0), copy(fd, fd, 50_000, 0, 50_000),
        copy(fd, reader, 5, 0, 0), copy(fd, appender, 5, 0, 0), copy(directory, other, 5, 0, 0), copy(fd, other, 0, 0, 0), contents('self') == text(50_000) * 2])
    `)).toEqual([0, 0, 0, 'EINVAL', 'EINVAL', 50_000, 'EBADF', 'EBADF', 'EISDIR', 0, true]);
  });

  it('copies and their sources are changed apart from each other', async () => {
    expect(await python(fs, `
      data = text(2_000_000)
      source, target = made('parent', data), made('child')
      assert os.copy_file_range(source, target, 2_000_000, 0, 0) == 2_000_000
      os.pwrite(source, b'S' * 5000, 1_000_000)
      os.pwrite(target, b'T' * 5000, 500_000)
      os.ftruncate(source, 1_500_000)
      fallocate(target, PUNCH_HOLE | KEEP_SIZE, 0, 10_000)
      one, two = bytearray(data[:1_500_000]), bytearray(data)
      one[1_000_000:1_005_000] = b'S' * 5000
      two[500_000:505_000] = b'T' * 5000
      two[0:10_000] = bytes(10_000)
      before = [contents('parent') == bytes(one), contents('child') == bytes(two)]
      os.unlink('parent')
      os.close(source)
      tell([*before, contents('child') == bytes(two)])
    `)).toEqual([true, true, true]);
  });

  it('a copy over data replaces it, and holes of the source are copied as zeros', async () => {
    expect(await python(fs, `
      source, target = made('with-hole', b'd' * 100_000), made('covered', b'c' * 400_000)
      os.ftruncate(source, 300_000)
      os.pwrite(source, b'e' * 10, 250_000)
      assert os.copy_file_range(source, target, 300_000, 0, 50_000) == 300_000
      tell(contents('covered') == b'c' * 50_000 + b'd' * 100_000 + bytes(150_000) + b'e' * 10 + bytes(49_990) + b'c' * 50_000)
    `)).toBe(true);
  });

  it.runIf(fs.isSdfs)('a copy shares its blocks: cp of a large file takes no space', async () => {
    const before = Number(await fs.sh(`
      head -c 60000000 /dev/urandom >large && sync large && sleep 1.5 && stat -f -c %f .
    `));
    const after = Number(await fs.sh('sleep 1.2; stat -f -c %f . >/dev/null; cp --reflink=auto large copied && sync copied; sleep 1.2; stat -f -c %f . >/dev/null; sleep 0.3; stat -f -c %f .'));
    expect(before - after).toBeLessThan(3_000);
    expect(await fs.sh('cmp large copied && stat -c %b copied')).toBe(`${Math.ceil(60_000_000 / 4096) * 8}\n`);
  });

  it.runIf(fs.isSdfs)('files cannot be cloned by ioctl, which the kernel does not pass on, and cp says so', async () => {
    expect(await python(fs, `
      source, target = made('original', b'o' * 8192), made('clone')
      FICLONE, FICLONERANGE = 0x40049409, 0x4020940d
      tell([attempt(fcntl.ioctl, target, FICLONE, source), attempt(fcntl.ioctl, target, FICLONERANGE, struct.pack('qQQQ', source, 0, 0, 0))])
    `)).toEqual(['EOPNOTSUPP', 'EOPNOTSUPP']);
    expect((await fs.run('cp', ['--reflink=always', 'original', 'always'])).code).toBe(1);
  });

  it('cp, tar and rsync keep holes', async () => {
    expect(await python(fs, `
      fd = made('holey')
      os.ftruncate(fd, 32 * MiB)
      os.pwrite(fd, b'h' * 65536, 16 * MiB)
      tell(0)
    `)).toBe(0);
    await fs.sh('cp --sparse=always holey holey-cp && tar -cSf holey.tar holey && mkdir -p out && tar -xSf holey.tar -C out && cmp holey holey-cp && cmp holey out/holey');
    expect(await fs.sh('stat -c %b holey holey-cp out/holey')).toBe('128\n128\n128\n');
  });
}, { localLacks: localLacksPython });
