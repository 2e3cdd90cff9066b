// What stands between this room and the C of the package: records, u32 fields, option words, and what may be missing.
import { expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import { attributeWords, packageStatistics } from '../../src/fuse-native/attributes.ts';
import { correct } from '../../src/fuse-native/corrections.ts';
import type { CorrectedOperations } from '../../src/fuse-native/corrections.ts';
import { packageOptions } from '../../src/fuse-native/mount-words.ts';
import { loadPackage } from '../../src/fuse-native/package.ts';
import type { PackageMount, Signal } from '../../src/fuse-native/package.ts';

const OPTIONS = { readOnly: false, allowOther: false, noSuid: false, noDev: false, noExec: false, accessTime: 'relatime', fsname: '/a,b\\c', subtype: 'sdfs' } as const;

/** The package's own way from a record to an operation, without the C. */
function corrected(operations: Partial<CorrectedOperations>): (name: '_op_utimens' | '_op_getxattr', record: Buffer, ...rest: unknown[]) => void {
  const mount = { _handlers: [] } as unknown as PackageMount;
  mount._handlers[0] = (_record, _opcode, name, ...rest) => (mount as unknown as Record<string, (...all: unknown[]) => void>)[name as string]?.(...rest);
  correct(mount, operations as CorrectedOperations);
  return (name, record, ...rest) => void mount._handlers[0]?.(record, 12, name, ...rest);
}

function timesIn(record: Buffer): unknown {
  let found: unknown;
  corrected({ utimens: (_path, times) => { found = times; } })('_op_utimens', record, () => {}, '/f', record.readUInt32LE(104), record.readUInt32LE(108));
  return found;
}

it('finds the modification time, which the package loses, in the record of the request', () => {
  const record = Buffer.alloc(360);
  record.writeBigInt64LE(981_173_106_789n, 104);
  record.writeBigInt64LE(-5n, 112);
  expect(timesIn(record)).toEqual({ accessedMs: 981_173_106_789, modifiedMs: -5 });
});

it('takes no time from a record that is not the one it knows', () => {
  const record = Buffer.alloc(368);
  record.writeBigInt64LE(1n, 104);
  record.writeBigInt64LE(2n, 112);
  expect(timesIn(record)).toEqual({ accessedMs: 1, modifiedMs: undefined });
});

it('never copies more of an extended attribute than there is room for, and answers with its length', () => {
  const asked: number[] = [];
  const invoke = corrected({ getxattr: (_path, _name, bytesMax, done) => { asked.push(bytesMax); done(0, Buffer.from('value')); } });
  const answers: unknown[] = [];
  const signal: Signal = (status) => answers.push(status);
  const into = Buffer.alloc(8);
  invoke('_op_getxattr', Buffer.alloc(360), signal, '/f', 'user.a', into);
  invoke('_op_getxattr', Buffer.alloc(360), signal, '/f', 'user.a', Buffer.alloc(0));
  expect([asked, answers, into.toString('utf8', 0, 5)]).toEqual([[8, 0], [5, 5], 'value']);
});

it('fits numbers into 32 bits: inodes by their low half, blocks by larger blocks, times from 1970 on', () => {
  const time = { seconds: -1, nanoseconds: 0 };
  const words = attributeWords({
    inode: 2 ** 32 + 7, mode: 0o100644, links: 0, uid: 1, gid: 2, device: 0, size: 2 ** 33 + 1, blocks: 8,
    accessed: time, modified: { seconds: 2 ** 32, nanoseconds: 999_999_999 }, changed: time, born: time,
  } as never);
  expect([words[3], words[4], words[6], words[7]]).toEqual([1, 2, 0, 7]);
  expect([words[12], words[13]]).toEqual([0, 0]);
  expect((words[14] ?? 0) + (words[15] ?? 0) * 2 ** 32).toBe(2 ** 32 * 1000 + 999);
  const statistics = packageStatistics({ blockBytes: 4096, blocks: 2 ** 34, blocksFree: 2 ** 33, blocksAvailable: 2 ** 33, inodes: 2 ** 40, inodesFree: 5, nameBytesMax: 255 });
  expect(statistics).toMatchObject({ bsize: 32_768, blocks: 2 ** 31, bfree: 2 ** 30, files: 2 ** 32 - 1, ffree: 5 });
});

it('escapes the name of the source, and asks for big writes', () => {
  const words = packageOptions(OPTIONS, { root: true }).fsname;
  expect(words).toMatch(/^\/a\\,b\\\\c,big_writes,max_write=131072,/);
  expect(words).toMatch(/,suid,dev$/);
  expect(packageOptions({ ...OPTIONS, readOnly: true, noSuid: true, noDev: true }, { root: false }).fsname).toMatch(/,ro$/);
  expect(() => packageOptions({ ...OPTIONS, fsname: 'x'.repeat(900) }, { root: true })).toThrow('too long for libfuse');
});

it('says what to install where something is missing', () => {
  const failing = (message: string, code?: string) => () => {
    throw Object.assign(new Error(message), { code });
  };
  const messageOf = (require: (id: string) => unknown): string => {
    try {
      loadPackage(require);
      return 'loaded';
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      return (error as Error).message;
    }
  };
  expect(messageOf(failing("Cannot find module 'fuse-native'", 'MODULE_NOT_FOUND'))).toContain('npm ci --include=optional');
  expect(messageOf(failing('libfuse.so.2: cannot open shared object file: No such file or directory'))).toContain('apt-get install libfuse2');
  expect(messageOf(failing('No native build was found for platform=linux arch=arm64'))).toContain('no build for');
  expect(messageOf(() => ({ version: '3.0.0' }))).toContain('2.2.6 is wanted');
});
