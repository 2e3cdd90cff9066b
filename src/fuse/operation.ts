// What one row of the opcode table is, and what it is given.
import { FsError } from '../base/errors.ts';
import type { FsErrorCode } from '../base/errors.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import type { FileSystem, MaybePromise } from '../vfs/filesystem.ts';
import type { Negotiated } from './init.ts';
import type { CacheTimes, Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

/** What handlers may use of the session. */
export interface OperationContext {
  readonly fs: FileSystem;
  /** Absent: the kernel keeps locks itself. */
  readonly locks: LockEngine | undefined;
  readonly times: CacheTimes;
  /** What the kernel offered is answered with; from then on the session serves. Throws FsError EIO on a foreign protocol. */
  negotiate(request: FuseRequest): Negotiated;
  readonly negotiated: Negotiated;
  /** Tells the request of this `unique`, if it is still being worked on. */
  interrupt(uniqueLo: number, uniqueHi: number): void;
}

export interface Operation<Result = unknown> {
  /** As in <linux/fuse.h>. */
  readonly name: string;
  /** A request shorter than this (header included) is answered with EIO. */
  readonly requestBytesMin: number;
  /** It may wait for what other programs do, for as long as they like: its bytes are given back while it waits. */
  readonly waitsForPrograms?: true;
  /** Decodes the request and asks the file system. Returns, or promises, what `reply` is to encode. */
  handle(context: OperationContext, request: FuseRequest): MaybePromise<Result>;
  /**
   * Encodes a success. Throws nothing but FsError, which is answered then. 'empty': a header is all; 'none': the
   * kernel expects no answer, whatever happens.
   */
  readonly reply: 'empty' | 'none' | ((reply: Reply, result: Result, request: FuseRequest) => void);
}

/** One row under its opcode; the table forgets the type that its two functions share. */
export type OperationRow = readonly [opcode: number, operation: Operation];

export function row<Result>(opcode: number, operation: Operation<Result>): OperationRow {
  return [opcode, operation as Operation<unknown>];
}

/** An operation that is always refused; with ENOSYS the kernel mostly does not ask a second time. */
export function refusal(opcode: number, name: string, code: FsErrorCode): OperationRow {
  return row(opcode, {
    name,
    requestBytesMin: 0,
    handle() {
      throw new FsError(code);
    },
    reply: 'empty',
  });
}
