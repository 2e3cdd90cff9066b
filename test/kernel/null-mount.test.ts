// The kernel edge on a real mount: the null file system in another process, used by ordinary system calls.
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { link, mkdir, mkdtemp, open, readFile, readdir, readlink, rename, rm, rmdir, stat, symlink, truncate, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { abortConnection, abortMount } from '../../src/kernel/connection.ts';
import { findMount } from '../../src/kernel/mount-table.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return process.getuid?.() === 0;
  } catch {
    return false;
  }
}

/** Compiled to a folder below node_modules, where its imports of packages are found. */
async function compile(directory: string): Promise<string> {
  const config = join(directory, 'tsconfig.json');
  const out = await mkdtemp(join(PROJECT, 'node_modules/.null-mount-'));
  await writeFile(config, JSON.stringify({
    extends: join(PROJECT, 'tsconfig.build.json'),
    compilerOptions: { outDir: out, rootDir: join(PROJECT, 'src'), sourceMap: false, typeRoots: [join(PROJECT, 'node_modules/@types')] },
    include: [], files: [join(PROJECT, 'src/driver/null-mount.ts')],
  }));
  await run(process.execPath, [join(PROJECT, 'node_modules/typescript/bin/tsc'), '-p', config]);
  return out;
}

describe.skipIf(!canMount())('a real mount', () => {
  let directory = '';
  let compiled = '';
  let mountpoint = '';
  let server: ChildProcess;
  let ended: Promise<number | null>;

  async function serve(): Promise<void> {
    server = spawn(process.execPath, [join(compiled, 'driver/null-mount.js'), mountpoint], { stdio: ['ignore', 'pipe', 'inherit'] });
    ended = new Promise((settle) => server.once('exit', settle));
    await new Promise((settle, reject) => {
      server.stdout!.once('data', settle);
      server.once('exit', (code) => reject(new Error(`the null mount ended with ${code}`)));
    });
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sdfs-null-mount-'));
    mountpoint = join(directory, 'mnt');
    await mkdir(mountpoint);
    compiled = await compile(directory);
    await serve();
  });

  afterAll(async () => {
    // Without its server a mount answers everything with an error, so nothing below can hang.
    server.kill('SIGKILL');
    await ended;
    await run('umount', ['-l', mountpoint]).catch(() => {});
    await rm(compiled, { recursive: true });
    await rm(directory, { recursive: true });
  });

  it('serves names, links and attributes', async () => {
    const at = (name: string) => join(mountpoint, name);
    await mkdir(at('dir'));
    await writeFile(at('dir/file'), 'x'.repeat(100));
    await rename(at('dir/file'), at('dir/moved'));
    await link(at('dir/moved'), at('alias'));
    await symlink('dir/moved', at('link'));
    await utimes(at('alias'), new Date(-5000), 1_700_000_000.25);
    expect(await readdir(mountpoint)).toEqual(['alias', 'dir', 'link']);
    expect(await stat(at('link'))).toMatchObject({ size: 100, nlink: 2, atimeMs: -5000, mtimeMs: 1_700_000_000_250 });
    expect(await readlink(at('link'))).toBe('dir/moved');
    await expect(stat(at('absent'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(stat(at('n'.repeat(256)))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    await expect(rmdir(at('dir'))).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await Promise.all([unlink(at('dir/moved')), unlink(at('alias')), unlink(at('link'))]);
    await rmdir(at('dir'));
    expect(await readdir(mountpoint)).toEqual([]);
  });

  it('carries megabytes both ways, and keeps an unlinked file that is open', async () => {
    const file = join(mountpoint, 'large');
    await writeFile(file, Buffer.alloc((5 << 20) + 123, 1));
    expect((await stat(file)).size).toBe((5 << 20) + 123);
    await run('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches']);
    expect((await readFile(file)).length).toBe((5 << 20) + 123);
    await truncate(file, 10);
    const handle = await open(file, 'r+');
    await unlink(file);
    await handle.write(Buffer.from('after the end'), 0, 13, 10);
    await handle.sync();
    expect((await handle.stat()).size).toBe(23);
    await handle.close();
  });

  it('lists a directory of many entries whole, while many ask at once', async () => {
    const many = join(mountpoint, 'many');
    await mkdir(many);
    const names = Array.from({ length: 1500 }, (_, index) => `entry-${index}`);
    await Promise.all(names.map((name) => writeFile(join(many, name), '')));
    expect(new Set(await readdir(many))).toEqual(new Set(names));
    await rm(many, { recursive: true });
  });

  it('ends with code 0 when it is asked to, and the mount is gone', async () => {
    server.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(findMount(mountpoint)).toBeUndefined();
  });

  it('ends when its connection is aborted, and programs get an error', async () => {
    await serve();
    const { minor } = findMount(mountpoint)!;
    // As of one whose mount is gone, and whose number this one got.
    expect(abortMount(`${mountpoint}-of-another`, minor)).toBe(false);
    await readdir(mountpoint);
    expect(abortMount(mountpoint, minor)).toBe(true);
    expect(await ended).toBe(0);
    await expect(writeFile(join(mountpoint, 'late'), '')).rejects.toMatchObject({ code: 'ENOTCONN' });
    await run('umount', ['-l', mountpoint]);
    expect(abortConnection(minor)).toBe(false);
  });
});
