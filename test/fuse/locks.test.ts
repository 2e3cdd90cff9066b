// Locks through the protocol: what each request means to the engine, and requests that wait for other programs.
import { describe, expect, it } from 'vitest';
import { LAST_BYTE } from '../../src/locks/lock-engine.ts';
import { MachineLocks } from '../../src/locks/machine-locks.ts';
import { ATTRIBUTES, Bench, request, u32, u64 } from './bench.ts';
import type { RequestHeader } from './bench.ts';

const OPCODE = { OPEN: 14, RELEASE: 18, FLUSH: 25, GETLK: 31, SETLK: 32, SETLKW: 33, CREATE: 35, INTERRUPT: 36 };
const [READ, WRITE, UNLOCK] = [0, 1, 2];
const FLOCK = 1;

interface Lock { readonly fh: bigint; readonly owner: bigint | number; readonly first?: bigint; readonly last?: bigint; readonly type: number; readonly flags?: number }

const lock = (opcode: number, { fh, owner, first = 0n, last = LAST_BYTE, type, flags = 0 }: Lock, header: RequestHeader = {}): Buffer =>
  request(opcode, [u64(fh, owner, first, last), u32(type, 4242, flags, 0)], header);
const ok = u32(16, 0, 0x10, 0);
const refused = (errno: number, header: RequestHeader = {}): Buffer => u32(16, -errno, header.uniqueLo ?? 0x10, header.uniqueHi ?? 0);

function bench(): { bench: Bench; locks: MachineLocks; open: () => bigint } {
  const locks = new MachineLocks({ epoch: 3, store: { load: () => [], save() {} } });
  const made = new Bench({ create: () => ATTRIBUTES }, { locks });
  return { bench: made, locks, open: () => made.ask(request(OPCODE.OPEN, [u32(0, 0)])).readBigUInt64LE(16) };
}

describe('a session that keeps locks', () => {
  it('opens each file under a name of its own, and lets the kernel keep its pages', () => {
    const { bench: one, open } = bench();
    const reply = one.ask(request(OPCODE.OPEN, [u32(0, 0)]));
    expect(reply).toHaveLength(32);
    expect(reply.readUInt32LE(24)).toBe(2);
    const created = one.ask(request(OPCODE.CREATE, [u32(0x42, 0o100644, 0, 0), 'f\0']));
    expect(new Set([reply.readBigUInt64LE(16), created.readBigUInt64LE(144), open()]).size).toBe(3);
  });

  it('grants, refuses and shows locks of ranges', () => {
    const { bench: one } = bench();
    expect(one.ask(lock(OPCODE.SETLK, { fh: 1n, owner: -1, first: 10n, last: 2n ** 62n + 1n, type: WRITE }))).toEqual(ok);
    expect(one.ask(lock(OPCODE.SETLK, { fh: 2n, owner: 5, type: READ }))).toEqual(refused(11));
    expect(one.ask(lock(OPCODE.GETLK, { fh: 2n, owner: 5, type: READ }))).toEqual(Buffer.concat([u32(40, 0, 0x10, 0), u64(10n, 2n ** 62n + 1n), u32(WRITE, 4242)]));
    expect(one.ask(lock(OPCODE.SETLK, { fh: 1n, owner: -1, type: UNLOCK }))).toEqual(ok);
    expect(one.ask(lock(OPCODE.GETLK, { fh: 2n, owner: 5, first: 3n, type: WRITE }))).toEqual(Buffer.concat([u32(40, 0, 0x10, 0), u64(3n, LAST_BYTE), u32(UNLOCK, 0)]));
    expect(one.ask(lock(OPCODE.SETLK, { fh: 2n, owner: 5, type: 9 }))).toEqual(refused(22));
  });

  it('drops the locks of a process with FLUSH, and those of an open file with RELEASE', () => {
    const { bench: one, locks, open } = bench();
    const [fh, other] = [open(), open()];
    one.ask(lock(OPCODE.SETLK, { fh, owner: 5, type: READ }));
    one.ask(lock(OPCODE.SETLK, { fh, owner: 6, type: READ }));
    one.ask(lock(OPCODE.SETLK, { fh, owner: 7, type: WRITE, flags: FLOCK }));
    expect(one.ask(request(OPCODE.FLUSH, [u64(fh), u32(0, 0), u64(5)]))).toEqual(ok);
    expect(locks.counts.held).toBe(2);
    expect(one.ask(request(OPCODE.RELEASE, [u64(other), u32(0, 2), u64(7)]))).toEqual(ok);
    expect(locks.counts.held).toBe(2);
    expect(one.ask(request(OPCODE.RELEASE, [u64(fh), u32(0, 2), u64(7)]))).toEqual(ok);
    expect(locks.counts.held).toBe(0);
  });

  it('gives the bytes of a request back while it waits, and does not count it as work', async () => {
    const { bench: one, locks } = bench();
    one.ask(lock(OPCODE.SETLK, { fh: 1n, owner: 5, type: WRITE }));
    const header = { uniqueLo: 0x20, uniqueHi: 0x8000_0000 };
    const bytes = lock(OPCODE.SETLKW, { fh: 2n, owner: 6, type: WRITE }, header);
    expect(one.session.handle(bytes)).toBe('done');
    bytes.fill(0xff);
    expect([one.session.waitingCount, locks.counts.waiting]).toEqual([0, 1]);
    one.ask(request(OPCODE.FLUSH, [u64(1n), u32(0, 0), u64(5)]));
    await expect.poll(() => one.replies.at(-1)).toEqual(refused(0, header));
    expect(locks.test(7 as never, { kind: 'range', owner: 9n, handle: 9n, first: 0n, last: 1n, mode: 'shared', pid: 1 })).toMatchObject({ owner: 6n, handle: 2n, pid: 4242 });
  });

  it('ends a wait that is interrupted, also one that was sent again', async () => {
    const { bench: one, locks } = bench();
    one.ask(lock(OPCODE.SETLK, { fh: 1n, owner: 5, type: WRITE, flags: FLOCK }));
    const header = { uniqueLo: 0x20, uniqueHi: 0x8000_0000 };
    one.session.handle(lock(OPCODE.SETLKW, { fh: 2n, owner: 6, type: READ, flags: FLOCK }, header));
    one.session.handle(request(OPCODE.INTERRUPT, [u64(0x20)], { uniqueLo: 0x21 }));
    await expect.poll(() => one.replies.at(-1)).toEqual(refused(4, header));
    expect(locks.counts).toEqual({ held: 1, waiting: 0 });
  });

  it('asks the kernel for its locks at INIT, and otherwise leaves them to it', () => {
    const init = request(26, [u32(7, 45, 0x10_0000, 0x7fff_ffff, 0), Buffer.alloc(44)]);
    const flags = (made: Bench): number => made.ask(init).readUInt32LE(28) & 0x402;
    expect(flags(new Bench({}, { resume: undefined, locks: bench().locks }))).toBe(0x402);
    expect(flags(new Bench({}, { resume: undefined }))).toBe(0);
  });
});
