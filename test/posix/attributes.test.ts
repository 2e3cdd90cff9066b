// Attributes: times and which of them a call changes, modes, and what statx adds.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

/** Beyond what ext4 can hold. */
const YEAR_2600_NS = 19_880_899_200_000_000_007n;

forEachFileSystem((fs) => {
  it('times are set to the nanosecond, far in the past and in the future', async () => {
    expect(await python(fs, `
      os.close(made('dated'))
      told = []
      for when in [0, 1, -1, -999_999_999, -2 * 10 ** 18, 2 ** 31 * 10 ** 9 + 123_456_789, 15 * 10 ** 18${fs.isSdfs ? `, -2 ** 31 * 10 ** 9, ${YEAR_2600_NS}, -${YEAR_2600_NS}` : ''}]:
          os.utime('dated', ns=(when, when + 1))
          found = os.stat('dated')
          told += [when] if (found.st_atime_ns, found.st_mtime_ns) != (when, when + 1) else []
      os.symlink('nowhere', 'dated-link')
      os.utime('dated-link', ns=(5, 6), follow_symlinks=False)
      tell(told + [os.lstat('dated-link').st_atime_ns, os.lstat('dated-link').st_mtime_ns])
    `)).toEqual([5, 6]);
  });

  it('UTIME_NOW and UTIME_OMIT do what they say, each by itself', async () => {
    expect(await python(fs, `
      import time
      os.close(made('now'))
      now = lambda ns: abs(time.time_ns() - ns) < 2 * 10 ** 9
      times = lambda: (os.stat('now').st_atime_ns, os.stat('now').st_mtime_ns)
      utimensat('now', (100, 1), (200, 2))
      told = [times()]
      utimensat('now', (0, UTIME_OMIT), (300, 3))
      told += [times()]
      utimensat('now', (400, 4), (0, UTIME_OMIT))
      told += [times()]
      utimensat('now', (0, UTIME_NOW), (0, UTIME_OMIT))
      told += [now(times()[0]), times()[1]]
      utimensat('now', (5, 5), (0, UTIME_NOW))
      told += [times()[0], now(times()[1]), now(os.stat('now').st_ctime_ns)]
      before = os.stat('now').st_ctime_ns
      told += [utimensat('now', (0, UTIME_OMIT), (0, UTIME_OMIT)), os.stat('now').st_ctime_ns == before, utimensat('now', (0, 10 ** 9), (0, 0))]
      tell(told)
    `)).toEqual([[100e9 + 1, 200e9 + 2], [100e9 + 1, 300e9 + 3], [400e9 + 4, 300e9 + 3], true, 300e9 + 3, 5e9 + 5, true, true, 0, true, 'EINVAL']);
  });

  it('times are never ahead of the clock, and follow the order of the changes', async () => {
    expect(await python(fs, `
      import time
      os.mkdir('order')
      times, wrong = [], 0
      for index in range(500):
          before = time.time_ns()
          os.close(made('order/%d' % index))
          found = os.stat('order/%d' % index).st_mtime_ns
          wrong += not (before - 20_000_000 <= found <= time.time_ns())
          times.append(found)
      tell([wrong, times == sorted(times), ${fs.isSdfs ? 'len(set(times))' : '500'}])
    `)).toEqual([0, true, 500]);
  });

  it('each call changes the times that POSIX and Linux say, and no others', async () => {
    expect(await python(fs, `
      import time
      os.makedirs('changes/from/sub')
      os.makedirs('changes/to')
      os.chdir('changes')
      watched = {'file': 'file', 'from': 'from', 'to': 'to', 'sub': 'from/sub'}
      fd = made('file', b'0123456789')
      def times(names):
          return {key: (os.lstat(name).st_mtime_ns, os.lstat(name).st_ctime_ns) for key, name in names.items() if os.path.lexists(name)}
      def after(act, names=watched):
          one = times(names)
          time.sleep(0.011)
          act()
          two = times(names)
          return ' '.join(sorted(key + ('' if one[key][0] == two[key][0] else ' m') + ('' if one[key][1] == two[key][1] else ' c') for key in one if key in two and one[key] != two[key]))
      def read_it():
          os.pread(fd, 3, 0)
          os.listdir('from')
      moved = {'file': 'to/file', 'from': 'from', 'to': 'to', 'sub': 'from/sub'}
      told = {
          'read': after(read_it),
          'chmod': after(lambda: os.chmod('file', 0o600)),
          'chown': after(lambda: os.chown('file', 5, 5)),
          'chown of nothing': after(lambda: os.chown('file', -1, -1)),
          'write': after(lambda: os.pwrite(fd, b'x', 3)),
          'truncate': after(lambda: os.truncate('file', 5)),
          'truncate to the same size': after(lambda: os.truncate('file', 5)),
          'fallocate': after(lambda: fallocate(fd, 0, 0, 8192)),
          'setxattr': after(lambda: os.setxattr('file', 'user.x', b'1')),
          'utimes': after(lambda: os.utime('file', ns=(7, 7))),
          'open and close': after(lambda: os.close(os.open('file', os.O_RDWR))),
          'link': after(lambda: os.link('file', 'from/link')),
          'unlink': after(lambda: os.unlink('from/link')),
          'create': after(lambda: os.close(made('from/new'))),
          'symlink': after(lambda: os.symlink('x', 'from/symlink')),
          'mkdir': after(lambda: os.mkdir('from/dir')),
          'rmdir': after(lambda: os.rmdir('from/dir')),
          'mkfifo': after(lambda: os.mkfifo('to/fifo')),
          'rename within': after(lambda: os.rename('from/new', 'from/newer')),
          'rename of a directory': after(lambda: os.rename('from/sub', 'to/sub'), {**watched, 'sub': 'to/sub'}),
          'failed rename': after(lambda: attempt(os.rename, 'to/sub', 'file')),
      }
      os.rename('to/sub', 'from/sub')
      os.rename('file', 'from/file')
      os.link('from/file', 'kept')
      told['rename between'] = after(lambda: os.rename('from/file', 'to/file'), {**watched, 'file': 'kept'})
      os.close(made('from/over'))
      os.link('from/over', 'kept-over')
      told['rename over'] = after(lambda: os.rename('from/over', 'to/file'), {**watched, 'file': 'kept', 'over': 'kept-over'})
      os.close(made('from/other'))
      told['exchange'] = after(lambda: renameat2('from/other', 'to/file', EXCHANGE), {'from': 'from', 'to': 'to', 'over': 'kept-over'})
      tell(told)
    `)).toEqual({
      read: '', chmod: 'file c', chown: 'file c', 'chown of nothing': 'file c', write: 'file m c', truncate: 'file m c',
      'truncate to the same size': 'file m c', fallocate: 'file m c', setxattr: 'file c', utimes: 'file m c', 'open and close': '',
      link: 'file c from m c', unlink: 'file c from m c', create: 'from m c', symlink: 'from m c', mkdir: 'from m c', rmdir: 'from m c',
      mkfifo: 'to m c', 'rename within': 'from m c', 'rename of a directory': 'from m c to m c', 'failed rename': '',
      'rename between': 'file c from m c to m c', 'rename over': 'file c from m c over c to m c', exchange: 'from m c over c to m c',
    });
  });

  it('reading sets the access time as relatime does, and not with O_NOATIME', async () => {
    expect(await python(fs, `
      os.mkdir('access')
      os.chdir('access')
      for name in ['read', 'quiet', 'old']:
          os.close(made(name, b'text'))
      os.symlink('read', 'link')
      accessed = lambda name: os.lstat(name).st_atime_ns
      def forget(*names):
          for name in names:
              os.utime(name, ns=(9, os.lstat(name).st_mtime_ns), follow_symlinks=False)
          os.sync()
          open('/proc/sys/vm/drop_caches', 'w').write('3')
      forget('read', 'quiet', 'link', '.')
      os.pread(os.open('read', os.O_RDONLY), 4, 0)
      os.pread(os.open('quiet', os.O_RDONLY | os.O_NOATIME), 4, 0)
      os.readlink('link')
      os.listdir('.')
      told = [accessed('read') > 9, accessed('quiet'), accessed('link') > 9, accessed('.') > 9]
      before = accessed('read')
      open('/proc/sys/vm/drop_caches', 'w').write('3')
      os.pread(os.open('read', os.O_RDONLY), 4, 0)
      told += [accessed('read') == before]
      os.truncate('read', 3)
      os.pread(os.open('read', os.O_RDONLY), 3, 0)
      tell(told + [accessed('read') >= os.stat('read').st_mtime_ns])
    `)).toEqual([true, 9, true, true, true, true]);
  });

  it('the time of birth stays, whatever else changes', async () => {
    expect(await python(fs, `
      import time
      before = time.time_ns()
      os.close(made('born'))
      first = birth('born')
      time.sleep(0.02)
      os.chmod('born', 0o600)
      os.utime('born', ns=(0, 0))
      os.rename('born', 'reborn')
      os.truncate('reborn', 100)
      tell([before - 20_000_000 <= first <= time.time_ns(), birth('reborn') == first, birth('reborn') < os.stat('reborn').st_ctime_ns])
    `)).toEqual([true, true, true]);
  });

  it('all twelve mode bits are kept, on files and directories', async () => {
    expect(await python(fs, `
      os.close(made('bits'))
      os.mkdir('bits-dir')
      wrong = []
      for name in ['bits', 'bits-dir']:
          for bits in [0, 0o1, 0o444, 0o777, 0o1000, 0o2000, 0o4000, 0o7777, 0o640]:
              os.chmod(name, bits)
              wrong += [bits] if stat.S_IMODE(os.stat(name).st_mode) != bits else []
      os.symlink('bits', 'bits-link')
      tell([wrong, mode('bits-link'), os.lstat('bits-link').st_size])
    `)).toEqual([[], '777', 4]);
  });

  it('owners are any 32-bit numbers but the last', async () => {
    expect(await python(fs, `
      os.close(made('owned'))
      os.chown('owned', 2 ** 32 - 2, 2 ** 31 + 7)
      os.symlink('owned', 'owned-link')
      os.lchown('owned-link', 70_000, 80_000)
      found, link = os.stat('owned'), os.lstat('owned-link')
      os.chown('owned', -1, 3)
      tell([found.st_uid, found.st_gid, link.st_uid, link.st_gid, os.stat('owned').st_uid, os.stat('owned').st_gid])
    `)).toEqual([2 ** 32 - 2, 2 ** 31 + 7, 70_000, 80_000, 2 ** 32 - 2, 3]);
  });
}, { localLacks: localLacksPython });
