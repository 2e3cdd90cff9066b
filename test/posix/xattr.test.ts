// Extended attributes: namespaces, create and replace, limits, and who may do what.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { OTHER_USER, USER } from '../support/mount.ts';
import { hasProgram } from '../support/programs.ts';
import type { RunResult } from '../support/programs.ts';
import { forEachFileSystem } from './where.ts';

/** A file system may know no xattrs at all, or, as tmpfs before Linux 6.6, no user ones. */
function localLacks(directory: string): string | undefined {
  if (!hasProgram('setfattr')) return 'setfattr is not installed';
  const file = join(directory, 'probe');
  writeFileSync(file, '');
  const set = spawnSync('setfattr', ['-n', 'user.probe', '-v', '1', file]);
  return set.status === 0 ? undefined : 'no user xattrs there';
}

/** VFS_CAP_REVISION_2 with cap_net_raw, permitted and effective. <linux/capability.h> */
const CAPABILITY = '0x0100000200200000000000000000000000000000';

forEachFileSystem((fs) => {
  const as = (user: { uid: number; gid: number }, script: string): Promise<RunResult> =>
    fs.run('setpriv', [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', 'sh', '-euc', script]);
  /** What the last program of a script complains of. */
  const failure = (result: RunResult): string => result.stderr.trim().replace(/^.*: /s, '');
  const refusal = async (script: string): Promise<string> => failure(await fs.run('sh', ['-euc', script]));
  const userRefusal = async (script: string): Promise<string> => failure(await as(USER, script));
  const names = async (path: string): Promise<string[]> => (await fs.sh(`getfattr -h --absolute-names -m - '${path}' | sed -n '/^[a-z]/p' | sort`)).trim().split('\n').filter((line) => line !== '');

  it('keeps binary values, empty ones too', async () => {
    await fs.sh('touch values && setfattr -n user.bytes -v 0x00ff0a0d00 values && setfattr -n user.empty values');
    expect(await fs.sh('getfattr -d -e hex values | sort')).toContain('user.bytes=0x00ff0a0d00\nuser.empty');
  });

  it('takes any bytes in a name, and tells capitals from small letters', async () => {
    await fs.sh("touch odd && setfattr -n \"user.$(printf '\\377\\001 =x')\" -v 1 odd && setfattr -n user.A -v 1 odd && setfattr -n user.a -v 2 odd");
    expect(await fs.sh('getfattr --only-values -n user.A odd; getfattr --only-values -n user.a odd')).toBe('12');
    expect(await names('odd')).toHaveLength(3);
  });

  it('replaces, removes and lists', async () => {
    await fs.sh('touch listed && setfattr -n user.one -v 1 listed && setfattr -n user.two -v 2 listed && setfattr -n user.one -v 3 listed && setfattr -x user.two listed');
    expect(await names('listed')).toEqual(['user.one']);
    expect(await fs.sh('getfattr --only-values -n user.one listed')).toBe('3');
    expect(await refusal('setfattr -x user.two listed')).toBe('No such attribute');
    expect(await refusal('getfattr -n user.two listed')).toBe('No such attribute');
  });

  it.skipIf(!hasProgram('gcc'))('creates only what is not there, and replaces only what is', async () => {
    await fs.sh('cat >set.c && gcc -o set set.c && touch exact', { input: SET_WITH_FLAGS });
    const set = (flag: 'create' | 'replace', value: string): Promise<string> => fs.sh(`./set exact user.exact ${value} ${flag === 'create' ? 1 : 2}`);
    expect(await set('replace', 'a')).toBe('ENODATA\n');
    expect(await set('create', 'b')).toBe('done\n');
    expect(await set('create', 'c')).toBe('EEXIST\n');
    expect(await set('replace', 'd')).toBe('done\n');
    expect(await fs.sh('getfattr --only-values -n user.exact exact')).toBe('d');
  });

  it.skipIf(!hasProgram('gcc'))('tells the size that a value and a list need, and refuses a buffer that is smaller', async () => {
    await fs.sh('cat >get.c && gcc -o get get.c && touch sized && setfattr -n user.sized -v 12345 sized', { input: GET_WITH_SIZE });
    expect(await fs.sh('./get sized user.sized 0; ./get sized user.sized 5; ./get sized user.sized 100; ./get sized user.sized 4')).toBe('5\n5\n5\nERANGE\n');
    expect(await fs.sh("./get sized '' 0; ./get sized '' 100; ./get sized '' 3")).toBe('11\n11\nERANGE\n');
  });

  it('refuses names and values beyond the limits of Linux', async () => {
    await fs.sh('touch limits && setfattr -n "user.$(printf %0250d 0)" -v 1 limits');
    expect(await refusal('setfattr -n "user.$(printf %0251d 0)" -v 1 limits')).toBe('Numerical result out of range');
    expect(await refusal('setfattr -n user.large -v "$(printf %065537d 0)" limits')).toBe('Argument list too long');
    if (!fs.isSdfs) return;
    await fs.sh('setfattr -n user.large -v "$(printf %065536d 0)" limits && test "$(getfattr --only-values -n user.large limits | wc -c)" = 65536');
  });

  it('knows no other namespaces than Linux', async () => {
    await fs.sh('touch spaces');
    for (const command of ['setfattr -v 1 -n', 'getfattr -n', 'setfattr -x']) {
      expect(await refusal(`${command} other.a spaces`)).toBe('Operation not supported');
      expect(await refusal(`${command} system.other spaces`)).toBe('Operation not supported');
      expect(await refusal(`${command} user. spaces`)).toBe('Invalid argument');
    }
  });

  it('takes user attributes on files and directories alone', async () => {
    await fs.sh('mkdir kinds && cd kinds && mkfifo fifo && ln -s nowhere link && mkdir dir && mknod null c 1 3 && setfattr -n user.a -v 1 dir');
    for (const path of ['fifo', 'link', 'null']) {
      expect(await refusal(`setfattr -h -n user.a -v 1 kinds/${path}`)).toBe('Operation not permitted');
      await fs.sh(`setfattr -h -n trusted.a -v 1 kinds/${path}`);
      expect(await names(`kinds/${path}`)).toEqual(['trusted.a']);
    }
  });

  it('lets users read and write by the mode of the file, and owners alone mark a sticky directory', async () => {
    await fs.sh(`touch mine && chown ${USER.uid}:${USER.gid} mine && chmod 644 mine && setfattr -n user.a -v 1 mine && touch theirs && chmod 600 theirs && setfattr -n user.a -v 1 theirs && mkdir -m 1777 sticky`);
    expect((await as(USER, 'setfattr -n user.a -v 2 mine && getfattr -n user.a mine')).code).toBe(0);
    expect((await as(OTHER_USER, 'getfattr -n user.a mine')).code).toBe(0);
    expect(failure(await as(OTHER_USER, 'setfattr -n user.a -v 3 mine'))).toBe('Permission denied');
    expect(await userRefusal('getfattr -n user.a theirs')).toBe('Permission denied');
    expect(await userRefusal('setfattr -n user.a -v 1 sticky')).toBe('Operation not permitted');
  });

  it('keeps trusted attributes to root, and hides their names from users', async () => {
    await fs.sh('touch trusted && chmod 666 trusted && setfattr -n trusted.a -v 1 trusted && setfattr -n user.b -v 1 trusted && setfattr -n security.c -v 1 trusted');
    expect(await userRefusal('setfattr -n trusted.a -v 2 trusted')).toBe('Operation not permitted');
    expect(await userRefusal('getfattr -n trusted.a trusted')).toBe('No such attribute');
    expect(await userRefusal('setfattr -n security.c -v 2 trusted')).toBe('Operation not permitted');
    expect(await names('trusted')).toEqual(['security.c', 'trusted.a', 'user.b']);
    expect((await as(USER, 'getfattr -m - trusted')).stdout.trim().split('\n').slice(1)).toEqual(['security.c', 'user.b']);
  });

  it('stamps the change and nothing else', async () => {
    await fs.sh('touch stamped && chmod 640 stamped');
    const stamps = async (): Promise<string[]> => (await fs.sh('stat -c "%z|%y|%a|%s" stamped')).trim().split('|');
    const steps = ['setfattr -n user.a -v 1 stamped', 'setfattr -n user.a -v 2 stamped', 'setfattr -x user.a stamped'];
    for (const step of steps) {
      const before = await stamps();
      await fs.sh(`sleep 0.02; ${step}`);
      const after = await stamps();
      expect(after[0]).not.toBe(before[0]);
      expect(after.slice(1)).toEqual(before.slice(1));
    }
  });

  it('follows its inode, and is gone with it', async () => {
    await fs.sh('touch first && setfattr -n user.a -v 1 first && ln first second && mv first third && rm third && test "$(getfattr --only-values -n user.a second)" = 1 && rm second && touch second');
    expect(await names('second')).toEqual([]);
  });

  it.each([
    ['a write', 'echo more >>capable'], ['a truncation', 'truncate -s 1 capable'], ['opening for overwriting', ': >capable'], ['a change of owner', 'chown 5:5 capable'],
    ['a punched hole', 'fallocate -p -o 0 -l 4096 capable'],
  ])('a file loses its capabilities by %s, whoever does it', async (_, step) => {
    await fs.sh(`rm -f capable && seq 5000 >capable && chmod 755 capable && setfattr -n security.capability -v ${CAPABILITY} capable && test "$(getfattr -m security.cap capable | grep -c cap)" -ge 1 && ${step}`);
    expect(await names('capable')).toEqual([]);
  });

  it('reading, a chmod and a new name leave a file its capabilities', async () => {
    await fs.sh(`echo text >able && setfattr -n security.capability -v ${CAPABILITY} able && cat able && chmod 711 able && mv able abler && touch abler`);
    expect(await names('abler')).toEqual(['security.capability']);
  });

  it.skipIf(!fs.isSdfs)('an inode has no more names than can be listed', async () => {
    await fs.sh('touch crowded && for i in $(seq 100 355); do setfattr -n "user.$i$(printf %0247d 0)" -v 1 crowded; done');
    expect(await names('crowded')).toHaveLength(256);
    expect(await refusal('setfattr -n user.more -v 1 crowded')).toBe('No space left on device');
    await fs.sh('setfattr -x "user.100$(printf %0247d 0)" crowded && setfattr -n user.more -v 1 crowded');
  }, 120_000);
}, { localLacks });

/** setxattr(2) of a file, name and value with flags. */
const SET_WITH_FLAGS = `
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
int main(int argc, char **argv) {
  int result = setxattr(argv[1], argv[2], argv[3], strlen(argv[3]), atoi(argv[4]));
  puts(result == 0 ? "done" : errno == EEXIST ? "EEXIST" : errno == ENODATA ? "ENODATA" : strerror(errno));
  return 0;
}
`;

/** getxattr(2), or listxattr(2) for an empty name, into a buffer of a size. */
const GET_WITH_SIZE = `
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
int main(int argc, char **argv) {
  static char buffer[1000];
  int size = atoi(argv[3]);
  int result = argv[2][0] ? getxattr(argv[1], argv[2], buffer, size) : listxattr(argv[1], buffer, size);
  if (result < 0) puts(errno == ERANGE ? "ERANGE" : strerror(errno));
  else printf("%d\\n", result);
  return 0;
}
`;
