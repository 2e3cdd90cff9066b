// What ordinary users may do: owners, groups, set-id bits, sticky directories.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

forEachFileSystem((fs) => {
  it('changes of data take set-id bits away from what an ordinary user changes, not from what root does', async () => {
    expect(await python(fs, `
      os.mkdir('setid')
      os.chdir('setid')
      source = made('source', b's' * 100)
      def copy():
          fd = os.open('file', os.O_RDWR)
          os.copy_file_range(os.open('source', os.O_RDONLY), fd, 10, 0, 0)
      changes = {
          'write': lambda: os.write(os.open('file', os.O_WRONLY), b'x'),
          'append': lambda: os.write(os.open('file', os.O_WRONLY | os.O_APPEND), b'x'),
          'truncate': lambda: os.truncate('file', 3),
          'grow': lambda: os.truncate('file', 300),
          'O_TRUNC': lambda: os.close(os.open('file', os.O_WRONLY | os.O_TRUNC)),
          'O_CREAT and O_TRUNC': lambda: os.close(os.open('file', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)),
          'fallocate': lambda: fallocate(os.open('file', os.O_WRONLY), 0, 0, 5000),
          'punch': lambda: fallocate(os.open('file', os.O_WRONLY), PUNCH_HOLE | KEEP_SIZE, 0, 4),
          'copy': copy,
          'read': lambda: os.read(os.open('file', os.O_RDONLY), 3),
      }
      def after(act, bits, uid):
          if os.path.exists('file'):
              os.unlink('file')
          os.close(made('file', b'0123456789'))
          os.chmod('file', bits)
          act() if uid == 0 else by_user(uid, lambda: act() and None)
          return mode('file')
      told = {name: [after(act, 0o6777, 0), after(act, 0o6777, 4000), after(act, 0o4666, 4000), after(act, 0o2776, 4000)] for name, act in changes.items()}
      tell({name: ' '.join(found) for name, found in told.items()})
    `)).toEqual({
      ...Object.fromEntries(['write', 'append', 'truncate', 'grow', 'O_TRUNC', 'O_CREAT and O_TRUNC', 'fallocate', 'punch', 'copy'].map((name) => [name, '6777 777 666 776'])),
      read: '6777 6777 4666 2776',
    });
  });

  it('chown takes set-id bits from files for everybody, and leaves them to directories', async () => {
    expect(await python(fs, `
      os.mkdir('chowned')
      os.chmod('chowned', 0o6755)
      os.chown('chowned', 4000, 4000)
      told = [mode('chowned')]
      for bits in [0o6755, 0o4644]:
          os.close(made('c'))
          os.chown('c', 4000, 4000)
          os.chmod('c', bits)
          os.chown('c', 4000, 4000)
          told += [mode('c')]
          os.chmod('c', bits)
          told += [by_user(4000, lambda: os.chown('c', -1, 4001), groups=[4001]), mode('c')]
          os.unlink('c')
      os.close(made('same'))
      os.chmod('same', 0o4755)
      os.chown('same', -1, -1)
      tell(told + [mode('same')])
    `)).toEqual(['6755', '755', null, '755', '644', null, '644', '755']);
  });

  it('a capability of a file goes with any write, truncation or chown, also by root', async () => {
    expect(await python(fs, `
      capability = struct.pack('<5I', 0x02000001, 1 << 10, 0, 0, 0)
      def after(act):
          os.close(made('capable', b'program'))
          os.chmod('capable', 0o755)
          os.setxattr('capable', 'security.capability', capability)
          kept = 'security.capability' in os.listxattr('capable')
          act()
          gone = 'security.capability' not in os.listxattr('capable')
          os.unlink('capable')
          return kept and gone
      tell([after(act) for act in [
          lambda: os.write(os.open('capable', os.O_WRONLY), b'x'),
          lambda: os.truncate('capable', 2),
          lambda: os.chown('capable', 1, 1),
          lambda: fallocate(os.open('capable', os.O_WRONLY), 0, 0, 9000),
          lambda: os.close(os.open('capable', os.O_WRONLY | os.O_TRUNC)),
          lambda: None,
          lambda: os.chmod('capable', 0o700),
      ]])
    `)).toEqual([true, true, true, true, true, false, false]);
  });

  it('supplementary groups count', async () => {
    expect(await python(fs, `
      os.mkdir('groups')
      os.chmod('groups', 0o777)
      os.close(made('groups/shared', b'for 5000'))
      os.chown('groups/shared', 0, 5000)
      os.chmod('groups/shared', 0o060)
      os.mkdir('groups/set')
      os.chown('groups/set', 0, 5000)
      os.chmod('groups/set', 0o2777)
      read = lambda: contents('groups/shared').decode()
      def make(name, kind=None):
          os.umask(0)
          os.close(os.open('groups/set/' + name, os.O_CREAT | os.O_WRONLY, 0o2775))
          os.mkdir('groups/set/' + name + '-dir', 0o755)
          found = os.stat('groups/set/' + name)
          return [found.st_gid, mode('groups/set/' + name), os.stat('groups/set/' + name + '-dir').st_gid, mode('groups/set/' + name + '-dir')]
      def own(group):
          os.close(os.open('groups/own', os.O_CREAT | os.O_WRONLY, 0o644))
          os.chown('groups/own', -1, group)
          os.chmod('groups/own', 0o2755)
          return [os.stat('groups/own').st_gid, mode('groups/own')]
      told = [by_user(4000, read), by_user(4000, read, groups=[5000]), by_user(4000, read, gid=5000)]
      told += [by_user(4000, lambda: make('member'), groups=[7, 5000]), by_user(4000, lambda: make('stranger')), make('root')]
      told += [by_user(4000, lambda: own(5000)), by_user(4000, lambda: own(5000), groups=[5000])]
      os.chown('groups/own', 4000, 5000)
      told += [by_user(4000, lambda: os.chmod('groups/own', 0o2755) or mode('groups/own'))]
      tell(told)
    `)).toEqual([
      'EACCES', 'for 5000', 'for 5000', [5000, '2775', 5000, '2755'], [5000, '775', 5000, '2755'], [5000, '2775', 5000, '2755'],
      'EPERM', [5000, '2755'], '755',
    ]);
  });

  it('in a sticky directory only the owners of a name or of the directory take it away', async () => {
    expect(await python(fs, `
      os.mkdir('sticky')
      os.chown('sticky', 4002, 4002)
      os.chmod('sticky', 0o1777)
      os.chdir('sticky')
      def make(uid, name):
          return by_user(uid, lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o666)))
      for uid, name in [(4000, 'mine'), (4000, 'mine2'), (4001, 'theirs'), (4001, 'theirs2')]:
          make(uid, name)
      by_user(4000, lambda: os.mkdir('dir'))
      told = [by_user(4001, act) for act in [
          lambda: os.unlink('mine'), lambda: os.rename('mine', 'taken'), lambda: os.rename('theirs', 'mine'), lambda: os.rmdir('dir'),
          lambda: renameat2('theirs', 'mine', EXCHANGE), lambda: os.rename('theirs', 'renamed'),
      ]]
      told += [by_user(4002, lambda: os.unlink('mine')), by_user(4000, lambda: os.unlink('mine2')), attempt(os.unlink, 'renamed'), sorted(os.listdir('.'))]
      tell(told)
    `)).toEqual(['EPERM', 'EPERM', 'EPERM', 'EPERM', 'EPERM', null, null, null, null, ['dir', 'theirs2']]);
  });

  it('modes, owners and times are changed by those who may', async () => {
    expect(await python(fs, `
      os.mkdir('may')
      os.chmod('may', 0o777)
      os.close(made('may/file', b'x'))
      os.chown('may/file', 4000, 4000)
      os.chmod('may/file', 0o646)
      name = 'may/file'
      told = [by_user(4001, act) for act in [
          lambda: os.chmod(name, 0o777), lambda: os.chown(name, 4001, -1), lambda: os.chown(name, -1, 4001), lambda: os.utime(name, ns=(1, 1)),
          lambda: utimensat(name, (0, UTIME_NOW), (0, UTIME_NOW)), lambda: utimensat(name, (0, UTIME_NOW), (0, UTIME_OMIT)), lambda: os.setxattr(name, 'user.x', b'1'),
      ]]
      os.chmod(name, 0o644)
      told += [by_user(4001, lambda: os.utime(name))]
      told += [by_user(4000, act) for act in [
          lambda: os.chmod(name, 0o600), lambda: os.chown(name, 4001, -1), lambda: os.chown(name, 4000, 4000), lambda: os.utime(name, ns=(1, 1)),
      ]]
      tell(told)
    `)).toEqual(['EPERM', 'EPERM', 'EPERM', 'EPERM', 0, 'EPERM', null, 'EACCES', null, 'EPERM', null, null]);
  });

  it('directories are entered, listed and changed as their modes say, each by itself', async () => {
    expect(await python(fs, `
      os.mkdir('gates')
      told = []
      for bits in [0o1, 0o4, 0o5, 0o2, 0o3, 0o7, 0]:
          directory = 'gates/%o' % bits
          os.mkdir(directory)
          os.close(made(directory + '/in', b'i'))
          os.chmod(directory + '/in', 0o666)
          os.chmod(directory, bits)
          told.append([by_user(4000, act) for act in [
              lambda: os.listdir(directory), lambda: contents(directory + '/in').decode(), lambda: os.close(os.open(directory + '/new', os.O_CREAT | os.O_WRONLY)), lambda: os.unlink(directory + '/in'),
          ]])
      tell(told)
    `)).toEqual([
      ['EACCES', 'i', 'EACCES', 'EACCES'], [['in'], 'EACCES', 'EACCES', 'EACCES'], [['in'], 'i', 'EACCES', 'EACCES'], ['EACCES', 'EACCES', 'EACCES', 'EACCES'],
      ['EACCES', 'i', null, null], [['in'], 'i', null, null], ['EACCES', 'EACCES', 'EACCES', 'EACCES'],
    ]);
  });

  it('what a user makes is the user\'s own, and devices are for root', async () => {
    expect(await python(fs, `
      os.mkdir('own')
      os.chmod('own', 0o777)
      os.chdir('own')
      def make():
          os.close(os.open('file', os.O_CREAT | os.O_WRONLY))
          os.mkdir('dir')
          os.symlink('x', 'link')
          os.mkfifo('fifo')
          os.mknod('socket', 0o600 | stat.S_IFSOCK)
          return [attempt(os.mknod, 'device', 0o600 | stat.S_IFCHR, os.makedev(1, 3)), attempt(os.mknod, 'block', 0o600 | stat.S_IFBLK, os.makedev(1, 3))]
      told = by_user(4000, make, gid=4005, groups=[1, 2])
      tell(told + sorted({(os.lstat(name).st_uid, os.lstat(name).st_gid) for name in os.listdir('.')}))
    `)).toEqual(['EPERM', 'EPERM', [4000, 4005]]);
  });
}, { localLacks: localLacksPython });
