// Names: links, renames in all their forms, files without a name, and the errors that Linux gives.
import { expect, it } from 'vitest';
import { localLacksPython, python } from './python.ts';
import { forEachFileSystem } from './where.ts';

forEachFileSystem((fs) => {
  it('renameat2 refuses to replace, exchanges, and leaves whiteouts', async () => {
    expect(await python(fs, `
      os.makedirs('r2/dir/inner')
      os.close(made('r2/a', b'a'))
      os.close(made('r2/b', b'b'))
      os.chdir('r2')
      told = [renameat2('a', 'b', NOREPLACE), renameat2('a', 'c', NOREPLACE), renameat2('c', 'absent', EXCHANGE), renameat2('absent', 'c', EXCHANGE)]
      told += [renameat2('c', 'b', EXCHANGE), contents('b').decode(), contents('c').decode()]
      told += [renameat2('b', 'dir/inner', EXCHANGE), contents('dir/inner').decode(), os.stat('b').st_nlink, os.stat('dir').st_nlink, os.stat('.').st_nlink]
      told += [os.stat('b/..').st_ino == os.stat('.').st_ino, renameat2('b', 'c', NOREPLACE | EXCHANGE)]
      told += [renameat2('c', 'moved', WHITEOUT), stat.S_ISCHR(os.lstat('c').st_mode), os.lstat('c').st_rdev, contents('moved').decode()]
      told += [renameat2('moved', 'dir/inner', WHITEOUT | NOREPLACE), renameat2('moved', 'again', WHITEOUT | NOREPLACE), sorted(os.listdir('.'))]
      told += [renameat2('again', 'again', NOREPLACE), renameat2('again', 'dir/inner', WHITEOUT), contents('dir/inner').decode(), os.stat('again').st_rdev]
      tell(told)
    `)).toEqual([
      'EEXIST', 0, 'ENOENT', 'ENOENT', 0, 'a', 'b', 0, 'a', 2, 2, 4, true, 'EINVAL', 0, true, 0, 'b', 'EEXIST', 0, ['again', 'b', 'c', 'dir', 'moved'],
      'EEXIST', 0, 'b', 0,
    ]);
  });

  it('link counts are right after links, removals, renames and exchanges', async () => {
    expect(await python(fs, `
      os.mkdir('counts')
      os.chdir('counts')
      os.close(made('one', b'1'))
      count = lambda name: os.lstat(name).st_nlink
      told = []
      for name in ['two', 'three']:
          os.link('one', name)
      told += [count('one'), len({os.stat(name).st_ino for name in ['one', 'two', 'three']})]
      os.rename('one', 'two')
      told += [sorted(os.listdir('.')), count('three')]
      fd = made('other', b'2')
      os.rename('three', 'other')
      told += [os.fstat(fd).st_nlink, count('other'), os.pread(fd, 9, 0).decode()]
      os.symlink('one', 'sym')
      os.link('sym', 'sym2', follow_symlinks=False)
      os.mkfifo('fifo')
      os.link('fifo', 'fifo2')
      told += [count('sym2'), count('fifo')]
      os.makedirs('d1/sub')
      os.mkdir('d2')
      told += [count('.'), count('d1'), count('d2')]
      os.rename('d1/sub', 'd2/sub')
      told += [count('d1'), count('d2')]
      os.rename('d1', 'd2/sub')
      told += [count('.'), count('d2'), attempt(os.link, 'd2', 'd3')]
      os.rmdir('d2/sub')
      told += [count('d2')]
      tell(told)
    `)).toEqual([3, 1, ['one', 'three', 'two'], 3, 0, 3, '2', 2, 2, 4, 3, 2, 2, 3, 3, 3, 'EPERM', 2]);
  });

  it('what is open or worked in stays usable when another takes its name', async () => {
    expect(await python(fs, `
      os.makedirs('open/new/in')
      os.makedirs('open/old')
      os.chdir('open')
      kept = made('file', b'old bytes')
      os.close(made('next', b'new'))
      os.rename('next', 'file')
      os.pwrite(kept, b'OLD', 0)
      told = [os.pread(kept, 99, 0).decode(), contents('file').decode(), os.fstat(kept).st_nlink, link_open_file(kept, 'again')]
      directory = os.open('old', os.O_RDONLY)
      os.chdir('old')
      told += [attempt(os.rename, '../new', '../old'), attempt(os.rename, '../new/in', '../old')]
      told += [os.fstat(directory).st_nlink, attempt(os.listdir, directory), attempt(os.mkdir, 'below'), attempt(os.open, 'f', os.O_CREAT | os.O_RDWR), attempt(os.getcwd)]
      tell(told)
    `)).toEqual(['OLD bytes', 'new', 0, 'ENOENT', null, 'ENOENT', 0, [], 'ENOENT', 'ENOENT', 'ENOENT']);
  });

  it('a file without a name can be written and linked, unless that was excluded', async () => {
    expect(await python(fs, `
      os.makedirs('unnamed')
      os.chmod('unnamed', 0o2777)
      os.chown('unnamed', 0, 777)
      os.chmod('unnamed', 0o2777)
      fd = os.open('unnamed', os.O_TMPFILE | os.O_RDWR, 0o640)
      os.write(fd, b'text')
      told = [os.fstat(fd).st_nlink, os.fstat(fd).st_gid, os.listdir('unnamed'), link_open_file(fd, 'unnamed/named'), os.fstat(fd).st_nlink]
      told += [contents('unnamed/named').decode(), mode('unnamed/named'), link_open_file(fd, 'unnamed/second'), link_open_file(fd, 'unnamed/second')]
      os.unlink('unnamed/named')
      os.unlink('unnamed/second')
      told += [os.fstat(fd).st_nlink, link_open_file(fd, 'unnamed/third'), os.pread(fd, 9, 0).decode()]
      private = os.open('unnamed', os.O_TMPFILE | os.O_WRONLY | os.O_EXCL, 0o600)
      told += [link_open_file(private, 'unnamed/private'), attempt(os.open, 'unnamed/none', os.O_TMPFILE | os.O_RDWR), attempt(os.open, 'unnamed', os.O_TMPFILE | os.O_RDONLY)]
      tell(told)
    `)).toEqual([0, 777, [], 0, 1, 'text', '640', 0, 'EEXIST', 0, 'ENOENT', 'text', 'ENOENT', 'ENOENT', 'EINVAL']);
  });

  it('names have up to 255 bytes in every call, and paths up to 4095', async () => {
    expect(await python(fs, `
      os.mkdir('long')
      os.chdir('long')
      most, over = 'm' * 255, 'o' * 256
      os.close(made(most))
      os.close(made('x'))
      open_new = lambda name: os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
      calls = [os.stat, os.mkdir, os.mkfifo, os.unlink, os.rmdir, open_new, lambda name: os.symlink('t', name), lambda name: os.link('x', name),
               lambda name: os.rename('x', name), lambda name: os.rename(name, 'x')]
      told = [sorted({str(attempt(call, over)) for call in calls}), os.path.exists(most)]
      os.rename(most, 'n' * 255)
      told += [os.path.exists('n' * 255), isinstance(attempt(os.stat, './' * 2047 + '.'), os.stat_result), attempt(os.stat, './' * 2048)]
      told += [attempt(os.symlink, 'l' * 4095, 'link'), len(os.readlink('link')), attempt(os.symlink, 'l' * 4096, 'link2')]
      tell(told)
    `)).toEqual([['ENAMETOOLONG'], true, true, true, 'ENAMETOOLONG', null, 4095, 'ENAMETOOLONG']);
  });

  it('errors are those of Linux', async () => {
    const told = await python(fs, `
      os.makedirs('errors/full/sub')
      os.mkdir('errors/empty')
      os.chdir('errors')
      os.close(made('file'))
      os.symlink('loop', 'loop')
      os.symlink('file', 'hop0')
      for hop in range(1, 42):
          os.symlink('hop%d' % (hop - 1), 'hop%d' % hop)
      make = lambda name: os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
      tell({
          'loop': [attempt(os.stat, 'loop'), attempt(os.stat, 'loop/x'), attempt(os.open, 'hop0', os.O_RDONLY | os.O_NOFOLLOW), isinstance(attempt(os.stat, 'hop39'), os.stat_result), attempt(os.stat, 'hop40')],
          'not empty': [attempt(os.rmdir, 'full'), attempt(os.rename, 'empty', 'full'), attempt(os.rmdir, 'full/..'), attempt(os.rmdir, 'full/.')],
          'wrong kind': [attempt(os.rmdir, 'file'), attempt(os.unlink, 'full'), attempt(os.rename, 'file', 'empty'), attempt(os.rename, 'empty', 'file'), attempt(os.stat, 'file/x'), attempt(os.mkdir, 'file/x'), attempt(os.open, 'empty', os.O_WRONLY), attempt(os.open, 'file', os.O_DIRECTORY)],
          'exists': [attempt(os.mkdir, 'file'), attempt(os.symlink, 'x', 'file'), attempt(os.link, 'file', 'hop0'), attempt(make, 'file'), attempt(make, 'loop'), attempt(os.mkfifo, 'empty')],
          'own subtree': [attempt(os.rename, 'full', 'full/sub/x'), attempt(os.rename, 'full', 'full'), attempt(os.rename, 'full/sub', 'full'), renameat2('full', 'full/sub', EXCHANGE)],
          'dots': [attempt(os.rename, '.', 'x'), attempt(os.rename, 'empty', '..'), attempt(os.mkdir, '.'), attempt(os.unlink, '.')],
          'absent': [attempt(os.unlink, 'none'), attempt(os.rmdir, 'none'), attempt(os.rename, 'none', 'x'), attempt(os.link, 'none', 'x'), attempt(os.mkdir, 'none/x'), attempt(os.stat, '')],
          'other file system': [attempt(os.rename, 'file', ${JSON.stringify(fs.elsewhere)} + '/x'), attempt(os.link, 'file', ${JSON.stringify(fs.elsewhere)} + '/x')],
          'trailing slash': [attempt(os.stat, 'file/'), attempt(make, 'new/'), attempt(os.rename, 'file', 'new/'), attempt(os.mkdir, 'made/'), attempt(os.rename, 'made/', 'done/'), attempt(os.rmdir, 'done/')],
      })
    `);
    expect(told).toEqual({
      loop: ['ELOOP', 'ELOOP', 'ELOOP', true, 'ELOOP'],
      'not empty': ['ENOTEMPTY', 'ENOTEMPTY', 'ENOTEMPTY', 'EINVAL'],
      'wrong kind': ['ENOTDIR', 'EISDIR', 'EISDIR', 'ENOTDIR', 'ENOTDIR', 'ENOTDIR', 'EISDIR', 'ENOTDIR'],
      exists: ['EEXIST', 'EEXIST', 'EEXIST', 'EEXIST', 'EEXIST', 'EEXIST'],
      'own subtree': ['EINVAL', null, 'ENOTEMPTY', 'EINVAL'],
      dots: ['EBUSY', 'EBUSY', 'EEXIST', 'EISDIR'],
      absent: ['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT', 'ENOENT', 'ENOENT'],
      'other file system': ['EXDEV', 'EXDEV'],
      'trailing slash': ['ENOTDIR', 'EISDIR', 'ENOTDIR', null, null, null],
    });
  });

  it('dot and dot-dot lead where they should, also from directories that moved', async () => {
    expect(await python(fs, `
      os.makedirs('dots/a/b/c')
      os.mkdir('dots/z')
      number = lambda name: os.stat(name).st_ino
      same = lambda one, other: number(one) == number(other)
      told = [same('dots/a/b/.', 'dots/a/b'), same('dots/a/b/..', 'dots/a'), same('dots/a/b/c/../..', 'dots/a')]
      inside = os.open('dots/a/b/c', os.O_RDONLY)
      os.rename('dots/a/b', 'dots/z/b')
      told += [same('dots/z/b/..', 'dots/z'), os.stat('../..', dir_fd=inside).st_ino == number('dots/z')]
      told += [os.path.basename(os.readlink('/proc/self/fd/%d' % inside)), sorted(os.listdir('dots/a'))]
      tell(told)
    `)).toEqual([true, true, true, true, true, 'c', []]);
  });

  it('FIFOs, sockets and devices are made, told apart and used', async () => {
    expect(await python(fs, `
      import socket
      os.mkdir('nodes')
      os.chdir('nodes')
      os.mkfifo('fifo')
      os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
      os.mknod('block', 0o600 | stat.S_IFBLK, os.makedev(4095, 1048575))
      os.mknod('plain', 0o600 | stat.S_IFREG)
      server = socket.socket(socket.AF_UNIX)
      server.bind('socket')
      server.listen()
      client = socket.socket(socket.AF_UNIX)
      client.connect('socket')
      accepted = server.accept()[0]
      client.sendall(b'through')
      told = [accepted.recv(99).decode()]
      reader = os.open('fifo', os.O_RDONLY | os.O_NONBLOCK)
      writer = os.open('fifo', os.O_WRONLY)
      os.write(writer, b'piped')
      told += [os.read(reader, 99).decode(), os.stat('fifo').st_size]
      device = os.stat('block').st_rdev
      told += [os.major(device), os.minor(device), [stat.filemode(os.lstat(name).st_mode)[0] for name in ['fifo', 'null', 'block', 'plain', 'socket']]]
      told += [os.write(os.open('null', os.O_WRONLY), b'gone'), attempt(os.open, 'socket', os.O_RDONLY)]
      tell(told)
    `)).toEqual(['through', 'piped', 0, 4095, 1_048_575, ['p', 'c', 'b', '-', 's'], 4, 'ENXIO']);
  });
}, { localLacks: localLacksPython });
