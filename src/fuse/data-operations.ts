// Opcode table rows about the bytes of files.
import { FsError } from '../base/errors.ts';
import { ROOT_INODE } from '../base/ids.ts';
import type { FallocateMode, Pieces, WriteOptions } from '../vfs/filesystem.ts';
import { row } from './operation.ts';
import type { OperationContext, OperationRow } from './operation.ts';
import { COPY_FILE_RANGE_IN, FALLOCATE_IN, FSYNC_IN, IN_HEADER_BYTES, LSEEK_IN, OPCODE, OPEN_FLAG, READ_IN, WRITE_IN, WRITE_KILL_SUIDGID } from './protocol.ts';
import type { Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

/** fallocate(2) modes that the kernel lets through; the others it refuses itself. */
const FALLOCATE_MODES: ReadonlyMap<number, FallocateMode> = new Map([[0, 'allocate'], [1, 'keepSize'], [3, 'punchHole'], [16, 'zeroRange'], [17, 'zeroRangeKeepSize']]);
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** COPY_FILE_RANGE answers with a u32; the 64-bit form came with 7.45. */
const COPY_BYTES_MAX = 0x7fff_f000;

const KEEP_ACCESS_TIME = { keepAccessTime: true } as const;

function writeOptions(request: FuseRequest): WriteOptions {
  const openFlags = request.u32(WRITE_IN.flags);
  return {
    killPrivileges: (request.u32(WRITE_IN.writeFlags) & WRITE_KILL_SUIDGID) !== 0,
    durability: (openFlags & OPEN_FLAG.DSYNC) === 0 ? 'process' : 'power',
  };
}

function sync(context: OperationContext, request: FuseRequest) {
  return context.fs.sync(request.inode);
}

function copy(context: OperationContext, request: FuseRequest, bytesMax: number) {
  return context.fs.copyRange(
    { inode: request.inode, offset: request.u64(COPY_FILE_RANGE_IN.offIn) },
    { inode: request.node(COPY_FILE_RANGE_IN.nodeidOut), offset: request.u64(COPY_FILE_RANGE_IN.offOut) },
    Math.min(request.u64(COPY_FILE_RANGE_IN.len), bytesMax),
    request.caller(),
  );
}

function count(reply: Reply, value: number): void {
  reply.count(value);
}

export const DATA_OPERATIONS: readonly OperationRow[] = [
  row<Pieces>(OPCODE.READ, {
    name: 'READ',
    requestBytesMin: READ_IN.end,
    handle: (context, request) => context.fs.read(request.inode, request.u64(READ_IN.offset), request.u32(READ_IN.size), (request.u32(READ_IN.flags) & OPEN_FLAG.NOATIME) === 0 ? undefined : KEEP_ACCESS_TIME),
    reply(reply, pieces) {
      reply.pieces = pieces;
    },
  }),
  row(OPCODE.WRITE, {
    name: 'WRITE',
    requestBytesMin: WRITE_IN.end,
    handle(context, request) {
      const bytes = request.u32(WRITE_IN.size);
      const { length } = request.bytes;
      if (WRITE_IN.end + bytes > length) throw new FsError('EIO', `FUSE WRITE: wanted ${bytes} bytes of data, found ${length - WRITE_IN.end}`);
      const data = request.bytes.subarray(WRITE_IN.end, WRITE_IN.end + bytes);
      return context.fs.write(request.inode, request.u64(WRITE_IN.offset), data, writeOptions(request), request.caller());
    },
    reply: count,
  }),
  row(OPCODE.FSYNC, { name: 'FSYNC', requestBytesMin: FSYNC_IN.end, handle: sync, reply: 'empty' }),
  row(OPCODE.FSYNCDIR, { name: 'FSYNCDIR', requestBytesMin: FSYNC_IN.end, handle: sync, reply: 'empty' }),
  row(OPCODE.SYNCFS, {
    name: 'SYNCFS',
    requestBytesMin: IN_HEADER_BYTES,
    handle: (context) => context.fs.sync(ROOT_INODE),
    reply: 'empty',
  }),
  row(OPCODE.FALLOCATE, {
    name: 'FALLOCATE',
    requestBytesMin: FALLOCATE_IN.end,
    handle(context, request) {
      const mode = FALLOCATE_MODES.get(request.u32(FALLOCATE_IN.mode));
      if (mode === undefined) throw new FsError('EOPNOTSUPP', `fallocate mode ${request.u32(FALLOCATE_IN.mode)}`);
      return context.fs.fallocate(request.inode, mode, request.u64(FALLOCATE_IN.offset), request.u64(FALLOCATE_IN.length), request.caller());
    },
    reply: 'empty',
  }),
  row(OPCODE.LSEEK, {
    name: 'LSEEK',
    requestBytesMin: LSEEK_IN.end,
    handle(context, request) {
      const whence = request.u32(LSEEK_IN.whence);
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('EINVAL', `lseek whence ${whence}`);
      return context.fs.seek(request.inode, request.u64(LSEEK_IN.offset), whence === SEEK_DATA ? 'data' : 'hole');
    },
    reply: count,
  }),
  row(OPCODE.COPY_FILE_RANGE, {
    name: 'COPY_FILE_RANGE',
    requestBytesMin: COPY_FILE_RANGE_IN.end,
    handle: (context, request) => copy(context, request, COPY_BYTES_MAX),
    reply: count,
  }),
  row(OPCODE.COPY_FILE_RANGE_64, {
    name: 'COPY_FILE_RANGE_64',
    requestBytesMin: COPY_FILE_RANGE_IN.end,
    handle: (context, request) => copy(context, request, Number.MAX_SAFE_INTEGER),
    reply: count,
  }),
];
