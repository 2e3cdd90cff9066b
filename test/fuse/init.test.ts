// INIT: what is asked of a kernel, what a successor process learns of it, and what is refused.
import { describe, expect, it, vi } from 'vitest';
import { FormatError } from '../../src/base/errors.ts';
import { ATTRIBUTES, Bench, CALLER, request, u32, u64 } from './bench.ts';

const ALL = 0xffff_ffff;
const init = (major: number, minor: number, flags: number, flags2: number) => request(26, [u32(major, minor, 131_072, flags, flags2), Buffer.alloc(44)]);
const fresh = (options = {}) => new Bench({ getAttributes: () => ATTRIBUTES }, { resume: undefined, ...options });

describe('INIT', () => {
  it('is answered with our own flags, of which each was offered', () => {
    const bench = fresh();
    const reply = bench.ask(init(7, 45, ALL, ALL));
    expect(reply).toHaveLength(80);
    const body = reply.subarray(16);
    expect([body.readUInt32LE(0), body.readUInt32LE(4), body.readUInt32LE(8)]).toEqual([7, 45, 1 << 20]);
    // ASYNC_READ, BIG_WRITES, DO_READDIRPLUS, ASYNC_DIO, NO_OPEN_SUPPORT, PARALLEL_DIROPS, ABORT_ERROR, MAX_PAGES,
    // CACHE_SYMLINKS, NO_OPENDIR_SUPPORT, HANDLE_KILLPRIV_V2, INIT_EXT, and for ACLs DONT_MASK, POSIX_ACL, SETXATTR_EXT
    const bits = [0, 5, 13, 15, 17, 18, 21, 22, 23, 24, 28, 30, 6, 20, 29];
    expect(body.readUInt32LE(12)).toBe(bits.reduce((word, bit) => word + 2 ** bit, 0));
    // DIRECT_IO_ALLOW_MMAP, NO_EXPORT_SUPPORT
    expect(body.readUInt32LE(32)).toBe(2 ** 4 + 2 ** 6);
    expect([body.readUInt16LE(16), body.readUInt16LE(18), body.readUInt32LE(20), body.readUInt32LE(24), body.readUInt16LE(28)]).toEqual([64, 48, 1 << 20, 1, 256]);
  });

  it('leaves out what an older kernel does not offer', () => {
    const body = fresh().ask(init(7, 36, (1 << 5) | (1 << 30), 1 << 4)).subarray(16);
    expect([body.readUInt32LE(4), body.readUInt32LE(12), body.readUInt32LE(32)]).toEqual([36, (1 << 5) | (1 << 30), 1 << 4]);
    const short = fresh().ask(request(26, [u32(7, 31, 131_072, 1)])).subarray(16);
    expect([short.readUInt32LE(4), short.readUInt32LE(12), short.readUInt32LE(32)]).toEqual([31, 1, 0]);
  });

  it('takes a newer minor for the one it knows, and refuses a foreign major and a minor that is too old', () => {
    expect(fresh().ask(init(7, 99, ALL, ALL)).readUInt32LE(20)).toBe(45);
    for (const [major, minor] of [[8, 0], [7, 30], [6, 45]] as const) {
      const bench = fresh();
      expect(bench.ask(init(major, minor, ALL, ALL)).readInt32LE(4)).toBe(-5);
      expect(bench.session.export()).toBeUndefined();
    }
  });

  it('is told to the owner of the session once it has been answered', () => {
    const onNegotiated = vi.fn<() => void>(() => expect(bench.replies).toHaveLength(1));
    const bench = fresh({ onNegotiated });
    bench.ask(init(7, 45, ALL, ALL));
    expect(onNegotiated).toHaveBeenCalledOnce();
  });

  it('hands the umask on, and reads the longer SETXATTR', () => {
    const bench = new Bench({ makeDirectory: () => ATTRIBUTES }, { resume: undefined });
    bench.ask(init(7, 45, ALL, ALL));
    bench.ask(request(9, [u32(0o777, 0o27), 'dir\0']));
    expect(bench.call.arguments.slice(2)).toEqual([0o040777, { ...CALLER, umask: 0o27 }]);
    bench.ask(request(21, [u32(1, 0, 1, 0), 'system.posix_acl_access\0', 'v']));
    expect(bench.call.arguments.slice(1, 4)).toEqual(['system.posix_acl_access', 'v', { mode: 'set', killSetgid: true }]);
  });

  it.each([['of a kernel without ACLs', 1 << 5, true], ['without the wish for ACLs', ALL, false]])('%s leaves the umask to it, and refuses to store ACLs', (_, flags, posixAcl) => {
    const bench = new Bench({ makeDirectory: () => ATTRIBUTES }, { resume: undefined, features: { posixAcl } });
    bench.ask(init(7, 31, flags, 0));
    bench.ask(request(9, [u32(0o750, 0o27), 'dir\0']));
    expect(bench.call.arguments.slice(2)).toEqual([0o040750, CALLER]);
    expect(bench.ask(request(21, [u32(1, 0), 'system.posix_acl_access\0', 'v'])).readInt32LE(4)).toBe(-95);
    bench.ask(request(21, [u32(1, 0), 'user.a\0', 'v']));
    expect(bench.call).toMatchObject({ method: 'setXattr', arguments: [7, 'user.a', 'v', { mode: 'set', killSetgid: false }, CALLER] });
  });
});

describe('a successor of a session', () => {
  const getattr = request(3, [u32(0, 0), u64(0)]);

  it('goes on with what the first one agreed on', () => {
    const first = fresh();
    first.ask(init(7, 45, ALL, ALL));
    const exported = first.session.export();
    const second = new Bench({ makeDirectory: () => ATTRIBUTES }, { resume: exported });
    second.ask(request(9, [u32(0o777, 0o27), 'dir\0']));
    expect(second.call.arguments.slice(2)).toEqual([0o040777, { ...CALLER, umask: 0o27 }]);
    expect(second.session.export()).toBe(exported);
  });

  it('serves without INIT when nobody could tell it of one, and tells its owner', () => {
    const onNegotiated = vi.fn<() => void>();
    const bench = fresh({ onNegotiated });
    expect(bench.ask(getattr).readInt32LE(4)).toBe(0);
    expect(onNegotiated).toHaveBeenCalledOnce();
    expect(JSON.parse(bench.session.export()!)).toMatchObject({ version: 1, minor: 45 });
  });

  it.each([['no JSON', '{'], ['no object', '3'], ['another version', '{"version":2}'], ['a word that is none', '{"version":1,"minor":45,"flags":-1,"flags2":0}']])(
    'refuses an export with %s', (_, text) => {
      expect(() => new Bench({}, { resume: text })).toThrow(FormatError);
    },
  );
});
