// What the package 2.2.6 does wrong between libfuse and JavaScript, set right on one mount of it.
//
// Each request of libfuse lies in a record of C memory that the package passes about as a Buffer (fuse_thread_locals_t
// in its fuse-native.c, on 64-bit Linux):
//
//   104 i64 accessed, ms   112 i64 modified, ms   …   360 bytes in all
import type { PackageMount, Signal } from './package.ts';

const RECORD = { accessedMs: 104, modifiedMs: 112, bytes: 360 } as const;
const LOW_WORD = 2 ** 32;

export interface CorrectedOperations {
  /** The package asks `getattr` with the path, and loses which open file is meant. */
  fgetattr(path: string, handle: number, done: (status: number, attributes?: Uint32Array) => void): void;
  /** The package gives neither the room that there is for the value, nor compares it with that. `bytesMax` 0 asks for the length. */
  getxattr(path: string, name: string, bytesMax: number, done: (status: number, value?: Buffer) => void): void;
  /** As getxattr; the names with a NUL behind each. */
  listxattr(path: string, bytesMax: number, done: (status: number, names?: Buffer) => void): void;
  /** The package passes the access time twice. Milliseconds since 1970; `modifiedMs` is undefined where it cannot be known. */
  utimens(path: string, times: { accessedMs: number; modifiedMs: number | undefined }, done: (status: number) => void): void;
}

export function correct(mount: PackageMount, operations: CorrectedOperations): void {
  const currentRecord = watchRecords(mount);
  mount._op_fgetattr = (signal, path, handle) => {
    operations.fgetattr(path, handle, (status, attributes) => signal(status, attributes ?? NO_ATTRIBUTES));
  };
  mount._op_getxattr = (signal, path, name, into) => {
    operations.getxattr(path, name, into.length, (status, value) => give(signal, into, status, value));
  };
  mount._op_listxattr = (signal, path, into) => {
    operations.listxattr(path, into.length, (status, names) => give(signal, into, status, names));
  };
  mount._op_utimens = (signal, path, accessedLow, accessedHigh) => {
    const accessedMs = Number(BigInt.asIntN(64, (BigInt(accessedHigh) << 32n) | BigInt(accessedLow)));
    operations.utimens(path, { accessedMs, modifiedMs: modifiedMs(currentRecord(), { accessedLow, accessedHigh }) }, signal);
  };
}

/** struct stat as the package takes it (populate_stat). */
const NO_ATTRIBUTES = new Uint32Array(18);

/** The package passes the status on as the length. */
function give(signal: Signal, into: Buffer, status: number, value: Buffer | undefined): void {
  if (value !== undefined && into.length > 0) value.copy(into);
  // The memory behind it is libfuse's again when the answer is there, so the Buffer is taken from JavaScript.
  signal(value === undefined ? status : value.length, into.buffer);
}

/** The record of the request whose handler runs now; to be asked before the handler waits for anything. */
function watchRecords(mount: PackageMount): () => Buffer | undefined {
  let current: Buffer | undefined;
  mount._handlers = mount._handlers.map((handler) => handler && ((record, opcode, ...rest) => {
    current = record;
    try {
      return handler(record, opcode, ...rest);
    } finally {
      current = undefined;
    }
  }));
  return () => current;
}

/** Undefined unless the record is what it is expected to be: of that size, and with the access time that is known in its place. */
function modifiedMs(record: Buffer | undefined, known: { accessedLow: number; accessedHigh: number }): number | undefined {
  if (record?.length !== RECORD.bytes) return undefined;
  if (record.readUInt32LE(RECORD.accessedMs) !== known.accessedLow || record.readUInt32LE(RECORD.accessedMs + 4) !== known.accessedHigh) return undefined;
  return record.readInt32LE(RECORD.modifiedMs + 4) * LOW_WORD + record.readUInt32LE(RECORD.modifiedMs);
}
