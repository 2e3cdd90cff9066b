// Bytes of the notifications that a driver sends to the kernel without having been asked.
//
// Never write one that can block (INVAL_ENTRY, INVAL_INODE with a range) from the thread that serves requests: it
// waits for locks that a request holds which only that thread can answer. INC_EPOCH never blocks.
//
//   fuse_out_header with error = the code, unique = 0, then
//   INVAL_INODE   0 u64 ino   8 i64 off (below 0: attributes alone)   16 i64 len (0: to the end)
//   INVAL_ENTRY   0 u64 parent   8 u32 namelen   12 u32 flags   16 name, NUL
import type { InodeNumber } from '../base/ids.ts';
import { NOTIFY, OUT_HEADER_BYTES } from './protocol.ts';
import { writeU64 } from './reply.ts';

function notification(code: number, bodyBytes: number): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + bodyBytes);
  out.writeUInt32LE(out.length, 0);
  out.writeInt32LE(code, 4);
  return out;
}

/** All names are looked up again at their next use. Linux 6.16; EINVAL before. */
export function incrementEpochNotification(): Buffer {
  return notification(NOTIFY.INC_EPOCH, 0);
}

/** Attributes are stale; with `data`, so is the page cache. */
export function invalidateInodeNotification(inode: InodeNumber, what: 'attributes' | 'data'): Buffer {
  const out = notification(NOTIFY.INVAL_INODE, 24);
  writeU64(out, inode, OUT_HEADER_BYTES);
  writeU64(out, what === 'attributes' ? -1 : 0, OUT_HEADER_BYTES + 8);
  return out;
}

/** The name is looked up again at its next use. */
export function invalidateEntryNotification(parent: InodeNumber, name: Buffer): Buffer {
  const out = notification(NOTIFY.INVAL_ENTRY, 16 + name.length + 1);
  writeU64(out, parent, OUT_HEADER_BYTES);
  out.writeUInt32LE(name.length, OUT_HEADER_BYTES + 8);
  out.set(name, OUT_HEADER_BYTES + 16);
  return out;
}
