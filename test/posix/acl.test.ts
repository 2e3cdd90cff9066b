// POSIX ACLs: stored, inherited, mirrored by modes, and enforced against ordinary users. acl(5)
import { spawnSync } from 'node:child_process';
import { constants, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hasProgram } from '../support/programs.ts';
import type { RunResult } from '../support/programs.ts';
import { forEachFileSystem } from './where.ts';

const OWNER = { uid: 12_345, gid: 12_345 };
const NAMED = { uid: 12_346, gid: 12_346 };
const STRANGER = { uid: 12_347, gid: 12_347 };
const NAMED_GROUP = 54_321;
const O_TMPFILE = 0o20_000_000 | constants.O_DIRECTORY;

function localLacks(directory: string): string | undefined {
  if (!hasProgram('setfacl') || !hasProgram('setpriv')) return 'setfacl or setpriv is not installed';
  const file = join(directory, 'probe');
  writeFileSync(file, '');
  return spawnSync('setfacl', ['-m', 'u:1:r', file]).status === 0 ? undefined : 'no ACLs there';
}

forEachFileSystem((fs) => {
  /** The entries of an ACL, with numbers, as "user::rwx user:5:rw- …"; default ones begin with "default:". */
  const aclOf = async (path: string): Promise<string> => (await fs.sh(`getfacl -cnpE '${path}'`)).trim().replaceAll(/\s+/g, ' ');
  const modeOf = async (path: string): Promise<string> => (await fs.sh(`stat -c %a '${path}'`)).trim();
  const as = (user: { uid: number; gid: number }, script: string, groups?: number): Promise<RunResult> =>
    fs.run('setpriv', [`--reuid=${user.uid}`, `--regid=${user.gid}`, ...(groups === undefined ? ['--clear-groups'] : [`--groups=${groups}`]), 'sh', '-euc', script]);
  const allowed = async (user: { uid: number; gid: number }, script: string, groups?: number): Promise<boolean> => (await as(user, script, groups)).code === 0;
  const failure = async (program: string, ...args: string[]): Promise<string> => (await fs.run(program, args)).stderr.trim().replace(/^.*: /, '');

  it('keeps named users and groups, and shows the mask as the mode of the group', async () => {
    await fs.sh('touch kept && chmod 640 kept && setfacl -m u:5:rwx,u:70000:r,g:6:x kept');
    expect(await aclOf('kept')).toBe('user::rw- user:5:rwx user:70000:r-- group::r-- group:6:--x mask::rwx other::---');
    expect(await modeOf('kept')).toBe('670');
    expect(await fs.sh('ls -l kept')).toMatch(/^-rw-rwx---\+/);
    expect(await fs.sh('getfattr -m - kept')).toContain('system.posix_acl_access');
  });

  it('lets a named user and a named group in, as far as the mask goes, and nobody else', async () => {
    await fs.sh(`echo text >guarded && chown 12345:12345 guarded && chmod 600 guarded && setfacl -m u:12346:rw,g:${NAMED_GROUP}:r guarded`);
    expect(await allowed(OWNER, 'cat guarded')).toBe(true);
    expect(await allowed(NAMED, 'cat guarded && echo more >>guarded')).toBe(true);
    expect(await allowed(STRANGER, 'cat guarded')).toBe(false);
    expect(await allowed(STRANGER, 'cat guarded', NAMED_GROUP)).toBe(true);
    expect(await allowed(STRANGER, 'echo more >>guarded', NAMED_GROUP)).toBe(false);
    await fs.sh('setfacl -m m::r guarded');
    expect(await allowed(NAMED, 'cat guarded')).toBe(true);
    expect(await allowed(NAMED, 'echo more >>guarded')).toBe(false);
    await fs.sh('chmod g= guarded');
    expect(await allowed(NAMED, 'cat guarded')).toBe(false);
    await fs.sh('chmod g=r guarded && setfacl -x u:12346 guarded');
    expect(await allowed(NAMED, 'cat guarded')).toBe(false);
    expect(await allowed(STRANGER, 'cat guarded', NAMED_GROUP)).toBe(true);
  });

  it('keeps out a user whose entry says nothing, though others may', async () => {
    await fs.sh('echo text >banned && chmod 644 banned && setfacl -m u:12346:- banned');
    expect(await allowed(NAMED, 'cat banned')).toBe(false);
    expect(await allowed(STRANGER, 'cat banned')).toBe(true);
  });

  it('guards directories: to enter, to list, to make', async () => {
    await fs.sh('mkdir hall && chmod 700 hall && echo text >hall/file && chmod 644 hall/file && setfacl -m u:12346:x hall');
    expect(await allowed(NAMED, 'cat hall/file')).toBe(true);
    expect(await allowed(NAMED, 'ls hall')).toBe(false);
    await fs.sh('setfacl -m u:12346:rwx hall');
    expect(await allowed(NAMED, 'ls hall && touch hall/new && mv hall/new hall/newer && rm hall/newer')).toBe(true);
    expect(await allowed(STRANGER, 'ls hall || cat hall/file')).toBe(false);
    await fs.sh('setfacl -b hall');
    expect(await allowed(NAMED, 'cat hall/file')).toBe(false);
  });

  it('chmod changes the mask of an extended ACL, and the owning group of a minimal one', async () => {
    await fs.sh('touch masked && chmod 640 masked && setfacl -m u:5:rwx masked && chmod 751 masked');
    expect(await aclOf('masked')).toBe('user::rwx user:5:rwx group::r-- mask::r-x other::--x');
    await fs.sh('setfacl -b masked && chmod 735 masked');
    expect(await aclOf('masked')).toBe('user::rwx group::-wx other::r-x');
  });

  it('a minimal ACL becomes the mode, and nothing is kept', async () => {
    await fs.sh('touch minimal && setfacl -m u:5:rwx minimal && setfacl --set u::rw,g::x,o::r minimal');
    expect(await modeOf('minimal')).toBe('614');
    expect(await fs.sh('getfattr -m - minimal')).toBe('');
    expect(await fs.sh('ls -l minimal')).toMatch(/^-rw---xr--[. ]/);
    await fs.sh('chmod 640 minimal && setfacl -m u:5:rwx minimal && setfacl -b minimal');
    expect([await modeOf('minimal'), await fs.sh('getfattr -m - minimal')]).toEqual(['640', '']);
  });

  it('taking the attribute away leaves the mode as it is, and again is no error', async () => {
    await fs.sh('touch bare && chmod 640 bare && setfacl -m u:5:rwx bare && setfattr -x system.posix_acl_access bare');
    expect([await modeOf('bare'), await aclOf('bare')]).toEqual(['670', 'user::rw- group::rwx other::---']);
    await fs.sh('setfattr -x system.posix_acl_access bare && setfattr -x system.posix_acl_default bare');
  });

  it('a default ACL is handed down in place of the umask', async () => {
    await fs.sh('mkdir parent && setfacl -m d:u:5:rwx,d:g::rx,d:o::- parent && cd parent && umask 077 && touch file && mkdir dir && mkfifo fifo && ln -s file link && mkdir -p dir/deep/er');
    expect(await aclOf('parent/file')).toBe('user::rw- user:5:rwx group::r-x mask::rw- other::---');
    const whole = 'user::rwx user:5:rwx group::r-x mask::rwx other::---';
    expect(await aclOf('parent/dir')).toBe(`${whole} ${whole.replaceAll(/\S+/g, 'default:$&')}`);
    expect(await aclOf('parent/dir/deep/er')).toBe(`${whole} ${whole.replaceAll(/\S+/g, 'default:$&')}`);
    expect(await aclOf('parent/fifo')).toBe('user::rw- user:5:rwx group::r-x mask::rw- other::---');
    expect(await modeOf('parent/link')).toBe('777');
    expect(await modeOf('parent')).toBe('755');
  });

  it('a creating mode takes permissions from what is handed down', async () => {
    await fs.sh('mkdir strict && setfacl -m d:u:5:rwx strict && cd strict && mkdir -m 700 dir');
    const file = await open(fs.path('strict/private'), 'wx', 0o600);
    await file.close();
    expect(await aclOf('strict/private')).toBe('user::rw- user:5:rwx group::r-x mask::--- other::---');
    expect(await modeOf('strict/dir')).toBe('700');
  });

  it('a default ACL without names gives a mode', async () => {
    await fs.sh('mkdir plain && setfacl -m d:u::rwx,d:g::rx,d:o::- plain && umask 022 && touch plain/file && mkdir plain/dir');
    expect([await modeOf('plain/file'), await fs.sh('getfattr -m - plain/file')]).toEqual(['640', '']);
    expect(await fs.sh('getfattr -m - plain/dir')).toContain('system.posix_acl_default');
    await fs.sh('setfacl -k plain && touch plain/after && mkdir plain/after.d');
    expect([await modeOf('plain/after'), await fs.sh('getfattr -m - plain/after.d')]).toEqual(['644', '']);
  });

  it('without a default ACL the umask applies to all that is made', async () => {
    await fs.sh('mkdir umask && cd umask && umask 027 && touch file && mkdir dir && mkfifo fifo && test "$(stat -c %a file dir fifo | xargs)" = "640 750 640"');
  });

  it('a file without a name gets what one with a name would', async () => {
    await fs.sh('mkdir unnamed && setfacl -m d:u:5:rw,d:o::- unnamed');
    const file = await open(fs.path('unnamed'), O_TMPFILE | constants.O_RDWR, 0o666);
    try {
      expect((await file.stat()).mode & 0o7777).toBe(0o660);
      expect(await aclOf(`/proc/${process.pid}/fd/${file.fd}`)).toBe('user::rw- user:5:rw- group::r-x mask::rw- other::---');
    } finally {
      await file.close();
    }
  });

  it('users who were handed down a right have it', async () => {
    await fs.sh('mkdir shared && chmod 711 shared && setfacl -m d:u:12346:rw shared && echo text >shared/file');
    expect(await allowed(NAMED, 'echo more >>shared/file')).toBe(true);
    expect(await allowed(STRANGER, 'echo more >>shared/file')).toBe(false);
  });

  it('only the owner and root set ACLs', async () => {
    await fs.sh('touch owned && chown 12345:12345 owned && setfacl -m u:12346:rwx owned');
    expect(await allowed(NAMED, 'setfacl -m u:12346:r owned')).toBe(false);
    expect(await allowed(NAMED, 'setfacl -b owned')).toBe(false);
    expect(await allowed(OWNER, 'setfacl -m u:12346:r owned')).toBe(true);
    expect(await aclOf('owned')).toContain('user:12346:r--');
  });

  it('setgid is lost when somebody outside the group sets an ACL, and kept otherwise', async () => {
    await fs.sh('touch setgid && chown 12345:6 setgid && chmod 2755 setgid && setfacl -m u:5:r setgid && test "$(stat -c %a setgid)" = 2755');
    expect(await allowed(OWNER, 'setfacl -m u:5:rx setgid')).toBe(true);
    expect(await modeOf('setgid')).toBe('755');
    await fs.sh('chmod 2755 setgid');
    expect(await allowed(OWNER, 'setfacl -m u:5:r setgid', 6)).toBe(true);
    expect(await modeOf('setgid')).toBe('2755');
  });

  it('refuses what is no ACL', async () => {
    const minimal = '01000600ffffffff04000400ffffffff20000400ffffffff';
    const set = (value: string, path = 'wrong', name = 'access'): Promise<string> => failure('setfattr', '-n', `system.posix_acl_${name}`, '-v', `0x${value}`, path);
    await fs.sh('touch wrong && ln -s wrong wrong.link && mkdir wrong.dir');
    expect(await set(`02000000${minimal}`)).toBe('');
    expect(await set(`01000000${minimal}`)).toBe('Operation not supported');
    expect(await set(`0200000002000600ffffffff${minimal}`)).toBe('Invalid argument');
    expect(await set(`02000000${minimal}ff`)).toBe('Invalid argument');
    expect(await set('0200000001000600ffffffff')).toBe('Invalid argument');
    expect(await set(`02000000${minimal}`, 'wrong', 'default')).toBe('Permission denied');
    expect(await set(`02000000${minimal}`, 'wrong.dir', 'default')).toBe('');
    expect(await failure('setfattr', '-h', '-n', 'system.posix_acl_access', '-v', `0x02000000${minimal}`, 'wrong.link')).toBe('Operation not supported');
  });

  it('follows its file over rename, link and a change of owner', async () => {
    await fs.sh('mkdir to && touch moved && setfacl -m u:5:rw moved && mv moved to/moved && ln to/moved linked && chown 7:7 linked');
    expect(await aclOf('linked')).toBe('user::rw- user:5:rw- group::r-- mask::rw- other::r--');
    expect(await aclOf('to/moved')).toBe(await aclOf('linked'));
  });

  it('stamps the change', async () => {
    await fs.sh('touch stamped');
    const changed = async (script: string): Promise<boolean> => (await fs.sh(`a=$(stat -c %z stamped); sleep 0.02; ${script}; test "$a" = "$(stat -c %z stamped)" || echo changed`)) === 'changed\n';
    expect(await changed('setfacl -m u:5:rw stamped')).toBe(true);
    expect(await changed('setfacl -b stamped')).toBe(true);
  });

  it('holds as many entries as the kernel reads', async () => {
    await fs.sh('touch many && seq 1000 1099 | sed "s/.*/u:&:rw/" >entries && setfacl -M entries many && test "$(getfacl -cn many | grep -c ^user:1)" = 100');
    if (!fs.isSdfs) return;
    await fs.sh('seq 1000 1506 | sed "s/.*/u:&:rw/" >entries && setfacl -M entries many && test "$(getfacl -cn many | grep -c ^user:1)" = 507');
    expect(await failure('setfacl', '-m', 'u:2000:r', 'many')).toBe('Argument list too long');
    await fs.sh('chown 12345 many && chmod g-w many');
    expect(await allowed({ uid: 1506, gid: 1506 }, 'cat many')).toBe(true);
    expect(await allowed({ uid: 1506, gid: 1506 }, 'echo x >many')).toBe(false);
  });

  it('is copied by cp, tar and rsync', async () => {
    const list = (directory: string): Promise<string> => fs.sh(`cd ${directory} && getfacl -Rn . && getfattr -hRd -m '^(user|trusted)' -e hex . && stat -c '%n %a %u %g' $(find . | sort)`);
    await fs.sh(`
      mkdir tree && cd tree && setfacl -m d:u:5:rwx,d:o::- . && mkdir -p a/b && echo 1 >a/one && echo 2 >a/b/two && ln -s one a/link
      setfacl -m u:6:r a/one && setfattr -n user.color -v red a/one && setfattr -n trusted.depth -v 2 a/b && chown -R 12345:12346 a && chmod 2751 a/b
    `);
    const wanted = await list('tree');
    await fs.sh('cp -a tree copied');
    expect(await list('copied')).toBe(wanted);
    await fs.sh("mkdir unpacked && tar -C tree --acls --xattrs --xattrs-include='*' -cf tree.tar . && tar -C unpacked --acls --xattrs --xattrs-include='*' -xpf tree.tar");
    expect(await list('unpacked')).toBe(wanted);
    if (!hasProgram('rsync')) return;
    await fs.sh('rsync -aHAX tree/ synced/ && rsync -aHAX --itemize-changes tree/ synced/ >changes && test ! -s changes');
    expect(await list('synced')).toBe(wanted);
  });
}, { localLacks });
