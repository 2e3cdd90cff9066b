// The package's operations, each with its Callback, onto the file system by paths: errors become errnos here.
import { errnoOf } from '../base/errno.ts';
import { FsError } from '../base/errors.ts';
import type { FailureLog } from '../base/failure-log.ts';
import type { XattrMode } from '../vfs/filesystem.ts';
import { attributeWords, packageAttributes, packageStatistics, timestamp } from './attributes.ts';
import type { CorrectedOperations } from './corrections.ts';
import type { Callback, PackageOperations } from './package.ts';
import type { PathFileSystem } from './path-file-system.ts';

const XATTR_MODES: ReadonlyMap<number, XattrMode> = new Map([[0, 'set'], [1, 'create'], [2, 'replace']]);
const NUL = Buffer.alloc(1);

export interface Operations {
  /** What the package does right. */
  readonly plain: PackageOperations;
  readonly corrected: CorrectedOperations;
}

export interface OperationsOptions {
  readonly failures: FailureLog;
  /** A handler failed with something else than an FsError. The request has been answered with EIO. */
  readonly onDefect: (error: unknown) => void;
  /** Requests in work, up or down. */
  readonly onWaiting: (change: 1 | -1) => void;
  /** True when nothing is served any more: all requests are answered with ENODEV. */
  readonly isStopped: () => boolean;
}

export function makeOperations(fs: PathFileSystem, options: OperationsOptions): Operations {
  /** Exactly one answer per request: the value that `work` resolves with, or the errno of what it threw. */
  function answer<T>(operation: string, done: (status: number, value?: T) => void, work: () => T | Promise<T>): void {
    options.onWaiting(1);
    const finish = (status: number, value?: T): void => {
      options.onWaiting(-1);
      done(status, value);
    };
    const begin = async (): Promise<T> => {
      if (options.isStopped()) throw new FsError('ENODEV', 'the mount ends');
      return work();
    };
    begin().then(
      (value) => finish(0, value),
      (error: unknown) => {
        options.failures.report({ operation, inode: 0 }, error);
        finish(error instanceof FsError ? -errnoOf(error.code) : -errnoOf('EIO'));
        if (!(error instanceof FsError)) options.onDefect(error);
      },
    );
  }

  /** A count goes back as the status of the answer. */
  function count(operation: string, done: Callback, work: () => Promise<number>): void {
    answer<number>(operation, (status, bytes) => done(status === 0 ? (bytes ?? 0) : status), work);
  }

  return {
    plain: {
      getattr: (path: string, done: Callback) => answer('getattr', done, async () => packageAttributes(await fs.getAttributes(path))),
      fgetattr: () => {}, // said to be there; corrected
      readdir: (path: string, done: (status: number, names?: string[], attributes?: object[]) => void) =>
        answer('readdir', (status, entries) => done(status, entries?.map(({ name }) => name), entries?.map(({ type, inode }) => ({ mode: type, ino: inode, atime: 0, mtime: 0, ctime: 0 }))), () => fs.list(path)),
      readlink: (path: string, done: Callback) => answer('readlink', done, async () => (await fs.readLink(path)).toString()),
      statfs: (_path: string, done: Callback) => answer('statfs', done, async () => packageStatistics(await fs.statistics())),
      chmod: (path: string, mode: number, done: Callback) => answer('chmod', done, () => fs.changeMode(path, mode)),
      chown: (path: string, uid: number, gid: number, done: Callback) => answer('chown', done, () => fs.changeOwner(path, { uid, gid })),
      truncate: (path: string, size: number, done: Callback) => answer('truncate', done, () => fs.truncate(path, size)),
      ftruncate: (_path: string, id: number, size: number, done: Callback) => answer('ftruncate', done, () => fs.truncateOpen(id, size)),
      utimens: () => {}, // corrected
      mknod: (path: string, mode: number, device: number, done: Callback) => answer('mknod', done, () => fs.makeNode(path, { mode, device })),
      mkdir: (path: string, mode: number, done: Callback) => answer('mkdir', done, () => fs.makeDirectory(path, mode)),
      symlink: (target: string, path: string, done: Callback) => answer('symlink', done, () => fs.makeSymlink(target, path)),
      link: (from: string, to: string, done: Callback) => answer('link', done, () => fs.link(from, to)),
      unlink: (path: string, done: Callback) => answer('unlink', done, () => fs.unlink(path)),
      rmdir: (path: string, done: Callback) => answer('rmdir', done, () => fs.removeDirectory(path)),
      rename: (from: string, to: string, done: Callback) => answer('rename', done, () => fs.rename(from, to)),
      create: (path: string, mode: number, done: Callback) => answer('create', done, () => fs.create(path, mode)),
      open: (path: string, flags: number, done: Callback) => answer('open', done, () => fs.open(path, flags)),
      release: (_path: string, id: number, done: Callback) => answer('release', done, () => fs.close(id)),
      read: (_path: string, id: number, into: Buffer, bytes: number, offset: number, done: Callback) => count('read', done, () => fs.read(id, into.subarray(0, bytes), offset)),
      write: (_path: string, id: number, data: Buffer, bytes: number, offset: number, done: Callback) => count('write', done, () => fs.write(id, data.subarray(0, bytes), offset)),
      fsync: (_path: string, _dataOnly: number, _id: number, done: Callback) => answer('fsync', done, () => fs.sync()),
      fsyncdir: (_path: string, _dataOnly: number, _id: number, done: Callback) => answer('fsyncdir', done, () => fs.sync()),
      getxattr: () => {}, // corrected
      listxattr: () => {}, // corrected
      setxattr: (path: string, name: string, value: Buffer, _position: number, flags: number, done: Callback) => answer('setxattr', done, () => {
        const mode = XATTR_MODES.get(flags);
        if (mode === undefined) throw new FsError('EINVAL', `setxattr flags ${flags}`);
        return fs.setXattr(path, name, value, mode);
      }),
      removexattr: (path: string, name: string, done: Callback) => answer('removexattr', done, () => fs.removeXattr(path, name)),
    } as PackageOperations,
    corrected: {
      fgetattr: (_path, id, done) => answer('fgetattr', done, async () => attributeWords(await fs.getOpenAttributes(id))),
      getxattr: (path, name, bytesMax, done) => answer('getxattr', done, async () => fitting(await fs.getXattr(path, name), bytesMax)),
      listxattr: (path, bytesMax, done) => answer('listxattr', done, async () => fitting(Buffer.concat((await fs.listXattrs(path)).flatMap((name) => [name, NUL])), bytesMax)),
      utimens: (path, { accessedMs, modifiedMs }, done) => answer('utimens', (status) => done(status), () =>
        // Where the second time is lost, the first stands for both: right for touch, which sets them alike.
        fs.setTimes(path, { accessed: timestamp(accessedMs), modified: timestamp(modifiedMs ?? accessedMs) })),
    },
  };
}

/** A `bytesMax` of 0 asks for the length alone. */
function fitting(value: Buffer, bytesMax: number): Buffer {
  if (bytesMax > 0 && value.length > bytesMax) throw new FsError('ERANGE');
  return value;
}
