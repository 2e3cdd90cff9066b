// How large the files of a disk are, and how much of it stays free: shares of its file system.
import { LIMITS } from '../base/limits.ts';

const MiB = 1024 * 1024;

export interface DiskSizes {
  /** One segment file of blocks. */
  readonly segmentBytes: number;
  readonly logSegmentBytes: number;
  /** Segments of the redo log that are kept for use again. */
  readonly logSparesMax: number;
  /** Allocated to a database ahead of its growth. */
  readonly growAheadBytes: number;
}

/** For a file system of `totalBytes`. */
export function sizesFor(totalBytes: number): DiskSizes {
  const small = totalBytes < LIMITS.smallDiskBytes;
  const share = Math.floor((totalBytes * LIMITS.segmentFraction) / MiB) * MiB;
  return {
    segmentBytes: clamp(share, LIMITS.segmentBytesMin, LIMITS.segmentBytes),
    logSegmentBytes: small ? LIMITS.logSegmentBytesSmall : LIMITS.logSegmentBytes,
    logSparesMax: small ? 1 : 2,
    growAheadBytes: clamp(share, LIMITS.growAheadBytesMin, LIMITS.growAheadBytes),
  };
}

/** Bytes that ordinary writes leave free on a file system of `totalBytes`, which `directories` disks of a volume share. */
export function reserveFor(totalBytes: number, directories: number): number {
  const wanted = Math.max(LIMITS.reserveFraction * totalBytes, LIMITS.reserveBytesMin * directories);
  return Math.ceil(Math.min(wanted, LIMITS.reserveFractionMax * totalBytes));
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}
