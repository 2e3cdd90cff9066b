// Every queue, table, message, wait and retry has its bound here. docs/LIMITS.md says what happens at each.
import { assert } from './assert.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = {
  /** Longest name of a directory entry, in bytes. */
  nameBytesMax: 255,
  /** Longest symbolic link target, in bytes (PATH_MAX less the NUL). */
  linkTargetBytesMax: 4095,
  /** Longest extended attribute name / value, in bytes (XATTR_NAME_MAX, XATTR_SIZE_MAX). */
  xattrNameBytesMax: 255,
  xattrValueBytesMax: 64 * KiB,
  /** Largest file: offsets stay exact as JS numbers, and the kernel's page index stays in range. */
  fileBytesMax: 2 ** 53 - 4096,
  /** Hard links to one inode (as ext4). */
  linksMax: 65_000,

  /** Largest FUSE READ or WRITE, = 256 pages, the kernel's own default limit. */
  requestBytesMax: 1 * MiB,
  /** Largest block; a block never crosses a chunk boundary of its file. */
  blockBytesMax: 1 * MiB,
  /** A file's extents are kept in one row per this many bytes of file. */
  fileChunkBytes: 1 * MiB,
  /** One checksum for each of these. */
  checksumBytes: 16 * KiB,
  /** Writes up to this size ride inside the metadata log and are moved to the workers later. */
  inlineBytesMax: 16 * KiB,
  /** Inline data that is not on R workers yet, kept in memory: above soft moving starts at once, above hard writers wait. */
  pendingBytesSoft: 8 * MiB,
  pendingBytesHard: 32 * MiB,
  /** Extents of one chunk above which it is rewritten in the background. */
  chunkExtentsMax: 64,

  /** Everything acknowledged reaches R disks within this time, asked or not. */
  syncIntervalMs: 1000,
  /** One segment file of a redo log. */
  logSegmentBytes: 16 * MiB,
  /** Largest single log record. */
  logRecordBytesMax: 4 * MiB,
  /** Log kept on a worker (or by the driver) above which trimming is urgent. */
  logBytesSoft: 128 * MiB,

  /** Largest body and head of one frame between driver and worker. */
  frameBodyBytesMax: 4 * MiB,
  frameHeadBytesMax: 256 * KiB,
  /** Requests in flight to one worker; further ones wait in order. */
  workerRequestsMax: 256,
  /** A worker that does not answer one request for this long is taken for hung. */
  workerTimeoutMs: 10_000,
  /** How long a request waits for a dead worker to come back before it goes elsewhere or fails. */
  workerAbsenceMs: 30_000,
  /** Pause before a process is started again: doubles from min to max, and falls back after a quiet minute. */
  restartDelayMinMs: 50,
  restartDelayMaxMs: 5_000,

  /** One segment file of blocks on a disk. */
  segmentBytes: 256 * MiB,
  /** Share of a disk that ordinary writes may not use, so that deletes and compaction go on when it is full. */
  reserveFraction: 0.02,
  reserveBytesMin: 32 * MiB,
} as const;

/** The relations between limits, checked once at start of every process. */
export function assertLimits(): void {
  assert(LIMITS.blockBytesMax <= LIMITS.fileChunkBytes, 'a block fits in a file chunk');
  assert(LIMITS.blockBytesMax % LIMITS.checksumBytes === 0, 'a block is a whole number of checksummed pieces');
  assert(LIMITS.frameBodyBytesMax >= LIMITS.blockBytesMax, 'a frame carries the largest block');
  assert(LIMITS.frameBodyBytesMax >= LIMITS.logRecordBytesMax, 'a frame carries the largest log record');
  assert(LIMITS.logSegmentBytes >= 2 * LIMITS.logRecordBytesMax, 'a log segment holds the largest record');
  assert(LIMITS.requestBytesMax <= LIMITS.blockBytesMax, 'a request fits in a block');
  assert(LIMITS.inlineBytesMax <= LIMITS.checksumBytes, 'an inline block has one checksum');
  assert(LIMITS.pendingBytesSoft < LIMITS.pendingBytesHard, 'moving starts before writers wait');
  assert(LIMITS.segmentBytes < 2 ** 31, 'offsets in a segment fit in 31 bits');
}
