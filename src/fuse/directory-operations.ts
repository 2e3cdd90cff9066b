// Opcode table rows that list directories.
import type { MaybePromise } from '../vfs/filesystem.ts';
import { row } from './operation.ts';
import type { OperationContext, OperationRow } from './operation.ts';
import { OPCODE, READ_IN } from './protocol.ts';
import type { CacheTimes, Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

function list(context: OperationContext, request: FuseRequest, times: CacheTimes | undefined): MaybePromise<void> {
  const directory = request.directory();
  directory.begin(request.u32(READ_IN.size), times);
  return context.fs.readDirectory(request.inode, request.u64(READ_IN.offset), { attributes: times !== undefined }, directory.take);
}

function records(reply: Reply, _listed: void, request: FuseRequest): void {
  const { buffer, bytes } = request.directory().finish();
  reply.head = buffer;
  reply.headBytes = bytes;
}

export const DIRECTORY_OPERATIONS: readonly OperationRow[] = [
  row(OPCODE.READDIR, { name: 'READDIR', requestBytesMin: READ_IN.end, handle: (context, request) => list(context, request, undefined), reply: records }),
  row(OPCODE.READDIRPLUS, { name: 'READDIRPLUS', requestBytesMin: READ_IN.end, handle: (context, request) => list(context, request, context.times), reply: records }),
];
