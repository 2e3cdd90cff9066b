// The file system by paths, over the real one: what libfuse asks for, and in which order it asks.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { PathFileSystem } from '../../src/fuse-native/path-file-system.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const HIDDEN = '/.fuse_hidden0000000200000001';
let harness: Harness;
let fs: PathFileSystem;
beforeEach(async () => {
  harness = await openHarness();
  fs = new PathFileSystem(harness.fs, { uid: 12, gid: 34 });
});
afterEach(() => harness.end());

const codeOf = (work: Promise<unknown>): Promise<string> => work.then(() => 'no error', (error: unknown) => (error instanceof FsError ? error.code : String(error)));
const names = async (path = '/'): Promise<string[]> => (await fs.list(path)).map(({ name }) => name);

async function written(path: string, text: string): Promise<number> {
  const id = await fs.create(path, 0o640);
  await fs.write(id, Buffer.from(text), 0);
  return id;
}

async function textOf(id: number): Promise<string> {
  const into = Buffer.alloc(100);
  return into.toString('utf8', 0, await fs.read(id, into, 0));
}

it('walks paths, and what is made belongs to who mounted', async () => {
  await fs.makeDirectory('/a', 0o755);
  await fs.makeDirectory('/a/b', 0o755);
  fs.close(await written('/a/b/file', 'text'));
  expect(await fs.getAttributes('/a/b/file')).toMatchObject({ uid: 12, gid: 34, mode: 0o100640, size: 4 });
  expect(await names('/a/b')).toEqual(['.', '..', 'file']);
  expect(await codeOf(fs.getAttributes('/a/none/file'))).toBe('ENOENT');
  expect(await codeOf(fs.removeDirectory('/'))).toBe('EBUSY');
});

it('gives open files small positive ids, which are used again', async () => {
  const [first, second] = [await written('/one', '1'), await written('/two', '2')];
  expect([first, second]).toEqual([1, 2]);
  fs.close(first);
  expect(await codeOf(fs.read(first, Buffer.alloc(1), 0))).toBe('EBADF');
  expect(await fs.open('/two', 0)).toBe(1);
});

it('takes the name of an open file away where libfuse would hide it, and keeps the file until it is closed', async () => {
  const id = await written('/doomed', 'still here');
  const { inode } = await fs.getOpenAttributes(id);
  await fs.rename('/doomed', HIDDEN);
  expect(await names()).toEqual(['.', '..']);
  expect((await fs.getAttributes(HIDDEN)).links).toBe(0);
  expect(await textOf(id)).toBe('still here');
  const again = await fs.open(HIDDEN, 0);
  fs.close(id);
  expect(await textOf(again)).toBe('still here');
  fs.close(again);
  expect(() => harness.fs.getAttributes(inode)).toThrow(FsError);
  expect(await codeOf(fs.getAttributes(HIDDEN))).toBe('ENOENT');
});

it('keeps an unlinked file for the next mount to free when the driver dies', async () => {
  const id = await written('/doomed', 'x');
  const { inode } = await fs.getOpenAttributes(id);
  await fs.rename('/doomed', HIDDEN);
  harness = await harness.successor();
  expect(harness.fs.recoverOrphans({ free: true })).toBe(1);
  expect(() => harness.fs.getAttributes(inode)).toThrow(FsError);
});

it('frees at once what loses its last name and is not open', async () => {
  fs.close(await written('/file', 'x'));
  fs.close(await written('/other', 'y'));
  await fs.makeDirectory('/dir', 0o755);
  const inodes = await Promise.all(['/file', '/other', '/dir'].map(async (path) => (await fs.getAttributes(path)).inode));
  await fs.rename('/file', '/other');
  await fs.unlink('/other');
  await fs.removeDirectory('/dir');
  for (const inode of inodes) expect(() => harness.fs.getAttributes(inode)).toThrow(FsError);
});

it('refuses names that are libfuse\'s own, so that no file is taken for a hidden one', async () => {
  fs.close(await written('/file', 'x'));
  expect(await codeOf(fs.rename('/file', HIDDEN))).toBe('EPERM');
  expect(await codeOf(fs.create(HIDDEN, 0o600))).toBe('EPERM');
  expect(await names()).toEqual(['.', '..', 'file']);
});

it('neither lists nor makes names that are no UTF-8, which the package cannot tell apart', async () => {
  harness.fs.makeDirectory(1 as never, Buffer.from([0xff]), 0o755, harness.caller());
  expect(await names()).toEqual(['.', '..']);
  expect(await codeOf(fs.makeDirectory('/\ufffd', 0o755))).toBe('EINVAL');
});

it('leaves out what the kernel would have to heed: ACLs are neither set nor listed', async () => {
  fs.close(await written('/file', 'x'));
  await fs.setXattr('/file', 'user.a', Buffer.from('1'), 'create');
  expect(await codeOf(fs.setXattr('/file', 'system.posix_acl_access', Buffer.alloc(4), 'set'))).toBe('EOPNOTSUPP');
  expect((await fs.listXattrs('/file')).map(String)).toEqual(['user.a']);
  expect(String(await fs.getXattr('/file', 'user.a'))).toBe('1');
});

it('leaves the owner or the group alone where chown says so', async () => {
  fs.close(await written('/file', 'x'));
  await fs.changeOwner('/file', { uid: 0xffff_ffff, gid: 99 });
  expect(await fs.getAttributes('/file')).toMatchObject({ uid: 12, gid: 99 });
});
