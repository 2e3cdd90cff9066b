// The life of a mount by fuse-native: status, unmounts of every kind, a driver that dies, a keeper that dies.
import { spawn } from 'node:child_process';
import { open, readFile, readdir, rmdir, mkdir, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { describeOnEdges } from '../support/edges.ts';
import type { TestMount } from '../support/mount.ts';
import { until } from '../support/programs.ts';

/** Faults are made on purpose, and the tests look at the log where they are not. */
describeOnEdges('a mount', { faults: true, edges: ['fuse-native'] }, (mount) => {
  const path = (...parts: string[]): string => mount().path(...parts);

  it('says in its status what serves it', async () => {
    expect((await mount().status()).mount?.driver).toBe('fuse-native');
    expect(await mount().mustSdfs('status')).toContain('by fuse-native');
  });

  it('has what the other edge wrote, and the other way round', async () => {
    await writeFile(path('here'), 'by this edge');
    await mount().umount();
    await mount().mustSdfs('mount', '-d', '--driver', 'direct', mount().volume, mount().mountpoint);
    expect(await readFile(path('here'), 'utf8')).toBe('by this edge');
    await writeFile(path('there'), 'by the other edge');
    await mount().umount();
    await mount().mount();
    expect(await readFile(path('there'), 'utf8')).toBe('by the other edge');
  });

  it('keeps the two times of a file apart', async () => {
    await writeFile(path('dated'), '');
    await utimes(path('dated'), 1000, 2000.5);
    const { atimeMs, mtimeMs } = await stat(path('dated'));
    expect([atimeMs, mtimeMs]).toEqual([1_000_000, 2_000_500]);
  });

  it('removes a directory whose file is unlinked and open', async () => {
    await mkdir(path('removed'));
    const file = await open(path('removed/file'), 'w');
    await unlink(path('removed/file'));
    expect((await file.stat()).nlink).toBe(0);
    expect(await readdir(path('removed'))).toEqual([]);
    await rmdir(path('removed'));
    await file.close();
  });

  it('ends cleanly by umount(8), by SIGTERM, and by sdfs umount --lazy', async () => {
    await writeFile(path('kept'), 'kept');
    const start = Date.now();
    for (const take of [takeByProgram, takeBySignal, takeLazily]) {
      await take(mount());
      await until('the processes of the mount have ended', () => mount().serving().length === 0 && !mount().isMounted(), 30_000);
      await mount().mount();
      expect(await readFile(path('kept'), 'utf8')).toBe('kept');
    }
    expect(await mount().errorsInLog(start)).toEqual([]);
  });

  it('is not unmounted while it is busy, and is by force', async () => {
    const holder = spawn('sleep', ['60'], { cwd: mount().mountpoint, env: mount().env, stdio: 'ignore' });
    const ended = new Promise((resolve) => holder.once('exit', resolve));
    expect((await mount().sdfs('umount', mount().mountpoint)).code).toBe(4);
    await mount().mustSdfs('umount', '--force', mount().mountpoint);
    expect([mount().isMounted(), mount().serving()]).toEqual([false, []]);
    holder.kill('SIGKILL');
    await ended;
    await mount().mount();
  });

  it('has all that was acknowledged when its driver was killed and another serves', async () => {
    await writeFile(path('acknowledged'), Buffer.alloc(300_000, 7));
    const killed = await mount().kill('driver');
    await until('another driver', async () => {
      const [driver] = await mount().pids('driver').catch(() => []);
      return driver !== undefined && driver !== killed;
    });
    await mount().untilReady();
    expect((await readFile(path('acknowledged'))).equals(Buffer.alloc(300_000, 7))).toBe(true);
    await writeFile(path('acknowledged'), 'again');
  });

  it('goes away when its keeper is killed, and loses nothing', async () => {
    await mount().kill('keeper');
    await until('the processes of the mount have ended', () => mount().serving().length === 0 && !mount().isMounted(), 30_000);
    await mount().mount();
    expect(await readFile(path('acknowledged'), 'utf8')).toBe('again');
  });
});

const takeByProgram = (mount: TestMount): Promise<unknown> => mount.run('umount', [mount.mountpoint]);
const takeBySignal = (mount: TestMount): Promise<unknown> => mount.kill('keeper', 0, 'SIGTERM');
const takeLazily = (mount: TestMount): Promise<unknown> => mount.mustSdfs('umount', '--lazy', mount.mountpoint);
