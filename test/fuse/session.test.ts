// The life of requests in a session: errors, waiting, interrupts, sending again, and taking over.
import { describe, expect, it, vi } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import type { Attributes, Caller } from '../../src/vfs/filesystem.ts';
import { ATTRIBUTES, Bench, request, u32, u64 } from './bench.ts';

const GETATTR = 3;
const MKDIR = 9;
const getattr = (header = {}) => request(GETATTR, [u32(0, 0), u64(0)], header);
const mkdir = (header = {}, extension: Buffer = Buffer.alloc(0)) => request(MKDIR, [u32(0o755, 0), 'dirname\0', extension], { extensionBytes: extension.length, ...header });

function fails(error: unknown) {
  return { getAttributes(): never { throw error; } };
}

describe('a session', () => {
  it('answers an FsError with its errno', () => {
    expect(new Bench(fails(new FsError('ENOTEMPTY'))).ask(getattr())).toEqual(u32(16, -39, 0x10, 0));
  });

  it('answers any other error with EIO, logs it and reports a defect', () => {
    const onDefect = vi.fn<(error: unknown) => void>();
    const error = new TypeError('broken');
    const bench = new Bench(fails(error), { onDefect });
    expect(bench.ask(getattr())).toEqual(u32(16, -5, 0x10, 0));
    expect(onDefect).toHaveBeenCalledExactlyOnceWith(error);
    expect(bench.logged).toMatchObject([{ level: 50, operation: 'GETATTR', inode: 7 }]);
  });

  it('says nothing of an error that is a program\'s own, and says a repeated failure once', () => {
    const quiet = new Bench(fails(new FsError('ENOENT')));
    quiet.ask(getattr());
    expect(quiet.logged).toEqual([]);
    const loud = new Bench(fails(new FsError('ENOSPC')));
    for (let i = 0; i < 3; i++) loud.ask(getattr());
    expect(loud.logged).toMatchObject([{ level: 40, code: 'ENOSPC' }]);
  });

  it('answers an unknown opcode with ENOSYS', () => {
    expect(new Bench().ask(request(4096))).toEqual(u32(16, -38, 0x10, 0));
  });

  it('answers a request whose header states another length with EIO, and what is shorter than a header with nothing', () => {
    const bench = new Bench();
    const bytes = getattr();
    bytes.writeUInt32LE(57, 0);
    expect(bench.ask(bytes)).toEqual(u32(16, -5, 0x10, 0));
    expect(bench.session.handle(Buffer.alloc(39))).toBe('done');
    expect(bench.replies).toHaveLength(1);
  });

  it('remembers absent names for the kernel, unless it is not to', () => {
    const absent = { lookup(): never { throw new FsError('ENOENT'); } };
    const reply = new Bench(absent).ask(request(1, ['name\0']));
    expect(reply).toHaveLength(144);
    expect(reply.readBigUInt64LE(16)).toBe(0n);
    expect(reply.readBigUInt64LE(32)).toBe(86_400n);
    expect(new Bench(absent, { times: { negativeSeconds: 0 } }).ask(request(1, ['name\0']))).toEqual(u32(16, -2, 0x10, 0));
  });

  it('remembers absent names that take a while to be found absent', async () => {
    const bench = new Bench({ lookup: () => Promise.reject(new FsError('ENOENT')) });
    await bench.session.handle(request(1, ['name\0']));
    expect(bench.replies).toHaveLength(1);
    expect(bench.replies[0]).toHaveLength(144);
  });
});

describe('a request that waits', () => {
  it('is answered once, when its promise settles, with its own unique', async () => {
    let resolve = (_found: Attributes): void => {};
    const promise = new Promise<Attributes>((settle) => (resolve = settle));
    const bench = new Bench({ getAttributes: (inode) => (inode === 8 ? promise : ATTRIBUTES) });
    const waiting = bench.session.handle(getattr({ node: 8, uniqueLo: 0x20 }));
    expect(bench.session.waitingCount).toBe(1);
    bench.ask(getattr({ uniqueLo: 0x30 }));
    resolve({ ...ATTRIBUTES, mode: 0o100755 });
    await waiting;
    expect(bench.replies.map((reply) => reply.readUInt32LE(8))).toEqual([0x30, 0x20]);
    expect(bench.replies.map((reply) => reply.readUInt32LE(16 + 16 + 60))).toEqual([0o100644, 0o100755]);
    expect(bench.session.waitingCount).toBe(0);
  });

  it('is answered with its errno when it fails, and its promise does not reject', async () => {
    const bench = new Bench({ getAttributes: () => Promise.reject(new FsError('ETIMEDOUT')) });
    await expect(bench.session.handle(getattr())).resolves.toBeUndefined();
    expect(bench.replies).toEqual([u32(16, -110, 0x10, 0)]);
  });

  it('is aborted by an INTERRUPT, also when it was sent again, and is still answered once', async () => {
    const interrupted = (parent: number, _name: Buffer, _mode: number, caller: Caller): Promise<Attributes> =>
      new Promise((_, reject) => {
        caller.signal?.addEventListener('abort', () => reject(caller.signal?.reason), { once: true });
        expect(parent).toBe(7);
      });
    const bench = new Bench({ makeDirectory: interrupted });
    const waiting = bench.session.handle(mkdir({ uniqueLo: 0x20, uniqueHi: 0x8000_0001 }));
    expect(bench.session.handle(request(36, [u32(0x22, 1)], { uniqueLo: 0x23 }))).toBe('done');
    expect(bench.session.waitingCount).toBe(1);
    expect(bench.session.handle(request(36, [u32(0x20, 1)], { uniqueLo: 0x21 }))).toBe('done');
    await waiting;
    expect(bench.replies).toEqual([u32(16, -4, 0x20, 0x8000_0001)]);
  });
});

describe('the caller of a request', () => {
  it('names a request that is sent again as the first time, and its reply carries the mark', () => {
    const bench = new Bench({ makeDirectory: () => ATTRIBUTES });
    const reply = bench.ask(mkdir({ uniqueLo: 0xffff_fff0, uniqueHi: 0x8000_0003 }));
    expect(bench.call.arguments[3]).toMatchObject({ requestHi: 3, requestLo: 0xffff_fff0, resent: true });
    expect([reply.readUInt32LE(8), reply.readUInt32LE(12)]).toEqual([0xffff_fff0, 0x8000_0003]);
  });

  it('stays what it was after the request has been answered', () => {
    let kept: Caller | undefined;
    const bench = new Bench({ makeDirectory: (_parent, _name, _mode, caller) => { kept ??= caller; return ATTRIBUTES; } });
    bench.ask(mkdir({ uniqueLo: 0x50 }));
    bench.ask(mkdir({ uniqueLo: 0x60 }));
    expect(kept?.requestLo).toBe(0x50);
    expect(kept?.signal?.aborted).toBe(false);
  });
});
