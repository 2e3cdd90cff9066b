// Every row of the opcode table: golden request bytes, the one call that they mean, and the exact size of the reply.
import { describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../src/fuse/opcode-table.ts';
import { ATTRIBUTES, Bench, CALLER, request, u32, u64 } from './bench.ts';
import type { Answers } from './bench.ts';

interface Golden {
  readonly opcode: number;
  readonly name: string;
  readonly body: readonly (Buffer | string)[];
  readonly answers?: Answers;
  /** Method and arguments; absent: the file system is not asked. */
  readonly call?: readonly [string, ...unknown[]];
  /** Of a success, header included; a negative number is the errno of a refusal; 'none': no reply. */
  readonly reply: number | 'none';
}

const entry = { lookup: () => ATTRIBUTES, makeSymlink: () => ATTRIBUTES, makeNode: () => ATTRIBUTES, makeDirectory: () => ATTRIBUTES, link: () => ATTRIBUTES };
const read = (size: number, openFlags = 0x8000) => [u64(0, 4096), u32(size, 0), u64(0), u32(openFlags, 0)];
const write = (writeFlags: number, openFlags: number) => [u64(0, 8192), u32(4, writeFlags), u64(0), u32(openFlags, 0), 'data'];
const writeCall = (options: object) => ['write', 7, 8192, 'data', { killPrivileges: false, durability: 'process', ...options }, CALLER] as const;
const setattr = (valid: number) => [u32(valid, 0), u64(0, 0x3_0000_0000, 0, -5, 1_700_000_000, 9), u32(6, 7, 8, 0o100600, 0, 11, 12, 0)];
const fallocate = (mode: number) => [u64(0, 100, 200), u32(mode, 0)];
const rename = { rename: () => undefined };
const pair = [{ parent: 7, name: 'old' }, { parent: 9, name: 'new' }];

const GOLDEN: readonly Golden[] = [
  { opcode: 1, name: 'LOOKUP', body: ['na\xffme\0'], answers: entry, call: ['lookup', 7, 'na\xffme'], reply: 144 },
  { opcode: 2, name: 'FORGET', body: [u64(3)], call: ['forget', 7, 3], reply: 'none' },
  { opcode: 3, name: 'GETATTR', body: [u32(0, 0), u64(0)], answers: { getAttributes: () => ATTRIBUTES }, call: ['getAttributes', 7], reply: 120 },
  { opcode: 4, name: 'SETATTR with no change', body: setattr(0), answers: { setAttributes: () => ATTRIBUTES }, call: ['setAttributes', 7, {}, CALLER], reply: 120 },
  {
    opcode: 4, name: 'SETATTR with values', body: setattr(1 | 2 | 4 | 8 | 16 | 32 | 1024 | 2048), answers: { setAttributes: () => ATTRIBUTES },
    call: ['setAttributes', 7, {
      mode: 0o100600, uid: 11, gid: 12, size: 0x3_0000_0000, accessed: { seconds: -5, nanoseconds: 6 }, modified: { seconds: 1_700_000_000, nanoseconds: 7 },
      changed: { seconds: 9, nanoseconds: 8 }, killPrivileges: true,
    }, CALLER], reply: 120,
  },
  {
    opcode: 4, name: 'SETATTR with times of now', body: setattr(16 | 32 | 128 | 256), answers: { setAttributes: () => ATTRIBUTES },
    call: ['setAttributes', 7, { accessed: 'now', modified: 'now' }, CALLER], reply: 120,
  },
  { opcode: 5, name: 'READLINK', body: [], answers: { readLink: () => Buffer.from('target') }, call: ['readLink', 7], reply: 22 },
  { opcode: 6, name: 'SYMLINK', body: ['link\0', '../to\0'], answers: entry, call: ['makeSymlink', 7, 'link', '../to', CALLER], reply: 144 },
  { opcode: 8, name: 'MKNOD', body: [u32(0o020666, 0x801, 0o22, 0), 'dev\0'], answers: entry, call: ['makeNode', 7, 'dev', { mode: 0o020666, device: 0x801 }, CALLER], reply: 144 },
  { opcode: 9, name: 'MKDIR', body: [u32(0o1755, 0o22), 'dir\0'], answers: entry, call: ['makeDirectory', 7, 'dir', 0o041755, CALLER], reply: 144 },
  { opcode: 10, name: 'UNLINK', body: ['gone\0'], call: ['unlink', 7, 'gone', CALLER], reply: 16 },
  { opcode: 11, name: 'RMDIR', body: ['gone\0'], call: ['removeDirectory', 7, 'gone', CALLER], reply: 16 },
  { opcode: 12, name: 'RENAME', body: [u64(9), 'old\0', 'new\0'], answers: rename, call: ['rename', ...pair, 'replace', CALLER], reply: 16 },
  { opcode: 13, name: 'LINK', body: [u64(42), 'alias\0'], answers: entry, call: ['link', 42, 7, 'alias', CALLER], reply: 144 },
  { opcode: 14, name: 'OPEN', body: [u32(0, 0)], reply: -38 },
  { opcode: 15, name: 'READ', body: read(10), answers: { read: () => [Buffer.from('01234'), Buffer.from('56789')] }, call: ['read', 7, 4096, 10, undefined], reply: 26 },
  { opcode: 15, name: 'READ behind the end', body: read(10), answers: { read: () => [] }, call: ['read', 7, 4096, 10, undefined], reply: 16 },
  { opcode: 15, name: 'READ with O_NOATIME', body: read(10, 0x4_8000), answers: { read: () => [] }, call: ['read', 7, 4096, 10, { keepAccessTime: true }], reply: 16 },
  { opcode: 16, name: 'WRITE', body: write(0, 0x8002), answers: { write: () => 4 }, call: writeCall({}), reply: 24 },
  { opcode: 16, name: 'WRITE with O_DSYNC', body: write(4, 0x9001), answers: { write: () => 4 }, call: writeCall({ killPrivileges: true, durability: 'power' }), reply: 24 },
  { opcode: 16, name: 'WRITE with O_SYNC', body: write(0, 0x10_9001), answers: { write: () => 4 }, call: writeCall({ durability: 'power' }), reply: 24 },
  { opcode: 16, name: 'WRITE of mapped pages', body: write(1, 0), answers: { write: () => 4 }, call: writeCall({}), reply: 24 },
  {
    opcode: 17, name: 'STATFS', body: [], call: ['statistics'], reply: 96,
    answers: { statistics: () => ({ blockBytes: 4096, blocks: 5, blocksFree: 4, blocksAvailable: 3, inodes: 2, inodesFree: 1, nameBytesMax: 255 }) },
  },
  { opcode: 18, name: 'RELEASE', body: [u64(0), u32(0, 0), u64(0)], reply: 16 },
  { opcode: 20, name: 'FSYNC', body: [u64(0), u32(0, 0)], call: ['sync', 7], reply: 16 },
  { opcode: 20, name: 'FSYNC of data only', body: [u64(0), u32(1, 0)], call: ['sync', 7], reply: 16 },
  { opcode: 21, name: 'SETXATTR', body: [u32(5, 0), 'user.k\0', 'value'], call: ['setXattr', 7, 'user.k', 'value', { mode: 'set', killSetgid: false }, CALLER], reply: 16 },
  { opcode: 21, name: 'SETXATTR with XATTR_CREATE', body: [u32(0, 1), 'user.k\0'], call: ['setXattr', 7, 'user.k', '', { mode: 'create', killSetgid: false }, CALLER], reply: 16 },
  { opcode: 22, name: 'GETXATTR', body: [u32(5, 0), 'user.k\0'], answers: { getXattr: () => Buffer.from('value') }, call: ['getXattr', 7, 'user.k'], reply: 21 },
  { opcode: 22, name: 'GETXATTR of the length', body: [u32(0, 0), 'user.k\0'], answers: { getXattr: () => Buffer.from('value') }, call: ['getXattr', 7, 'user.k'], reply: 24 },
  { opcode: 22, name: 'GETXATTR with little room', body: [u32(4, 0), 'user.k\0'], answers: { getXattr: () => Buffer.from('value') }, call: ['getXattr', 7, 'user.k'], reply: -34 },
  { opcode: 23, name: 'LISTXATTR', body: [u32(100, 0)], answers: { listXattrs: () => [Buffer.from('user.a'), Buffer.from('user.b')] }, call: ['listXattrs', 7, CALLER], reply: 30 },
  { opcode: 23, name: 'LISTXATTR of the length', body: [u32(0, 0)], answers: { listXattrs: () => [] }, call: ['listXattrs', 7, CALLER], reply: 24 },
  { opcode: 24, name: 'REMOVEXATTR', body: ['user.k\0'], call: ['removeXattr', 7, 'user.k', CALLER], reply: 16 },
  { opcode: 25, name: 'FLUSH', body: [u64(0), u32(0, 0), u64(0)], reply: -38 },
  { opcode: 27, name: 'OPENDIR', body: [u32(0, 0)], reply: -38 },
  { opcode: 28, name: 'READDIR of an empty rest', body: read(32768), call: ['readDirectory', 7, 4096, { attributes: false }, expect.any(Function)], reply: 16 },
  { opcode: 29, name: 'RELEASEDIR', body: [u64(0), u32(0, 0), u64(0)], reply: 16 },
  { opcode: 30, name: 'FSYNCDIR', body: [u64(0), u32(1, 0)], call: ['sync', 7], reply: 16 },
  { opcode: 31, name: 'GETLK', body: [Buffer.alloc(48)], reply: -38 },
  { opcode: 32, name: 'SETLK', body: [Buffer.alloc(48)], reply: -38 },
  { opcode: 33, name: 'SETLKW', body: [Buffer.alloc(48)], reply: -38 },
  { opcode: 34, name: 'ACCESS', body: [u32(4, 0)], reply: -38 },
  {
    opcode: 35, name: 'CREATE', body: [u32(0x8042, 0o100644, 0o22, 0), 'f\0'], answers: { create: () => ATTRIBUTES },
    call: ['create', 7, 'f', { mode: 0o100644, exclusive: false, truncate: false, killPrivileges: false }, CALLER], reply: 160,
  },
  {
    opcode: 35, name: 'CREATE with O_EXCL and O_TRUNC', body: [u32(0x82c2, 0o100644, 0o22, 1), 'f\0'], answers: { create: () => ATTRIBUTES },
    call: ['create', 7, 'f', { mode: 0o100644, exclusive: true, truncate: true, killPrivileges: true }, CALLER], reply: 160,
  },
  { opcode: 36, name: 'INTERRUPT', body: [u64(0x999)], reply: 'none' },
  { opcode: 37, name: 'BMAP', body: [u64(0), u32(512, 0)], reply: -38 },
  { opcode: 38, name: 'DESTROY', body: [], reply: 16 },
  { opcode: 39, name: 'IOCTL', body: [Buffer.alloc(32)], reply: -25 },
  { opcode: 40, name: 'POLL', body: [Buffer.alloc(24)], reply: -38 },
  { opcode: 41, name: 'NOTIFY_REPLY', body: [Buffer.alloc(40)], reply: 'none' },
  { opcode: 42, name: 'BATCH_FORGET', body: [u32(1, 0), u64(5, 2)], call: ['forget', 5, 2], reply: 'none' },
  { opcode: 43, name: 'FALLOCATE', body: fallocate(0), call: ['fallocate', 7, 'allocate', 100, 200, CALLER], reply: 16 },
  { opcode: 43, name: 'FALLOCATE that keeps the size', body: fallocate(1), call: ['fallocate', 7, 'keepSize', 100, 200, CALLER], reply: 16 },
  { opcode: 43, name: 'FALLOCATE that punches a hole', body: fallocate(3), call: ['fallocate', 7, 'punchHole', 100, 200, CALLER], reply: 16 },
  { opcode: 43, name: 'FALLOCATE that zeroes', body: fallocate(16), call: ['fallocate', 7, 'zeroRange', 100, 200, CALLER], reply: 16 },
  { opcode: 43, name: 'FALLOCATE that zeroes and keeps the size', body: fallocate(17), call: ['fallocate', 7, 'zeroRangeKeepSize', 100, 200, CALLER], reply: 16 },
  { opcode: 43, name: 'FALLOCATE in another mode', body: fallocate(8), reply: -95 },
  { opcode: 44, name: 'READDIRPLUS of an empty rest', body: read(32768), call: ['readDirectory', 7, 4096, { attributes: true }, expect.any(Function)], reply: 16 },
  { opcode: 45, name: 'RENAME2 that replaces nothing', body: [u64(9), u32(1, 0), 'old\0', 'new\0'], answers: rename, call: ['rename', ...pair, 'noReplace', CALLER], reply: 16 },
  { opcode: 45, name: 'RENAME2 that exchanges', body: [u64(9), u32(2, 0), 'old\0', 'new\0'], answers: rename, call: ['rename', ...pair, 'exchange', CALLER], reply: 16 },
  { opcode: 45, name: 'RENAME2 that leaves a whiteout', body: [u64(9), u32(4, 0), 'old\0', 'new\0'], answers: rename, call: ['rename', ...pair, 'whiteout', CALLER], reply: 16 },
  { opcode: 45, name: 'RENAME2 that leaves a whiteout and replaces nothing', body: [u64(9), u32(5, 0), 'old\0', 'new\0'], answers: rename, call: ['rename', ...pair, 'whiteoutNoReplace', CALLER], reply: 16 },
  { opcode: 45, name: 'RENAME2 with flags that exclude each other', body: [u64(9), u32(3, 0), 'old\0', 'new\0'], reply: -22 },
  { opcode: 46, name: 'LSEEK to data', body: [u64(0, 100), u32(3, 0)], answers: { seek: () => 200 }, call: ['seek', 7, 100, 'data'], reply: 24 },
  { opcode: 46, name: 'LSEEK to a hole', body: [u64(0, 100), u32(4, 0)], answers: { seek: () => 200 }, call: ['seek', 7, 100, 'hole'], reply: 24 },
  { opcode: 46, name: 'LSEEK elsewhere', body: [u64(0, 100), u32(2, 0)], reply: -22 },
  {
    opcode: 47, name: 'COPY_FILE_RANGE', body: [u64(0, 10, 8, 0, 20, 0x1_0000_0000, 0)], answers: { copyRange: () => 30 },
    call: ['copyRange', { inode: 7, offset: 10 }, { inode: 8, offset: 20 }, 0x7fff_f000, CALLER], reply: 24,
  },
  { opcode: 50, name: 'SYNCFS', body: [u64(0)], call: ['sync', 1], reply: 16 },
  { opcode: 51, name: 'TMPFILE', body: [u32(0x40_8002, 0o100600, 0o22, 0), '/\0'], answers: { createUnnamed: () => ATTRIBUTES }, call: ['createUnnamed', 7, 0o100600, CALLER], reply: 160 },
  { opcode: 52, name: 'STATX', body: [u32(0, 0), u64(0), u32(0, 0xfff)], answers: { getAttributes: () => ATTRIBUTES }, call: ['getAttributes', 7], reply: 304 },
  {
    opcode: 53, name: 'COPY_FILE_RANGE_64', body: [u64(0, 10, 8, 0, 20, 0x1_0000_0000, 0)], answers: { copyRange: () => 30 },
    call: ['copyRange', { inode: 7, offset: 10 }, { inode: 8, offset: 20 }, 0x1_0000_0000, CALLER], reply: 24,
  },
];

describe('the opcode table', () => {
  it.each(GOLDEN)('makes one call and one reply of the right size of $name', ({ opcode, body, answers, call, reply }) => {
    const bench = new Bench(answers);
    expect(bench.session.handle(request(opcode, body))).toBe('done');
    expect(bench.calls).toEqual(call === undefined ? [] : [{ method: call[0], arguments: call.slice(1) }]);
    if (reply === 'none') {
      expect(bench.replies).toEqual([]);
      return;
    }
    expect(bench.replies).toHaveLength(1);
    const [bytes] = bench.replies as [Buffer];
    expect(bytes).toHaveLength(Math.max(reply, 16));
    expect(bytes.subarray(0, 16)).toEqual(Buffer.concat([u32(bytes.length, Math.min(reply, 0), 0x10, 0)]));
  });

  it('has a golden request for each of its rows but INIT', () => {
    const rows = OPERATIONS.flatMap((operation, opcode) => (operation === undefined || opcode === 26 ? [] : [opcode]));
    expect(rows).toEqual([...new Set(GOLDEN.map(({ opcode }) => opcode))].toSorted((a, b) => a - b));
  });

  it.each(OPERATIONS.flatMap((operation, opcode) => (operation === undefined || operation.requestBytesMin <= 40 || operation.reply === 'none' ? [] : [{ opcode, name: operation.name, bytes: operation.requestBytesMin }])))(
    'answers a $name that is too short with EIO', ({ opcode, bytes }) => {
      const bench = new Bench();
      const reply = bench.ask(request(opcode, [Buffer.alloc(bytes - 40 - 1)]));
      expect(reply).toEqual(u32(16, -5, 0x10, 0));
      expect(bench.calls).toEqual([]);
    },
  );

  it('answers names without an end, and data shorter than said, with EIO', () => {
    const bench = new Bench();
    for (const bytes of [
      request(1, ['name']), request(6, ['link\0', 'target']), request(12, [u64(9), 'old\0', 'new']),
      request(16, [u64(0, 0), u32(5, 0), u64(0), u32(0, 0), 'data']), request(21, [u32(6, 0), 'user.k\0', 'value']),
    ]) expect(bench.ask(bytes)).toEqual(u32(16, -5, 0x10, 0));
    expect(bench.calls).toEqual([]);
  });

  it('forgets all the inodes of a batch, and no more than are there', () => {
    const bench = new Bench();
    bench.session.handle(request(42, [u32(3, 0), u64(5, 1, 6, 2)]));
    expect(bench.calls.map((call) => call.arguments)).toEqual([[5, 1], [6, 2]]);
    expect(bench.replies).toEqual([]);
  });
});
