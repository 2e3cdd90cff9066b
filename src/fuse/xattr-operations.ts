// Opcode table rows about extended attributes. A size of 0 asks for the length alone; one too small is ERANGE.
import { FsError } from '../base/errors.ts';
import type { XattrMode } from '../vfs/filesystem.ts';
import { row } from './operation.ts';
import type { OperationRow } from './operation.ts';
import { GETXATTR_IN, IN_HEADER_BYTES, OPCODE, SETXATTR_ACL_KILL_SGID, SETXATTR_IN } from './protocol.ts';
import type { Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

const XATTR_MODES: ReadonlyMap<number, XattrMode> = new Map([[0, 'set'], [1, 'create'], [2, 'replace']]);
const NUL = Buffer.alloc(1);
const ACL_PREFIX = Buffer.from('system.posix_acl_');

function value(reply: Reply, bytes: Buffer, request: FuseRequest): void {
  const bytesMax = request.u32(GETXATTR_IN.size);
  if (bytesMax === 0) {
    reply.count(bytes.length);
    return;
  }
  if (bytes.length > bytesMax) throw new FsError('ERANGE');
  reply.pieces = [bytes];
}

export const XATTR_OPERATIONS: readonly OperationRow[] = [
  row(OPCODE.SETXATTR, {
    name: 'SETXATTR',
    requestBytesMin: SETXATTR_IN.endWithoutExt + 1,
    handle(context, request) {
      const { setxattrExt, posixAcl } = context.negotiated;
      const flags = request.u32(SETXATTR_IN.flags);
      const mode = XATTR_MODES.get(flags);
      if (mode === undefined) throw new FsError('EINVAL', `setxattr flags ${flags}`);
      const name = request.string(setxattrExt ? SETXATTR_IN.end : SETXATTR_IN.endWithoutExt);
      // Storing an ACL would promise what nobody checks.
      if (!posixAcl && name.subarray(0, ACL_PREFIX.length).equals(ACL_PREFIX)) throw new FsError('EOPNOTSUPP');
      const valueAt = name.byteOffset - request.bytes.byteOffset + name.length + 1;
      const bytes = request.u32(SETXATTR_IN.size);
      const { length } = request.bytes;
      if (valueAt + bytes > length) throw new FsError('EIO', `FUSE SETXATTR: wanted ${bytes} bytes of value, found ${length - valueAt}`);
      const killSetgid = setxattrExt && (request.u32(SETXATTR_IN.setxattrFlags) & SETXATTR_ACL_KILL_SGID) !== 0;
      return context.fs.setXattr(request.inode, name, request.bytes.subarray(valueAt, valueAt + bytes), { mode, killSetgid }, request.caller());
    },
    reply: 'empty',
  }),
  row<Buffer>(OPCODE.GETXATTR, {
    name: 'GETXATTR',
    requestBytesMin: GETXATTR_IN.end + 1,
    handle: (context, request) => context.fs.getXattr(request.inode, request.string(GETXATTR_IN.end)),
    reply: value,
  }),
  row<Buffer[]>(OPCODE.LISTXATTR, {
    name: 'LISTXATTR',
    requestBytesMin: GETXATTR_IN.end,
    handle: (context, request) => context.fs.listXattrs(request.inode, request.caller()),
    reply(reply, names, request) {
      value(reply, Buffer.concat(names.flatMap((name) => [name, NUL])), request);
    },
  }),
  row(OPCODE.REMOVEXATTR, {
    name: 'REMOVEXATTR',
    requestBytesMin: IN_HEADER_BYTES + 1,
    handle: (context, request) => context.fs.removeXattr(request.inode, request.string(IN_HEADER_BYTES), request.caller()),
    reply: 'empty',
  }),
];
