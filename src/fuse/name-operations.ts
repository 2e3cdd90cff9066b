// Opcode table rows that look up, make, remove and rename names.
import { FsError } from '../base/errors.ts';
import type { Attributes, Caller, RenameMode } from '../vfs/filesystem.ts';
import { FILE_TYPE } from '../vfs/filesystem.ts';
import { row } from './operation.ts';
import type { OperationContext, OperationRow } from './operation.ts';
import { CREATE_IN, IN_HEADER_BYTES, LINK_IN, MKDIR_IN, MKNOD_IN, OPCODE, OPEN_FLAG, OPEN_KILL_SUIDGID, RENAME2_IN, RENAME_IN } from './protocol.ts';
import type { Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

/** Of renameat2(2); the kernel rejects all others, and sends 0 as RENAME. */
const RENAME_MODES: ReadonlyMap<number, RenameMode> = new Map([[0, 'replace'], [1, 'noReplace'], [2, 'exchange'], [4, 'whiteout'], [5, 'whiteoutNoReplace']]);
const NAME = IN_HEADER_BYTES;

function entry(reply: Reply, attributes: Attributes): void {
  reply.entry(attributes);
}

function createdEntry(reply: Reply, attributes: Attributes): void {
  reply.createdEntry(attributes);
}

/** Who creates, with the umask that the kernel has not applied where DONT_MASK was negotiated. */
function creator(context: OperationContext, request: FuseRequest, umaskAt: number): Caller {
  return request.caller(context.negotiated.unmasked ? request.u32(umaskAt) : undefined);
}

function modeOf(request: FuseRequest, modeAt: number, type: number): number {
  return (request.u32(modeAt) & 0o7777) | type;
}

function rename(context: OperationContext, request: FuseRequest, nameAt: number, mode: RenameMode) {
  const name = request.string(nameAt);
  const newName = request.string(nameAt + name.length + 1);
  return context.fs.rename({ parent: request.inode, name }, { parent: request.node(RENAME_IN.newdir), name: newName }, mode, request.caller());
}

export const NAME_OPERATIONS: readonly OperationRow[] = [
  row<Attributes | 'absent'>(OPCODE.LOOKUP, {
    name: 'LOOKUP',
    requestBytesMin: NAME + 1,
    handle(context, request) {
      const absent = (error: unknown): 'absent' => {
        if (context.times.negativeSeconds > 0 && error instanceof FsError && error.code === 'ENOENT') return 'absent';
        throw error;
      };
      try {
        const found = context.fs.lookup(request.inode, request.string(NAME));
        return found instanceof Promise ? found.catch(absent) : found;
      } catch (error) {
        return absent(error);
      }
    },
    reply(reply, found) {
      if (found === 'absent') reply.negativeEntry();
      else reply.entry(found);
    },
  }),
  row(OPCODE.SYMLINK, {
    name: 'SYMLINK',
    requestBytesMin: NAME + 2,
    handle(context, request) {
      const name = request.string(NAME);
      const target = request.string(NAME + name.length + 1);
      return context.fs.makeSymlink(request.inode, name, target, request.caller());
    },
    reply: entry,
  }),
  row(OPCODE.MKNOD, {
    name: 'MKNOD',
    requestBytesMin: MKNOD_IN.end + 1,
    handle(context, request) {
      const mode = modeOf(request, MKNOD_IN.mode, request.u32(MKNOD_IN.mode) & FILE_TYPE.mask);
      return context.fs.makeNode(request.inode, request.string(MKNOD_IN.end), { mode, device: request.u32(MKNOD_IN.rdev) }, creator(context, request, MKNOD_IN.umask));
    },
    reply: entry,
  }),
  row(OPCODE.MKDIR, {
    name: 'MKDIR',
    requestBytesMin: MKDIR_IN.end + 1,
    handle(context, request) {
      const mode = modeOf(request, MKDIR_IN.mode, FILE_TYPE.directory);
      return context.fs.makeDirectory(request.inode, request.string(MKDIR_IN.end), mode, creator(context, request, MKDIR_IN.umask));
    },
    reply: entry,
  }),
  row(OPCODE.LINK, {
    name: 'LINK',
    requestBytesMin: LINK_IN.end + 1,
    handle: (context, request) => context.fs.link(request.node(LINK_IN.oldnodeid), request.inode, request.string(LINK_IN.end), request.caller()),
    reply: entry,
  }),
  row(OPCODE.CREATE, {
    name: 'CREATE',
    requestBytesMin: CREATE_IN.end + 1,
    handle(context, request) {
      const flags = request.u32(CREATE_IN.flags);
      const options = {
        mode: modeOf(request, CREATE_IN.mode, FILE_TYPE.regular),
        exclusive: (flags & OPEN_FLAG.EXCL) !== 0,
        truncate: (flags & OPEN_FLAG.TRUNC) !== 0,
        killPrivileges: (request.u32(CREATE_IN.openFlags) & OPEN_KILL_SUIDGID) !== 0,
      };
      return context.fs.create(request.inode, request.string(CREATE_IN.end), options, creator(context, request, CREATE_IN.umask));
    },
    reply: createdEntry,
  }),
  row(OPCODE.TMPFILE, {
    name: 'TMPFILE',
    // The name in the request is "/" and means nothing.
    requestBytesMin: CREATE_IN.end,
    handle: (context, request) => context.fs.createUnnamed(request.inode, modeOf(request, CREATE_IN.mode, FILE_TYPE.regular), creator(context, request, CREATE_IN.umask)),
    reply: createdEntry,
  }),
  row(OPCODE.UNLINK, {
    name: 'UNLINK',
    requestBytesMin: NAME + 1,
    handle: (context, request) => context.fs.unlink(request.inode, request.string(NAME), request.caller()),
    reply: 'empty',
  }),
  row(OPCODE.RMDIR, {
    name: 'RMDIR',
    requestBytesMin: NAME + 1,
    handle: (context, request) => context.fs.removeDirectory(request.inode, request.string(NAME), request.caller()),
    reply: 'empty',
  }),
  row(OPCODE.RENAME, {
    name: 'RENAME',
    requestBytesMin: RENAME_IN.end + 2,
    handle: (context, request) => rename(context, request, RENAME_IN.end, 'replace'),
    reply: 'empty',
  }),
  row(OPCODE.RENAME2, {
    name: 'RENAME2',
    requestBytesMin: RENAME2_IN.end + 2,
    handle(context, request) {
      const mode = RENAME_MODES.get(request.u32(RENAME2_IN.flags));
      if (mode === undefined) throw new FsError('EINVAL', `rename flags ${request.u32(RENAME2_IN.flags)}`);
      return rename(context, request, RENAME2_IN.end, mode);
    },
    reply: 'empty',
  }),
];
