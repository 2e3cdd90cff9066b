// Bytes of the notifications that a driver sends to the kernel without having been asked.
//
// Never write one from the thread that serves requests: where pages are dropped too, it waits for locks that a request
// holds which only that thread can answer.
//
//   fuse_out_header with error = the code, unique = 0, then
//   INVAL_INODE   0 u64 ino   8 i64 off (below 0: attributes alone)   16 i64 len (0: to the end)
import type { InodeNumber } from '../base/ids.ts';
import { NOTIFY, OUT_HEADER_BYTES } from './protocol.ts';
import { writeU64 } from './reply.ts';

function notification(code: number, bodyBytes: number): Buffer {
  const out = Buffer.alloc(OUT_HEADER_BYTES + bodyBytes);
  out.writeUInt32LE(out.length, 0);
  out.writeInt32LE(code, 4);
  return out;
}

/** Attributes are stale; with `data`, so is the page cache. */
export function invalidateInodeNotification(inode: InodeNumber, what: 'attributes' | 'data'): Buffer {
  const out = notification(NOTIFY.INVAL_INODE, 24);
  writeU64(out, inode, OUT_HEADER_BYTES);
  writeU64(out, what === 'attributes' ? -1 : 0, OUT_HEADER_BYTES + 8);
  return out;
}
