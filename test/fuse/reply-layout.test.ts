// The bytes of replies, field by field, at the offsets of <linux/fuse.h>.
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { FS_ERROR_CODES } from '../../src/base/errors.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { errnoOf } from '../../src/base/errno.ts';
import { invalidateInodeNotification } from '../../src/fuse/notifications.ts';
import type { DirectoryEntry } from '../../src/vfs/filesystem.ts';
import { ATTRIBUTES, Bench, request, u32, u64 } from './bench.ts';

const INODE = 0x1_0000_0002n;

function expectAttributes(attributes: Buffer): void {
  expect([0, 8, 16, 24, 32, 40].map((at) => attributes.readBigInt64LE(at))).toEqual([INODE, 0x2_0000_0005n, 16n, -2n, 1_700_000_000n, 1_700_000_001n]);
  expect([48, 52, 56, 60, 64, 68, 72, 76, 80, 84].map((at) => attributes.readUInt32LE(at))).toEqual([1, 2, 3, 0o100644, 3, 1000, 2000, 0x801, 4096, 0]);
}

describe('fuse_entry_out', () => {
  it('has the inode number as node id, generation 0, the times and the attributes', () => {
    const bench = new Bench({ lookup: () => ATTRIBUTES }, { times: { entrySeconds: 10, attributeSeconds: 20 } });
    const entry = bench.ask(request(1, ['name\0'])).subarray(16);
    expect([0, 8, 16, 24, 32].map((at) => entry.readBigUInt64LE(at))).toEqual([INODE, 0n, 10n, 20n, 0n]);
    expectAttributes(entry.subarray(40));
  });

  it('is followed by open_out with handle 0 and FOPEN_KEEP_CACHE after CREATE', () => {
    const created = new Bench({ create: () => ATTRIBUTES }).ask(request(35, [u32(0x8042, 0o100644, 0o22, 0), 'f\0'])).subarray(16);
    expect(created.subarray(128)).toEqual(Buffer.concat([u64(0), u32(2, 0)]));
  });
});

describe('attribute replies', () => {
  it('have the time first, then fuse_attr', () => {
    const body = new Bench({ getAttributes: () => ATTRIBUTES }, { times: { attributeSeconds: 20 } }).ask(request(3, [u32(0, 0), u64(0)])).subarray(16);
    expect(body.subarray(0, 16)).toEqual(Buffer.concat([u64(20), u32(0, 0)]));
    expectAttributes(body.subarray(16));
  });

  it('have the birth time and the device split in two with STATX', () => {
    const body = new Bench({ getAttributes: () => ({ ...ATTRIBUTES, device: 0x1230_4567 }) }).ask(request(52, [u32(0, 0), u64(0), u32(0, 0xfff)])).subarray(16);
    const statx = body.subarray(32);
    expect([0, 4, 16, 20, 24].map((at) => statx.readUInt32LE(at))).toEqual([0xfff, 4096, 3, 1000, 2000]);
    expect(statx.readUInt16LE(28)).toBe(0o100644);
    expect([32, 40, 48, 64, 80, 96, 112].map((at) => statx.readBigInt64LE(at))).toEqual([INODE, 0x2_0000_0005n, 16n, -2n, 1_600_000_000n, 1_700_000_001n, 1_700_000_000n]);
    expect([72, 88, 104, 120, 128, 132].map((at) => statx.readUInt32LE(at))).toEqual([1, 4, 3, 2, 0x045, 0x1_2367]);
  });

  it('keep nothing of the reply before', () => {
    const bench = new Bench({ getAttributes: () => ATTRIBUTES, lookup: () => ATTRIBUTES });
    const first = bench.ask(request(3, [u32(0, 0), u64(0)]));
    bench.ask(request(52, [u32(0, 0), u64(0), u32(0, 0xfff)]));
    bench.ask(request(1, ['name\0']));
    expect(bench.ask(request(3, [u32(0, 0), u64(0)]))).toEqual(first);
  });
});

