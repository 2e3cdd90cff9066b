// Opcode table rows about attributes, symbolic link targets and the whole file system's statistics.
import type { Attributes, AttributeChanges, Statistics } from '../vfs/filesystem.ts';
import { row } from './operation.ts';
import type { OperationRow } from './operation.ts';
import { FATTR, GETATTR_IN, IN_HEADER_BYTES, OPCODE, SETATTR_IN, STATX_IN } from './protocol.ts';
import type { Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

/** No bit at all is a request too: the kernel's way to have privileges killed, answered with fresh attributes. */
function changes(request: FuseRequest): AttributeChanges {
  const valid = request.u32(SETATTR_IN.valid);
  const wanted: AttributeChanges = {};
  if ((valid & FATTR.MODE) !== 0) wanted.mode = request.u32(SETATTR_IN.mode);
  if ((valid & FATTR.UID) !== 0) wanted.uid = request.u32(SETATTR_IN.uid);
  if ((valid & FATTR.GID) !== 0) wanted.gid = request.u32(SETATTR_IN.gid);
  if ((valid & FATTR.SIZE) !== 0) wanted.size = request.u64(SETATTR_IN.size);
  if ((valid & FATTR.ATIME_NOW) !== 0) wanted.accessed = 'now';
  else if ((valid & FATTR.ATIME) !== 0) wanted.accessed = request.time(SETATTR_IN.atime, SETATTR_IN.atimensec);
  if ((valid & FATTR.MTIME_NOW) !== 0) wanted.modified = 'now';
  else if ((valid & FATTR.MTIME) !== 0) wanted.modified = request.time(SETATTR_IN.mtime, SETATTR_IN.mtimensec);
  if ((valid & FATTR.CTIME) !== 0) wanted.changed = request.time(SETATTR_IN.ctime, SETATTR_IN.ctimensec);
  if ((valid & FATTR.KILL_SUIDGID) !== 0) wanted.killPrivileges = true;
  return wanted;
}

function attributes(reply: Reply, found: Attributes): void {
  reply.attributes(found);
}

export const ATTRIBUTE_OPERATIONS: readonly OperationRow[] = [
  row(OPCODE.GETATTR, {
    name: 'GETATTR',
    requestBytesMin: GETATTR_IN.end,
    handle: (context, request) => context.fs.getAttributes(request.inode),
    reply: attributes,
  }),
  row(OPCODE.SETATTR, {
    name: 'SETATTR',
    requestBytesMin: SETATTR_IN.end,
    handle: (context, request) => context.fs.setAttributes(request.inode, changes(request), request.caller()),
    reply: attributes,
  }),
  row<Attributes>(OPCODE.STATX, {
    name: 'STATX',
    requestBytesMin: STATX_IN.end,
    handle: (context, request) => context.fs.getAttributes(request.inode),
    reply(reply, found) {
      reply.statx(found);
    },
  }),
  row<Buffer>(OPCODE.READLINK, {
    name: 'READLINK',
    requestBytesMin: IN_HEADER_BYTES,
    handle: (context, request) => context.fs.readLink(request.inode),
    reply(reply, target) {
      reply.pieces = [target];
    },
  }),
  row<Statistics>(OPCODE.STATFS, {
    name: 'STATFS',
    requestBytesMin: IN_HEADER_BYTES,
    handle: (context) => context.fs.statistics(),
    reply(reply, statistics) {
      reply.statistics(statistics);
    },
  }),
];
