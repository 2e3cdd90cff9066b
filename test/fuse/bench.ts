// A FUSE session on the bench: requests as bytes, a file system that records its calls, replies as bytes.
import pino from 'pino';
import type { InodeNumber } from '../../src/base/ids.ts';
import { FuseSession } from '../../src/fuse/session.ts';
import type { FuseSessionOptions } from '../../src/fuse/session.ts';
import type { Attributes, FileSystem } from '../../src/vfs/filesystem.ts';

type MethodName = keyof FileSystem;
/** Answers by method; a function is called with the arguments. */
export type Answers = { readonly [M in MethodName]?: FileSystem[M] };

export interface Call {
  readonly method: string;
  /** Buffers are copied, and as text: the request's bytes may be reused. */
  readonly arguments: unknown[];
}

export const ATTRIBUTES: Attributes = {
  inode: 0x1_0000_0002 as InodeNumber, mode: 0o100644, links: 3, uid: 1000, gid: 2000, device: 0x801, size: 0x2_0000_0005, blocks: 16,
  accessed: { seconds: -2, nanoseconds: 1 }, modified: { seconds: 1_700_000_000, nanoseconds: 2 },
  changed: { seconds: 1_700_000_001, nanoseconds: 3 }, born: { seconds: 1_600_000_000, nanoseconds: 4 },
};

export class Bench {
  readonly calls: Call[] = [];
  readonly replies: Buffer[] = [];
  readonly logged: Record<string, unknown>[] = [];
  readonly session: FuseSession;

  constructor(answers: Answers = {}, options: Partial<FuseSessionOptions> = {}) {
    const logger = pino({ level: 'info' }, { write: (line: string) => this.logged.push(JSON.parse(line) as Record<string, unknown>) });
    const fs = new Proxy(answers as FileSystem, {
      get: (target, method: MethodName) => (...args: unknown[]) => {
        this.calls.push({ method, arguments: args.map(portable) });
        return (target[method] as ((...all: unknown[]) => unknown) | undefined)?.(...args);
      },
    });
    this.session = new FuseSession(fs, { logger, resume: '{"version":1,"minor":45,"flags":0,"flags2":0}', ...options }, {
      reply: (head, headBytes, pieces) => void this.replies.push(Buffer.concat([head.subarray(0, headBytes), ...pieces])),
    });
  }

  /** Serves one request that is answered at once, and returns its only reply. */
  ask(bytes: Buffer): Buffer {
    const before = this.replies.length;
    const outcome = this.session.handle(bytes);
    if (outcome !== 'done') throw new Error('the request waits');
    if (this.replies.length !== before + 1) throw new Error(`wanted one reply, found ${this.replies.length - before}`);
    return this.replies[before]!;
  }

  /** The last call of the file system. */
  get call(): Call {
    return this.calls.at(-1)!;
  }
}

function portable(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (typeof value !== 'object' || value === null) return value;
  if ('signal' in value) {
    const { uid, gid, pid, requestHi, requestLo, resent, umask } = value as Record<string, unknown>;
    return { uid, gid, pid, requestHi, requestLo, resent, umask };
  }
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, portable(field)]));
}

export interface RequestHeader {
  readonly node?: number;
  readonly uniqueLo?: number;
  readonly uniqueHi?: number;
  /** Bytes of the extensions that the body ends with. */
  readonly extensionBytes?: number;
}

/** The header's bytes, written out by hand, and the body behind them. */
export function request(opcode: number, body: readonly (Buffer | string)[] = [], header: RequestHeader = {}): Buffer {
  const parts = body.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part));
  const bytes = Buffer.concat([Buffer.alloc(40), ...parts]);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeUInt32LE(header.uniqueLo ?? 0x10, 8);
  bytes.writeUInt32LE(header.uniqueHi ?? 0, 12);
  bytes.writeBigUInt64LE(BigInt(header.node ?? 7), 16);
  bytes.writeUInt32LE(1000, 24);
  bytes.writeUInt32LE(100, 28);
  bytes.writeUInt32LE(4321, 32);
  bytes.writeUInt16LE((header.extensionBytes ?? 0) / 8, 36);
  return bytes;
}

export const CALLER = { uid: 1000, gid: 100, pid: 4321, requestHi: 0, requestLo: 0x10, resent: false, umask: undefined };

export function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value >>> 0, index * 4));
  return bytes;
}

export function u64(...values: (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => bytes.writeBigInt64LE(BigInt(value), index * 8));
  return bytes;
}