describe('fuse_kstatfs', () => {
  it('has all counts, and the block size twice', () => {
    const statistics = { blockBytes: 4096, blocks: 2 ** 40, blocksFree: 4, blocksAvailable: 3, inodes: 2, inodesFree: 1, nameBytesMax: 255 };
    const body = new Bench({ statistics: () => statistics }).ask(request(17)).subarray(16);
    expect(body).toEqual(Buffer.concat([u64(2 ** 40, 4, 3, 2, 1), u32(4096, 255, 4096, 0), Buffer.alloc(24)]));
  });
});

describe('directory records', () => {
  const entry = (name: string, cookie: number, attributes = true): DirectoryEntry => ({
    name: Buffer.from(name), inode: ATTRIBUTES.inode, type: 0o040000, cookie, attributes: attributes ? ATTRIBUTES : undefined,
  });
  const list = (opcode: number, size: number, entries: readonly DirectoryEntry[]) => {
    const taken: boolean[] = [];
    const bench = new Bench({ readDirectory: (_inode, _cookie, _options, take) => void entries.every((each) => taken[taken.push(take(each)) - 1]) });
    const reply = bench.ask(request(opcode, [u64(0, 0), u32(size, 0), u64(0), u32(0, 0)]));
    return { body: reply.subarray(16), error: reply.readInt32LE(4), taken };
  };

  it('are padded to eight bytes, with the cookie behind them and the type', () => {
    const { body } = list(28, 4096, [entry('abc', 5), entry('12345678', 6)]);
    expect(body).toEqual(Buffer.concat([
      u64(INODE, 5), u32(3, 4), Buffer.from('abc\0\0\0\0\0'),
      u64(INODE, 6), u32(8, 4), Buffer.from('12345678'),
    ]));
  });

  it('have an entry in front with READDIRPLUS, of zeros where there are no attributes', () => {
    const { body } = list(44, 4096, [entry('.', 1, false), entry('abc', 5)]);
    expect(body.subarray(0, 160)).toEqual(Buffer.concat([Buffer.alloc(128), u64(INODE, 1), u32(1, 4), Buffer.from('.\0\0\0\0\0\0\0')]));
    const second = body.subarray(160);
    expect(second).toHaveLength(160);
    expect(second.readBigUInt64LE(0)).toBe(INODE);
    expectAttributes(second.subarray(40));
    expect(second.subarray(128)).toEqual(Buffer.concat([u64(INODE, 5), u32(3, 4), Buffer.from('abc\0\0\0\0\0')]));
  });

  it('end where the next one would not fit', () => {
    const { body, taken } = list(28, 63, [entry('abc', 5), entry('def', 6)]);
    expect(taken).toEqual([true, false]);
    expect(body).toHaveLength(32);
  });

  it('are EINVAL where not even the first one fits', () => {
    expect(list(28, 31, [entry('abc', 5)]).error).toBe(-22);
  });

  it('of a listing that takes several turns are not disturbed by other requests', async () => {
    const bench = new Bench({
      getAttributes: () => ATTRIBUTES,
      async readDirectory(_inode, _cookie, _options, take) {
        take(entry('abc', 5));
        await Promise.resolve();
        take(entry('def', 6));
      },
    });
    const listing = bench.session.handle(request(28, [u64(0, 0), u32(4096, 0), u64(0), u32(0, 0)]));
    bench.session.handle(request(3, [u32(0, 0), u64(0)]));
    await listing;
    expect(bench.replies[1]!.subarray(16)).toEqual(list(28, 4096, [entry('abc', 5), entry('def', 6)]).body);
  });
});

describe('errno numbers', () => {
  it('are those of this system', () => {
    for (const code of FS_ERROR_CODES) {
      const known = (constants.errno as Record<string, number | undefined>)[code];
      if (known !== undefined) expect(errnoOf(code), code).toBe(known);
      expect(errnoOf(code)).toBeLessThan(512);
    }
  });
});

describe('notifications', () => {
  it('are a header with the code, and the body', () => {
    expect(invalidateInodeNotification(5 as InodeNumber, 'attributes')).toEqual(Buffer.concat([u32(40, 2, 0, 0), u64(5, -1, 0)]));
    expect(invalidateInodeNotification(5 as InodeNumber, 'data')).toEqual(Buffer.concat([u32(40, 2, 0, 0), u64(5, 0, 0)]));
  });
});
