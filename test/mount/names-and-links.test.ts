// Names, links, renames, directories and extended attributes on a mount.
import { link, lstat, mkdir, readFile, readdir, readlink, rename, rmdir, stat, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { describeOnEdges } from '../support/edges.ts';
import { hasProgram } from '../support/programs.ts';

const codeOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'no error', (error: NodeJS.ErrnoException) => error.code ?? error.message);

describeOnEdges('names and links', {}, (mount, needs) => {
  const path = (...parts: string[]): string => mount().path(...parts);
  const script = (name: string, ...args: string[]): Promise<unknown> => mount().script('syscall.mjs', [name, ...args]).then((text) => JSON.parse(text) as unknown);

  it('a file has the bytes that were written to it', async () => {
    await writeFile(path('file'), 'hello');
    expect(await readFile(path('file'), 'utf8')).toBe('hello');
    expect((await stat(path('file'))).size).toBe(5);
    expect(await codeOf(readFile(path('absent')))).toBe('ENOENT');
    expect(await codeOf(writeFile(path('file'), 'x', { flag: 'wx' }))).toBe('EEXIST');
    expect(await codeOf(stat(path('file', 'below')))).toBe('ENOTDIR');
  });

  it('directories are made, listed, and removed when empty only', async () => {
    await mkdir(path('dir/sub'), { recursive: true });
    await writeFile(path('dir/sub/file'), '');
    expect((await stat(path('dir'))).nlink).toBe(3);
    expect(await readdir(path('dir'))).toEqual(['sub']);
    expect(await codeOf(rmdir(path('dir')))).toBe('ENOTEMPTY');
    expect(await codeOf(rmdir(path('dir/sub/file')))).toBe('ENOTDIR');
    expect(await codeOf(unlink(path('dir/sub')))).toMatch(/EISDIR|EPERM/);
    await unlink(path('dir/sub/file'));
    await rmdir(path('dir/sub'));
    await rmdir(path('dir'));
    expect(await codeOf(stat(path('dir')))).toBe('ENOENT');
  });

  it('names of 255 bytes work, and longer ones are ENAMETOOLONG', async () => {
    await writeFile(path('n'.repeat(255)), 'long');
    expect(await readFile(path('n'.repeat(255)), 'utf8')).toBe('long');
    expect(await codeOf(writeFile(path('n'.repeat(256)), ''))).toBe('ENAMETOOLONG');
    expect(await codeOf(symlink('x'.repeat(4096), path('too-long')))).toBe('ENAMETOOLONG');
    await symlink('x'.repeat(4095), path('longest'));
    expect(await readlink(path('longest'))).toBe('x'.repeat(4095));
  });

  it('names are any bytes but NUL and slash', async (context) => {
    needs(context, 'names of any bytes');
    await mkdir(path('bytes'));
    const names = [Buffer.from([0xff, 0xfe, 0x01]), Buffer.from('new\nline'), Buffer.from('ünï'), Buffer.from([0x80]), Buffer.from(' '), Buffer.from('-rf')];
    for (const name of names) await writeFile(Buffer.concat([Buffer.from(`${path('bytes')}/`), name]), name);
    const found = await readdir(path('bytes'), { encoding: 'buffer' });
    expect(found.toSorted(Buffer.compare)).toEqual(names.toSorted(Buffer.compare));
    for (const name of found) expect(await readFile(Buffer.concat([Buffer.from(`${path('bytes')}/`), name]))).toEqual(name);
  });

  it('hard links are one file with several names', async () => {
    await writeFile(path('first'), 'one');
    await link(path('first'), path('second'));
    await writeFile(path('second'), 'changed');
    const [first, second] = [await stat(path('first')), await stat(path('second'))];
    expect([first.ino, first.nlink, await readFile(path('first'), 'utf8')]).toEqual([second.ino, 2, 'changed']);
    await unlink(path('first'));
    expect((await stat(path('second'))).nlink).toBe(1);
    await mkdir(path('linkdir'));
    expect(await codeOf(link(path('linkdir'), path('linkdir2')))).toBe('EPERM');
  });

  it('symbolic links are kept as they were written', async () => {
    await symlink('nowhere/../at all', path('dangling'));
    expect(await readlink(path('dangling'))).toBe('nowhere/../at all');
    expect((await lstat(path('dangling'))).size).toBe(17);
    await symlink('loop', path('loop'));
    expect(await codeOf(stat(path('loop')))).toBe('ELOOP');
  });

  it('rename replaces its target at once, and refuses what POSIX refuses', async () => {
    await mkdir(path('r/full/sub'), { recursive: true });
    await mkdir(path('r/empty'));
    await writeFile(path('r/a'), 'a');
    await writeFile(path('r/b'), 'b');
    await rename(path('r/a'), path('r/b'));
    expect(await readFile(path('r/b'), 'utf8')).toBe('a');
    expect(await codeOf(rename(path('r/b'), path('r/full')))).toBe('EISDIR');
    expect(await codeOf(rename(path('r/full'), path('r/b')))).toBe('ENOTDIR');
    expect(await codeOf(rename(path('r/empty'), path('r/full')))).toBe('ENOTEMPTY');
    expect(await codeOf(rename(path('r/full'), path('r/full/sub/under')))).toBe('EINVAL');
    await rename(path('r/full'), path('r/empty'));
    expect((await readdir(path('r'))).toSorted()).toEqual(['b', 'empty']);
    expect((await stat(path('r'))).nlink).toBe(3);
  });

  it('rename exchanges two names, and can refuse to replace', async (context) => {
    needs(context, 'flags of rename');
    await mkdir(path('x'));
    await writeFile(path('x/a'), 'a');
    await mkdir(path('x/b'));
    expect(await script('rename', path('x/a'), path('x/b'), '1')).toEqual({ errno: 17 });
    expect(await script('rename', path('x/a'), path('x/b'), '2')).toBe(0);
    expect(await readFile(path('x/b'), 'utf8')).toBe('a');
    expect((await stat(path('x/a'))).isDirectory()).toBe(true);
  });

  it('a file without a name gets one by linkat', async (context) => {
    needs(context, 'files without a name');
    await mkdir(path('unnamed'));
    expect(await script('tmpfile', path('unnamed'), path('unnamed/named'))).toBe(0);
    expect((await stat(path('unnamed/named'))).nlink).toBe(1);
  });

  it('FIFOs, sockets and device nodes are kept', async () => {
    expect(await mount().sh(`mkdir nodes && cd nodes && mkfifo fifo && mknod null c 1 3 && mknod block b 7 200 && stat -c '%n %F %t %T' *`)).toBe(
      'block block special file 7 c8\nfifo fifo 0 0\nnull character special file 1 3\n',
    );
    await mount().sh('cd nodes && (echo through >fifo &) && test "$(cat fifo)" = through');
  });

  it('times are kept to the nanosecond, also before 1970', async (context) => {
    needs(context, 'nanoseconds');
    await mount().sh(`
      touch times && touch -d '1960-01-02 03:04:05.000000007' times
      test "$(TZ=UTC stat -c %y times | cut -c1-29)" = "$(TZ=UTC date -d '1960-01-02 03:04:05.000000007' '+%F %H:%M:%S.%N')"
      touch -d '2200-01-01 00:00:00.999999999' times && test "$(stat -c %Y times)" = "$(date -d '2200-01-01 00:00:00' +%s)"
    `);
    await writeFile(path('dated'), '');
    await utimes(path('dated'), 1, 2);
    expect((await stat(path('dated'))).mtimeMs).toBe(2000);
  });

  it('a directory changes its own times with its entries, and a file its ctime with its links', async () => {
    await mount().sh(`
      mkdir clock && touch -d '2000-01-01' clock && touch clock/file && test "$(stat -c %Y clock)" -gt 1000000000
      touch -d '2000-01-01' clock/file && before=$(stat -c %z clock/file) && sleep 0.01 && ln clock/file clock/other
      test "$(stat -c %z clock/file)" != "$before" && test "$(stat -c %Y clock/file)" = "$(date -d 2000-01-01 +%s)"
    `);
  });

  it.skipIf(!hasProgram('setfattr'))('extended attributes are set, listed, replaced and removed', async () => {
    await mount().sh(`
      touch attributed && setfattr -n user.one -v 1 attributed && setfattr -n user.empty attributed
      setfattr -n trusted.two -v 0x00ff00 attributed
      test "$(getfattr --only-values -n user.one attributed)" = 1
      setfattr -n user.one -v "$(head -c 60000 /dev/zero | tr '\\0' x)" attributed
      test "$(getfattr --only-values -n user.one attributed | wc -c)" = 60000
      test "$(getfattr -m - -d -e hex attributed | grep -c '^[a-z]*[.]')" = 3
      setfattr -x user.one attributed && ! getfattr -n user.one attributed 2>/dev/null
      cp -a attributed copied && test "$(getfattr --only-values -n trusted.two -e hex copied 2>/dev/null | wc -c)" = "$(getfattr --only-values -n trusted.two attributed | wc -c)"
    `);
  });
});
