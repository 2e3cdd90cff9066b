// Space set aside for the growth of the driver's database, so that on a full disk deletes still find room.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { LIMITS } from '../base/limits.ts';
import { ERRNO, errno, fallocate } from '../os/libc.ts';

const KEEP_SIZE = 1;
/** st_blocks counts these. */
const UNIT_BYTES = 512;

/**
 * A function that sees to it that `file` can grow by some bytes without finding the disk full; false when it cannot
 * any more. True also where the file system cannot set space aside (fallocate(2): EOPNOTSUPP).
 */
export function databaseReserve(file: string): () => boolean {
  return () => {
    let fd: number;
    try {
      fd = openSync(file, 'r+');
    } catch {
      return true;
    }
    try {
      const { size, blocks } = fstatSync(fd);
      if (blocks * UNIT_BYTES - size >= LIMITS.metadataAheadBytesMin) return true;
      return fallocate(fd, KEEP_SIZE, size, LIMITS.metadataAheadBytes) === 0 || errno() !== ERRNO.ENOSPC;
    } finally {
      closeSync(fd);
    }
  };
}
