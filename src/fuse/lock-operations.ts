// Opcode table rows about advisory locks, and about the open files that they end with.
//
// Without an engine the kernel keeps locks itself, and open files need not exist (ENOSYS, once). With one every OPEN is
// answered, since only a file that was opened is released: RELEASE is all that ends flock(2) and open file description
// locks, and FLUSH, sent at each close, is all that ends POSIX locks.
import { FsError } from '../base/errors.ts';
import type { ByteRange, Holder, LockClaim, LockEngine } from '../locks/lock-engine.ts';
import { row } from './operation.ts';
import type { OperationContext, OperationRow } from './operation.ts';
import { FLUSH_IN, IN_HEADER_BYTES, LK_FLOCK, LK_IN, LOCK_TYPE, OPCODE, RELEASE_IN } from './protocol.ts';
import type { FuseRequest } from './request.ts';

function engineOf(context: OperationContext): LockEngine {
  if (context.locks === undefined) throw new FsError('ENOSYS');
  return context.locks;
}

/**
 * The kernel's name for the owner of an flock is made from the address of its open file, which a later one may have
 * before the RELEASE of the first arrives: the handle says the same, and is never used again.
 */
function holderOf(request: FuseRequest): Holder {
  const isFlock = (request.u32(LK_IN.lkFlags) & LK_FLOCK) !== 0;
  return { kind: isFlock ? 'file' : 'range', owner: request.big(isFlock ? LK_IN.fh : LK_IN.owner) };
}

function rangeOf(request: FuseRequest): ByteRange {
  return { first: request.big(LK_IN.start), last: request.big(LK_IN.end) };
}

function claimOf(request: FuseRequest): LockClaim {
  const type = request.u32(LK_IN.type);
  if (type !== LOCK_TYPE.READ && type !== LOCK_TYPE.WRITE) throw new FsError('EINVAL', `lock type ${type}`);
  return {
    ...holderOf(request), ...rangeOf(request), mode: type === LOCK_TYPE.READ ? 'shared' : 'exclusive', handle: request.big(LK_IN.fh), pid: request.u32(LK_IN.pid),
  };
}

function setLock(context: OperationContext, request: FuseRequest, { waits }: { waits: boolean }) {
  const locks = engineOf(context);
  if (request.u32(LK_IN.type) === LOCK_TYPE.UNLOCK) return locks.unlock(request.inode, holderOf(request), rangeOf(request));
  return locks.lock(request.inode, claimOf(request), waits ? request.caller() : undefined);
}

export const LOCK_OPERATIONS: readonly OperationRow[] = [
  row<bigint>(OPCODE.OPEN, {
    name: 'OPEN',
    requestBytesMin: IN_HEADER_BYTES,
    handle: (context) => engineOf(context).newHandle(),
    reply(reply, handle) {
      reply.opened(handle);
    },
  }),
  row(OPCODE.FLUSH, {
    name: 'FLUSH',
    requestBytesMin: FLUSH_IN.end,
    handle: (context, request) => engineOf(context).closed(request.inode, request.big(FLUSH_IN.lockOwner)),
    reply: 'empty',
  }),
  row(OPCODE.RELEASE, {
    name: 'RELEASE',
    requestBytesMin: RELEASE_IN.end,
    // Without an engine: of files that CREATE opened before the kernel learnt that OPEN is not needed.
    handle: (context, request) => context.locks?.released(request.inode, request.big(RELEASE_IN.fh)),
    reply: 'empty',
  }),
  row<LockClaim | undefined>(OPCODE.GETLK, {
    name: 'GETLK',
    requestBytesMin: LK_IN.requestEnd,
    handle(context, request) {
      const locks = engineOf(context);
      // F_OFD_GETLK with F_UNLCK asks for locks of the open file itself.
      if (request.u32(LK_IN.type) === LOCK_TYPE.UNLOCK) return locks.ownLock(request.inode, holderOf(request), rangeOf(request));
      return locks.test(request.inode, claimOf(request));
    },
    reply(reply, found, request) {
      if (found === undefined) reply.lock({ ...rangeOf(request), type: LOCK_TYPE.UNLOCK, pid: 0 });
      else reply.lock({ ...found, type: found.mode === 'shared' ? LOCK_TYPE.READ : LOCK_TYPE.WRITE });
    },
  }),
  row(OPCODE.SETLK, {
    name: 'SETLK',
    requestBytesMin: LK_IN.requestEnd,
    handle: (context, request) => setLock(context, request, { waits: false }),
    reply: 'empty',
  }),
  row(OPCODE.SETLKW, {
    name: 'SETLKW',
    requestBytesMin: LK_IN.requestEnd,
    waitsForPrograms: true,
    handle: (context, request) => setLock(context, request, { waits: true }),
    reply: 'empty',
  }),
];
