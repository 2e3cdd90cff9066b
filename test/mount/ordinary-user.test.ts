// A user without root makes a volume, mounts it through fusermount3, works on it, and takes it away.
import { chownSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { reasonWithout } from '../support/edges.ts';
import { USER } from '../support/mount.ts';
import { OrdinaryUser, reasonForNoUser } from '../support/ordinary-user.ts';
import { processesWith, until } from '../support/programs.ts';
import type { RunResult } from '../support/programs.ts';

const reason = reasonForNoUser();

/** It failed as documented: one line on stderr. */
function expectRefusal(result: RunResult, code: number, ...words: string[]): void {
  for (const word of words) expect(result.stderr).toContain(word);
  expect(result.stderr.trim().split('\n')).toHaveLength(1);
  expect(result.code).toBe(code);
}

describe.skipIf(reason !== undefined)(`an ordinary user${reason === undefined ? '' : ` (${reason})`}`, () => {
  let user: OrdinaryUser;
  const mount = (...words: string[]): Promise<RunResult> => user.sdfs('mount', '-d', ...words, user.volume, user.mountpoint);
  const mustMount = async (...words: string[]): Promise<void> => {
    expect(await mount(...words)).toMatchObject({ code: 0, stderr: '' });
  };
  const ended = (): Promise<void> => until('all processes of the mount have ended', () => user.serving().length === 0 && user.entry() === undefined, 30_000);

  beforeAll(async () => {
    user = await OrdinaryUser.create();
    await user.mustSdfs('init', user.volume);
    await mustMount();
  });
  afterAll(() => user.destroy());

  it('has a mount of their own, without set-uid programs and devices', async () => {
    expect(user.entry()).toMatchObject({ type: 'fuse.sdfs', source: user.volume });
    expect(user.entry()?.options).toEqual(expect.arrayContaining(['nosuid', 'nodev', 'rw']));
    expect(user.entry()?.superOptions).toEqual(expect.arrayContaining([`user_id=${USER.uid}`, 'default_permissions']));
    expect(user.entry()?.superOptions).not.toContain('allow_other');
    const { health, problems } = await user.status();
    expect([health, problems]).toEqual(['good', []]);
  });

  it('writes, reads, renames and removes', async () => {
    await user.sh(`
      test "$(stat -c %u:%g .)" = ${USER.uid}:${USER.gid}
      mkdir -p a/b; head -c 3000000 /dev/urandom >a/large; cp a/large a/b/copy; cmp a/large a/b/copy
      echo one >file; echo two >>file; mv file a/b/renamed; test "$(tr '\\n' , <a/b/renamed)" = one,two,
      ln -s b a/soft; ln a/large a/hard; test "$(stat -c %h a/large)" = 2
      chmod 600 a/large; test "$(stat -c %a a/hard)" = 600; truncate -s 10 a/b/copy; sync a/b/copy
      rm -r a; test -z "$(ls -A)"
    `);
  });

  it('is kept to what the modes allow', async () => {
    await user.sh('echo x >closed && chmod 0 closed && ! cat closed 2>/dev/null && ! chown 0 closed 2>/dev/null && rm closed');
  });

  it('may sync, and ask for the status of the mount and the blocks of a file', async () => {
    await user.sh('head -c 2000000 /dev/urandom >known');
    await user.mustSdfs('sync');
    expect(await user.mustSdfs('status')).toContain(user.mountpoint);
    expect(await user.mustSdfs('info', join(user.mountpoint, 'known'))).toMatch(/[0-9a-f]{16}/);
  });

  it('shares it with nobody, root included', async () => {
    for (const who of ['other', 'root'] as const) {
      const { code, stderr } = await user.run(who, 'ls', [user.mountpoint]);
      expect([code, stderr]).toEqual([2, expect.stringContaining('Permission denied')]);
    }
  });

  it('is the only one, with root, who may ask for it and take it away', async () => {
    const env = { ...user.env, XDG_RUNTIME_DIR: '' };
    for (const words of [['status'], ['umount'], ['umount', '--force']]) {
      expectRefusal(await user.sdfsAs('other', env, ...words, user.mountpoint), EXIT.denied, `was mounted by user ${USER.uid}`);
    }
    expect((await user.status()).health).toBe('good');
  });

  it('keeps programs going while the driver is killed', async () => {
    await user.sh('echo before >survivor');
    const pid = await user.pidOf('driver');
    const writer = user.sh('for n in $(seq 200); do echo "$n" >>lines; mkdir "dir$n"; done; wc -l <lines');
    process.kill(pid, 'SIGKILL');
    expect((await writer).trim()).toBe('200');
    expect((await user.sh('cat survivor; ls -d dir* | wc -l')).trim().split('\n')).toEqual(['before', '200']);
    expect((await user.status()).processes.find((entry) => entry.role === 'driver')).toMatchObject({ state: 'ready', restarts: 1 });
  });

  it('is refused a second mount of the volume, and another on the mountpoint', async () => {
    await user.sh(`mkdir -p ${user.home}/mnt2`);
    expectRefusal(await user.sdfs('mount', '-d', user.volume, join(user.home, 'mnt2')), EXIT.busy, 'mounted already');
    await user.mustSdfs('init', join(user.home, 'volume2'));
    expectRefusal(await user.sdfs('mount', '-d', join(user.home, 'volume2'), user.mountpoint), EXIT.busy, 'already');
  });

  it('is not followed onto the volume by root, who would take its files over', async () => {
    expectRefusal(await user.sdfsAs('root', { ...user.env, SDFS_RUN_DIR: join(user.root, 'ns/run') }, 'mount', '-d', user.volume, '/mnt'), EXIT.denied, `belongs to user ${USER.uid}`);
  });

  it('is told who holds a busy mount, which stays', async () => {
    const holder = user.run('user', 'sh', ['-c', `cd ${user.mountpoint} && exec sleep 60`], { env: { ...user.env, HOLDER: user.root } });
    await until('a holder', () => processesWith(`HOLDER=${user.root}`).some((pid) => readFileSync(`/proc/${pid}/comm`, 'latin1') === 'sleep\n'));
    const refused = await user.sdfs('umount', user.mountpoint);
    expectRefusal(refused, EXIT.busy, 'sleep');
    await user.sh('echo still there >usable');
    for (const pid of processesWith(`HOLDER=${user.root}`)) process.kill(pid, 'SIGKILL');
    await holder;
  });

  it('finds everything again after a clean unmount', async () => {
    await user.sh('head -c 4000000 /dev/urandom >kept && sha256sum kept >sum');
    expect(await user.mustSdfs('umount', user.mountpoint)).toContain('unmounted');
    expect([user.entry(), user.serving()]).toEqual([undefined, []]);
    await mustMount();
    await user.sh('sha256sum -c sum');
  });

  it('detaches a busy mount, which ends with its last user', async () => {
    const holder = user.run('user', 'sh', ['-c', `cd ${user.mountpoint} && exec 3>>lazy && touch begun && while [ -e ${user.home}/wait ]; do sleep 0.1; done; echo late >&3`]);
    await user.sh(`touch ${user.home}/wait; until [ -e begun ]; do sleep 0.1; done`);
    await user.mustSdfs('umount', '--lazy', user.mountpoint);
    expect(user.entry()).toBeUndefined();
    await user.run('user', 'rm', [join(user.home, 'wait')]);
    expect((await holder).code).toBe(0);
    await ended();
    await mustMount();
    expect(await user.sh('cat lazy')).toBe('late\n');
  });

  it('ends the mount by force while programs use it, and while its keeper is stopped', async () => {
    process.kill(await user.pidOf('keeper'), 'SIGSTOP');
    const holder = user.run('user', 'sh', ['-c', `cd ${user.mountpoint} && while :; do date >>busy || exit 0; done`]);
    await user.mustSdfs('umount', '--force', user.mountpoint);
    expect([user.entry(), user.serving()]).toEqual([undefined, []]);
    await holder;
    await mustMount();
  });

  it('unmounts with fusermount3 as well', async () => {
    await user.run('user', 'fusermount3', ['-u', user.mountpoint]);
    await ended();
    await mustMount();
  });

  it('has a mount that goes when its keeper is killed, and mounts again when all are', async () => {
    process.kill(await user.pidOf('keeper'), 'SIGKILL');
    await ended();
    await mustMount();
    await user.sh('echo last >last');
    for (const pid of user.serving()) process.kill(pid, 'SIGKILL');
    await until('all processes have ended', () => user.serving().length === 0);
    await mustMount();
    expect(await user.sh('cat last')).toBe('last\n');
  });

  it('shows it to root in the status, who may unmount it', async () => {
    const place = `/tmp/sdfs-${USER.uid}`;
    await user.mustSdfs('umount', user.mountpoint);
    const env = { ...user.env, XDG_RUNTIME_DIR: undefined };
    expect(await user.sdfsAs('user', env, 'mount', '-d', user.volume, user.mountpoint)).toMatchObject({ code: 0 });
    expect(existsSync(place)).toBe(true);
    expect((await user.sdfsAs('root', env, 'status', user.mountpoint)).stdout).toContain(user.volume);
    expect(await user.sdfsAs('root', env, 'umount', user.mountpoint)).toMatchObject({ code: 0 });
    await ended();
    await mustMount();
  });

  describe('with the mount taken away', () => {
    beforeAll(async () => {
      await user.sh('echo last >last');
      await user.mustSdfs('umount', user.mountpoint);
    });

    it('shares it with others where the machine allows it, and asks', async () => {
      expectRefusal(await mount('-o', 'allow_other'), EXIT.denied, 'user_allow_other', '/etc/fuse.conf');
      await user.sh('echo user_allow_other >/etc/fuse.conf', 'root');
      await mustMount('-o', 'allow_other');
      await user.sh('echo shared >shared && echo own >own && chmod 600 own');
      expect(await user.sh(`cat ${user.mountpoint}/shared; ! cat ${user.mountpoint}/own 2>/dev/null`, 'other')).toBe('shared\n');
      expect(await user.sh(`cat ${user.mountpoint}/own`, 'root')).toBe('own\n');
      await user.mustSdfs('umount', user.mountpoint);
    });

    it.skipIf(reasonWithout('fuse-native') !== undefined)('mounts through fuse-native as well', async () => {
      await mustMount('--driver', 'fuse-native');
      expect(user.entry()?.options).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
      await user.sh('test "$(cat last)" = last; echo native >native');
      const killed = await user.pidOf('driver');
      process.kill(killed, 'SIGKILL');
      await until('another driver with a mount of its own', async () => (await user.run('user', 'cat', [join(user.mountpoint, 'native')])).stdout === 'native\n');
      expect(await user.pidOf('driver')).not.toBe(killed);
      await user.mustSdfs('umount', user.mountpoint);
      await ended();
    });

    it('mounts read-only and without access times', async () => {
      await mustMount('-o', 'ro,noatime,noexec');
      expect(user.entry()?.options).toEqual(expect.arrayContaining(['ro', 'noatime', 'noexec', 'nosuid', 'nodev']));
      await user.mustSdfs('umount', user.mountpoint);
    });

    it.each([
      ['set-uid programs', ['-o', 'suid'], 'nosuid,nodev'],
      ['devices', ['-o', 'dev'], 'nosuid,nodev'],
    ])('is refused %s', async (_what, words, message) => {
      expectRefusal(await mount(...words), EXIT.denied, message);
    });

    it('is told when fusermount3 is missing', async () => {
      const empty = join(user.home, 'bin');
      await user.run('user', 'mkdir', ['-p', empty]);
      expectRefusal(await user.run('user', '/usr/bin/env', [`PATH=${empty}`, ...user.command, 'mount', '-d', user.volume, user.mountpoint]), EXIT.unsupported, 'fusermount3', 'package fuse3');
    });

    it('is told when the mountpoint is somebody else\'s', async () => {
      mkdirSync(join(user.root, 'foreign'));
      expectRefusal(await user.sdfs('mount', '-d', user.volume, join(user.root, 'foreign')), EXIT.denied, 'a directory of your own');
    });

    it('is told when /dev/fuse is shut, and when there are too many mounts', async () => {
      await user.sh('chmod 600 /dev/fuse', 'root');
      expectRefusal(await mount(), EXIT.denied, 'chmod 666 /dev/fuse');
      await user.sh('chmod 666 /dev/fuse; echo "mount_max = 0" >/etc/fuse.conf', 'root');
      expectRefusal(await mount(), EXIT.busy, 'mount_max');
      await user.sh(': >/etc/fuse.conf', 'root');
    });

    it('keeps in memory only what outlives a logout', async () => {
      const { volume } = JSON.parse(readFileSync(join(user.volume, 'sdfs-volume.json'), 'utf8')) as { volume: string };
      await user.sh(`mkdir -p /run/systemd/seats; rm -rf ${user.root}/ns/shm/*`, 'root');
      await mustMount();
      expect(existsSync(join(`/tmp/sdfs-${USER.uid}`, volume, 'control.sock'))).toBe(true);
      expect(existsSync(join(user.volume, 'driver/journal'))).toBe(true);
      expect(await user.sh(`ls ${user.root}/ns/shm`, 'root')).toBe('');
      await user.sh('test "$(cat last)" = last');
      await user.mustSdfs('umount', user.mountpoint);
      await user.sh(`rm -r /run/systemd`, 'root');
    });

    it('does not use a runtime directory or a journal directory that somebody else made', async () => {
      const session = join(user.root, 'trap');
      mkdirSync(join(session), { mode: 0o700 });
      chownSync(session, USER.uid, USER.gid);
      symlinkSync(join(user.root, 'session'), join(session, 'sdfs'));
      expectRefusal(await user.sdfsAs('user', { ...user.env, XDG_RUNTIME_DIR: session }, 'mount', '-d', user.volume, user.mountpoint), EXIT.denied, 'SDFS_RUN_DIR');
      const { volume } = JSON.parse(readFileSync(join(user.volume, 'sdfs-volume.json'), 'utf8')) as { volume: string };
      await user.sh(`rm -rf ${user.root}/ns/shm/*; mkdir -m 777 ${user.root}/ns/shm/sdfs-${volume}`, 'root');
      await mustMount();
      await user.sh('test "$(cat last)" = last');
      expect(await user.sh(`ls ${user.root}/ns/shm/sdfs-${volume}`, 'root')).toBe('');
      await user.mustSdfs('umount', user.mountpoint);
    });
  });
});
