// Opcode table rows about the session itself, references, handles, and what is refused for good.
import type { InodeNumber } from '../base/ids.ts';
import type { Negotiated } from './init.ts';
import { writeInitReply } from './init.ts';
import { refusal, row } from './operation.ts';
import type { OperationRow } from './operation.ts';
import { BATCH_FORGET_IN, FORGET_IN, FORGET_ONE, IN_HEADER_BYTES, INIT_IN, INTERRUPT_IN, OPCODE } from './protocol.ts';

export const CONTROL_OPERATIONS: readonly OperationRow[] = [
  row<Negotiated>(OPCODE.INIT, {
    name: 'INIT',
    requestBytesMin: INIT_IN.endWithoutExt,
    handle: (context, request) => context.negotiate(request),
    reply(reply, negotiated) {
      writeInitReply(reply, negotiated);
    },
  }),
  row(OPCODE.DESTROY, { name: 'DESTROY', requestBytesMin: IN_HEADER_BYTES, handle() {}, reply: 'empty' }),
  row(OPCODE.FORGET, {
    name: 'FORGET',
    requestBytesMin: FORGET_IN.end,
    handle(context, request) {
      context.fs.forget(request.inode, request.u64(FORGET_IN.nlookup));
    },
    reply: 'none',
  }),
  row(OPCODE.BATCH_FORGET, {
    name: 'BATCH_FORGET',
    requestBytesMin: BATCH_FORGET_IN.end,
    handle(context, request) {
      const count = request.u32(BATCH_FORGET_IN.count);
      const end = Math.min(BATCH_FORGET_IN.end + count * FORGET_ONE.bytes, request.bytes.length);
      for (let at = BATCH_FORGET_IN.end; at + FORGET_ONE.bytes <= end; at += FORGET_ONE.bytes) {
        context.fs.forget(request.u64(at + FORGET_ONE.nodeid) as InodeNumber, request.u64(at + FORGET_ONE.nlookup));
      }
    },
    reply: 'none',
  }),
  row(OPCODE.INTERRUPT, {
    name: 'INTERRUPT',
    requestBytesMin: INTERRUPT_IN.end,
    // The kernel queues an interrupt only once its request has been read, and again after a resend. One that is not
    // being worked on has therefore been answered: EAGAIN would only bring the interrupt back.
    handle(context, request) {
      context.interrupt(request.u32(INTERRUPT_IN.uniqueLo), request.u32(INTERRUPT_IN.uniqueHi));
    },
    reply: 'none',
  }),
  // An answer to NOTIFY_RETRIEVE, which is never sent from here.
  row(OPCODE.NOTIFY_REPLY, { name: 'NOTIFY_REPLY', requestBytesMin: IN_HEADER_BYTES, handle() {}, reply: 'none' }),

  // Handles of directories carry nothing, so they need not exist: after ENOSYS the kernel sends neither OPENDIR nor
  // RELEASEDIR and keeps its caches from open to open. Locks of directories are the kernel's own.
  refusal(OPCODE.OPENDIR, 'OPENDIR', 'ENOSYS'),
  row(OPCODE.RELEASEDIR, { name: 'RELEASEDIR', requestBytesMin: IN_HEADER_BYTES, handle() {}, reply: 'empty' }),

  // The kernel's own: permissions (default_permissions), readiness.
  refusal(OPCODE.ACCESS, 'ACCESS', 'ENOSYS'),
  refusal(OPCODE.POLL, 'POLL', 'ENOSYS'),
  refusal(OPCODE.BMAP, 'BMAP', 'ENOSYS'),
  refusal(OPCODE.IOCTL, 'IOCTL', 'ENOTTY'),
];
