// Listings that stay consistent while their directory changes: readdir, telldir, seekdir, rewinddir.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

/** The C library's directory streams, entry by entry. */
const STREAMS = `
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
libc.telldir.restype = ctypes.c_long
class Stream:
    def __init__(self, name):
        self.handle = libc.opendir(os.fsencode(name))
        assert self.handle
    def next(self):
        entry = libc.readdir(self.handle)
        if not entry:
            return None
        inode, _, length, kind = struct.unpack('<QqHB', ctypes.string_at(entry, 19))
        return (os.fsdecode(ctypes.string_at(entry + 19)), inode, kind)
    def rest(self):
        found = []
        while (entry := self.next()) is not None:
            found.append(entry[0])
        return found
    def tell(self):
        return libc.telldir(self.handle)
    def seek(self, position):
        libc.seekdir(self.handle, position)
    def rewind(self):
        libc.rewinddir(self.handle)
def touch(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
def inside(name):
    os.mkdir(name)
    os.chdir(name)
`;

forEachFileSystem((fs) => {
  const streams = (code: string): Promise<unknown> => {
    const lines = code.split('\n').filter((line) => line.trim() !== '');
    const indent = Math.min(...lines.map((line) => line.length - line.trimStart().length));
    return python(fs, STREAMS + lines.map((line) => line.slice(indent)).join('\n'));
  };

  it('an entry that stays is listed once while thousands come, go and are renamed', { timeout: 60_000 }, async () => {
    expect(await streams(`
      inside('changing')
      stay = ['stay-%d' % index for index in range(3000)]
      for index, name in enumerate(stay):
          touch(name)
          touch('go-%d' % index)
      stream, seen, step = Stream('.'), [], 0
      while (entry := stream.next()) is not None:
          seen.append(entry[0])
          step += 1
          if step % 2 == 0 and step // 2 <= 1500:
              os.unlink('go-%d' % (step // 2))
              touch('new-%d' % step)
              os.rename('go-%d' % (3000 - step // 2), 'renamed-%d' % step) if step // 2 < 1400 else None
      tell([[name for name in stay if seen.count(name) != 1], len(seen) - len(set(seen)), {'.', '..'} <= set(seen)])
    `)).toEqual([[], 0, true]);
  });

  it('and while another process changes it', { timeout: 60_000 }, async () => {
    expect(await streams(`
      inside('busy')
      stay = {'stay-%d' % index for index in range(2000)}
      for name in stay:
          touch(name)
      pid = os.fork()
      if pid == 0:
          for round in range(600):
              touch('come-%d' % (round % 500))
              os.unlink('come-%d' % ((round * 7) % 500)) if os.path.exists('come-%d' % ((round * 7) % 500)) else None
          os._exit(0)
      problems, listings = [], 0
      while os.waitpid(pid, os.WNOHANG)[0] == 0:
          seen = Stream('.').rest()
          listings += 1
          kept = sorted(name for name in seen if name in stay)
          if kept != sorted(stay):
              problems.append([len(kept), len(set(kept)), sorted(stay - set(kept))[:3]])
      tell([problems[:3], listings > 0])
    `)).toEqual([[], true]);
  });

  it('a position that was told leads back to the same entry, whatever was removed before it', async () => {
    expect(await streams(`
      inside('positions')
      for index in range(1000):
          touch('entry-%d' % index)
      stream, positions = Stream('.'), []
      while True:
          at = stream.tell()
          entry = stream.next()
          if entry is None:
              break
          positions.append((at, entry[0]))
      end = at
      names = [name for _, name in positions]
      wrong = []
      for at, name in positions[::-7] + positions[::13]:
          stream.seek(at)
          wrong += [name] if stream.next()[0] != name else []
      for _, name in positions[:500]:
          os.unlink(name) if name not in ('.', '..') else None
      for at, name in positions[500::11]:
          stream.seek(at)
          wrong += [name] if stream.next()[0] != name else []
      stream.seek(positions[700][0])
      rest = stream.rest()
      stream.seek(end)
      tell([wrong, rest == names[700:], stream.rest()])
    `)).toEqual([[], true, []]);
  });

  it('a stream that is rewound, or opened anew, shows all that is there now', async () => {
    expect(await streams(`
      inside('rewound')
      for name in ['a', 'b', 'c']:
          touch(name)
      stream = Stream('.')
      told = [sorted(stream.rest())]
      os.unlink('a')
      touch('d')
      stream.rewind()
      told += [sorted(stream.rest())]
      for round in range(200):
          os.rename('d' if round % 2 == 0 else 'e', 'e' if round % 2 == 0 else 'd')
          assert sorted(os.listdir('.')) == ['b', 'c', 'e' if round % 2 == 0 else 'd']
      tell(told)
    `)).toEqual([['.', '..', 'a', 'b', 'c'], ['.', '..', 'b', 'c', 'd']]);
  });

  it('a directory can be emptied while it is listed, and removed while it is open', async () => {
    expect(await streams(`
      inside('emptied')
      for index in range(5000):
          touch('entry-%d' % index)
      stream = Stream('.')
      while (entry := stream.next()) is not None:
          os.unlink(entry[0]) if entry[0] not in ('.', '..') else None
      told = [os.listdir('.'), os.stat('.').st_nlink]
      os.chdir('..')
      stream = Stream('emptied')
      os.rmdir('emptied')
      tell(told + [stream.rest(), os.path.exists('emptied')])
    `)).toEqual([[], 2, [], false]);
  });

  it('entries have the type and the inode number of what they name', async () => {
    expect(await streams(`
      inside('types')
      touch('file')
      os.mkdir('dir')
      os.symlink('x', 'link')
      os.mkfifo('fifo')
      os.mknod('char', 0o600 | stat.S_IFCHR, os.makedev(1, 3))
      os.mknod('block', 0o600 | stat.S_IFBLK, os.makedev(7, 0))
      os.mknod('socket', 0o600 | stat.S_IFSOCK)
      stream, wrong, seen = Stream('.'), [], 0
      while (entry := stream.next()) is not None:
          name, inode, kind = entry
          found = os.lstat(name)
          seen += 1
          wrong += [name] if kind != found.st_mode >> 12 or inode != found.st_ino else []
      tell([seen, wrong])
    `)).toEqual([9, []]);
  });

  it('several streams of one directory go their own ways', async () => {
    expect(await streams(`
      inside('several')
      for index in range(700):
          touch('entry-%d' % index)
      everything = Stream('.').rest()
      some = [Stream('.') for _ in range(4)]
      seen = [[] for _ in some]
      for step in range(800):
          for index, stream in enumerate(some):
              for _ in range(index + 1):
                  entry = stream.next()
                  seen[index] += [entry[0]] if entry is not None else []
      tell([one == everything for one in seen])
    `)).toEqual([true, true, true, true]);
  });

  it('a large directory is listed in full, with attributes', { timeout: 60_000 }, async () => {
    expect(await streams(`
      inside('large')
      for index in range(10_000):
          touch('%d' % index)
      names = os.listdir('.')
      with os.scandir('.') as found:
          sizes = sum(entry.stat().st_nlink for entry in found)
      tell([len(names), len(set(names)), sizes])
    `)).toEqual([10_000, 10_000, 10_000]);
  });
}, { localLacks: localLacksPython });
