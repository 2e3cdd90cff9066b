// The life of a mount: unmounting and mounting again, a busy mount, a second mount, space, status.
import { readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

/** What is below the current directory, as one text: names, modes, owners, times, bytes. */
const DIGEST = "find . -printf '%P %y %m %U %G %n %T@ %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum";

describeOnMount('a mount', { faults: true }, (mount) => {
  it('keeps everything over an unmount and a new mount', { timeout: 120_000 }, async () => {
    await mount().sh(`
      mkdir kept && cd kept && cp -a /etc/. etc && chown -R 1234:5678 etc
      head -c 5000000 /dev/urandom >big && printf small >small && ln small hard && ln -s small soft && mkfifo fifo
      truncate -s 100M hollow && printf end >>hollow && rm -f big2 && cp big big2 && truncate -s 1234567 big2
      for n in $(seq 100); do printf "$n " >>appended; done
    `);
    const before = await mount().sh(`cd kept && ${DIGEST}`, { timeoutMs: 60_000 });
    await mount().umount();
    expect(mount().isMounted()).toBe(false);
    expect(mount().serving()).toEqual([]);
    await mount().mount();
    expect(await mount().sh(`cd kept && ${DIGEST}`, { timeoutMs: 60_000 })).toBe(before);
  });

  it('tells its volume, processes and disks in its status', async () => {
    const status = await mount().status();
    expect(status.health, status.problems.join('; ')).toBe('good');
    expect(status.volume.copies).toBe(2);
    expect(status.processes.map((entry) => entry.role).toSorted()).toEqual(['driver', 'keeper', 'worker', 'worker', 'worker']);
    expect(status.processes.every((entry) => entry.pid !== null && entry.state === 'ready' && entry.restarts === 0)).toBe(true);
    expect(status.disks.map((disk) => disk.directory)).toEqual(mount().disks);
    expect(await mount().mustSdfs('status')).toContain(mount().mountpoint);
  });

  it('says in df what can still be written', async () => {
    const [ours, disk] = [await statfs(mount().mountpoint), await statfs(mount().disks[0] ?? '')];
    const available = ours.bavail * ours.bsize;
    const onDisk = disk.bavail * disk.bsize;
    // All three disks are directories on one device, and every byte is there twice.
    expect(available).toBeGreaterThan(onDisk * 0.4);
    expect(available).toBeLessThan(onDisk * 0.51);
    expect(await mount().sh(`df -hT . | tail -n 1`)).toMatch(/fuse/);
  });

  it('tells which blocks a file has, and on which disks', async () => {
    await writeFile(mount().path('informed'), Buffer.alloc(2_500_000, 3));
    await mount().mustSdfs('sync', mount().mountpoint);
    const info = await mount().mustSdfs('info', mount().path('informed'));
    expect(info).toMatch(/[0-9a-f]{16}/);
  });

  it('refuses a second mount of its volume, and says who holds it', async () => {
    const again = await mount().sdfs('mount', '-d', mount().volume, mount().disks[0] ?? '');
    expect(again.code).toBe(4);
    expect(again.stderr).toContain(String((await mount().pids('keeper'))[0]));
    expect(again.stderr).toContain(mount().mountpoint);
    expect((await mount().status()).health).toBe('good');
  });

  it('is not unmounted while it is busy, and the message names who holds it', async () => {
    const holder = spawn('sleep', ['60'], { cwd: mount().mountpoint, env: mount().env, stdio: 'ignore' });
    const ended = new Promise((resolve) => holder.once('exit', resolve));
    try {
      const refused = await mount().sdfs('umount', mount().mountpoint);
      expect(refused.code).toBe(4);
      expect(refused.stderr).toContain(String(holder.pid));
      expect(refused.stderr).toContain('sleep');
      expect(mount().isMounted()).toBe(true);
      await mount().sh('echo still there >usable');
    } finally {
      holder.kill('SIGKILL');
      await ended;
    }
  });

  it('is detached at once by umount --lazy, and ends with its last user', async () => {
    const holder = spawn('sh', ['-c', 'exec 3>>lazy; read line; echo "$line" >&3'], { cwd: mount().mountpoint, env: mount().env, stdio: ['pipe', 'ignore', 'ignore'] });
    const ended = new Promise<number | null>((resolve) => holder.once('exit', resolve));
    await until('the file of the holder', () => stat(mount().path('lazy')).then(() => true, () => false));
    await mount().mustSdfs('umount', '--lazy', mount().mountpoint);
    expect(mount().isMounted()).toBe(false);
    holder.stdin.end('written after the unmount\n');
    expect(await ended).toBe(0);
    await until('the processes of the mount have ended', () => mount().serving().length === 0);
    await mount().mount();
    expect(await readFile(mount().path('lazy'), 'utf8')).toBe('written after the unmount\n');
  });

  it('ends cleanly when the keeper gets SIGTERM', async () => {
    const start = Date.now();
    await writeFile(mount().path('terminated'), 'kept');
    await mount().kill('keeper', 0, 'SIGTERM');
    await until('the processes of the mount have ended', () => mount().serving().length === 0 && !mount().isMounted(), 30_000);
    await mount().mount();
    expect(await readFile(mount().path('terminated'), 'utf8')).toBe('kept');
    expect(await mount().errorsInLog(start)).toEqual([]);
  });

  it('ends cleanly by umount(8)', async () => {
    await writeFile(mount().path('by-umount'), 'kept');
    await mount().sh(`umount ${mount().mountpoint}`, { cwd: '/' });
    await until('the processes of the mount have ended', () => mount().serving().length === 0, 30_000);
    await mount().mount();
    expect(await readFile(mount().path('by-umount'), 'utf8')).toBe('kept');
  });

  it('is taken away by umount --force while programs use it', async () => {
    const holder = spawn('sh', ['-c', 'while :; do date >>busy || exit 0; done'], { cwd: mount().mountpoint, env: mount().env, stdio: 'ignore' });
    const ended = new Promise((resolve) => holder.once('exit', resolve));
    await until('the file of the holder', () => stat(mount().path('busy')).then(() => true, () => false));
    await mount().mustSdfs('umount', '--force', mount().mountpoint);
    expect(mount().isMounted()).toBe(false);
    expect(mount().serving()).toEqual([]);
    holder.kill('SIGKILL');
    await ended;
    await mount().mount();
    expect(await readFile(mount().path('by-umount'), 'utf8')).toBe('kept');
  });

  it('mounted read-only refuses writes and gives all reads', async () => {
    await mount().umount();
    await mount().mustSdfs('mount', '-d', '-o', 'ro', mount().volume, mount().mountpoint);
    expect(await mount().sh('cat by-umount; touch new 2>&1 || true')).toMatch(/^kept.*Read-only file system/);
    await mount().umount();
    await mount().mount();
  });
});
