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
  /** All attribute names of an inode, each with a NUL: what listxattr(2) can return (XATTR_LIST_MAX). */
  xattrListBytesMax: 64 * KiB,
  /** All attribute values of an inode. */
  xattrsBytesMax: 1 * MiB,
  /** An ACL as the value of its attribute: 511 entries, since the kernel reads it into one page. */
  aclBytesMax: 4 * KiB,
  /** Largest file: offsets stay exact as JS numbers, and the kernel's page index stays in range. */
  fileBytesMax: 2 ** 53 - 4096,
  /** Hard links to one inode (as ext4). */
  linksMax: 65_000,
  /** Links of a directory, two and one for each directory in it: what an i32 of a program holds. */
  directoryLinksMax: 2 ** 31 - 1,

  /** Largest FUSE READ or WRITE, = 256 pages, the kernel's own default limit. */
  requestBytesMax: 1 * MiB,
  /** What a FUSE request has besides its data: headers, names, an xattr value. */
  requestOverheadBytes: 64 * KiB,
  /** Requests that are being worked on lie in slabs; when all are taken, no request is read until one is free. */
  requestSlabBytes: 4 * MiB,
  requestSlabsMax: 16,
  /** FUSE requests served before sockets and timers get their turn. */
  requestsPerTurnMax: 64,
  /** Held locks (fcntl, flock) of a mount with locks=sdfs, and requests that wait for one; ENOLCK beyond. */
  locksMax: 49_152,
  lockWaitersMax: 8192,
  /** Lock requests looked at in the search for a deadlock; a circle that needs more is not found. */
  deadlockStepsMax: 10_000,
  /** Files that programs have open on the edge fuse-native; on the other one nothing is kept of them. */
  openFilesMax: 1024 * 1024,
  /** How often the edge fuse-native looks whether its mount is still there. */
  nativeMountWatchMs: 100,
  /** Notifications waiting to be written to the kernel. */
  notificationsMax: 1024,
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
  /** Extents of one chunk above which writers wait until it is rewritten. */
  chunkExtentsHard: 2048,
  /** Ranges of one file that fallocate set space aside for; adjacent ones are one. */
  reservationRangesMax: 1024,
  /** Free space that is kept, beside what fallocate set aside, for the logs and databases that grow when it is used. */
  reservationSlackBytes: 64 * MiB,
  /** A write that finds the disks full has dead blocks deleted, gives the workers a moment (times the attempt), and tries again. */
  fullDiskAttempts: 4,
  fullDiskPauseMs: 50,
  /** Access times in memory before they are written; a background sync writes them anyway. */
  accessTimesMax: 4096,
  /** Results of requests remembered, for those that are sent again: far more than can wait for an answer. */
  requestResultsMax: 16_384,
  /** Files that a look for the owners of lost blocks names; a person reads no more. */
  blockOwnersMax: 10_000,
  /** Crowded chunks remembered for rewriting; further ones are found again at their next write. */
  crowdedChunksMax: 1024,

  /** Everything acknowledged reaches R disks within this time, asked or not. */
  syncIntervalMs: 1000,
  /** Small data that is older than this is moved to the workers, though there be little of it. */
  pendingAgeMs: 5_000,
  /** One segment file of a redo log. */
  logSegmentBytes: 16 * MiB,
  /** Largest single log record. */
  logRecordBytesMax: 4 * MiB,
  /** Log kept on a worker (or by the driver) above which trimming is urgent. */
  logBytesSoft: 128 * MiB,
  /** Journal above which writers wait until the workers have taken it. */
  journalBytesHard: 512 * MiB,

  /** Largest body and head of one frame between driver and worker. */
  frameBodyBytesMax: 4 * MiB + 64 * KiB,
  frameHeadBytesMax: 256 * KiB,
  /** Requests in flight to one worker; further ones wait in order. */
  workerRequestsMax: 256,
  /** Body bytes in flight to one worker, and replies that one connection has not taken yet; beyond it senders wait. */
  channelBytesMax: 32 * MiB,
  /** Received from one connection before the others get their turn. */
  channelTurnBytes: 4 * MiB,
  /** A worker that does not answer one request for this long is taken for hung. */
  workerTimeoutMs: 10_000,
  /**
   * A worker that owes an answer and says nothing is asked for a sign of life; without one it is stalled, and others
   * take its work: stopped, or held up by a disk that hangs. Looked at in ticks of the driver's own loop, so that a
   * driver that was held up itself does not blame the workers.
   */
  stallTickMs: 250,
  stallTicksPing: 2,
  stallTicksMax: 6,
  /** How long a stalled worker may be away before a block is acknowledged with a copy less; see workerDegradeMs. */
  stallDegradeMs: 3_000,
  /** How long a request waits for a dead worker to come back before it goes elsewhere or fails. */
  workerAbsenceMs: 30_000,
  /** How long a request waits for a dead worker before another disk takes its place, where there is one. */
  workerSwitchMs: 3_000,
  /** As workerTimeoutMs, for requests that wait for the disk itself (syncs, checkpoints): a slow disk flushes gigabytes in this time. */
  workerSyncTimeoutMs: 60_000,
  /** How long a worker may be away before a block is acknowledged with a copy less: longer than the longest pause before a restart. */
  workerDegradeMs: 12_000,
  /** Requests that wait for one worker, absent or busy; further ones are refused. */
  workerQueueMax: 4096,
  /** Pause between attempts to reach a worker's socket: doubles from min to max. */
  reconnectDelayMinMs: 5,
  reconnectDelayMaxMs: 250,
  /** Blocks put to a worker in one frame (of at most half of frameBodyBytesMax). */
  putBatchBlocksMax: 1024,
  /** Ids in one request to delete, find or list blocks. */
  blockIdsMax: 8192,
  /** No record waits longer for R disks, whatever the workers do. */
  logWaitMs: 90_000,
  /** Requests to append to the log that one worker has in flight: one is being sent while one is being synced. */
  logAppendsMax: 2,
  /** A read that takes longer than some times the usual, between these, is asked of another disk too. */
  hedgeMsMin: 100,
  hedgeMsMax: 1000,
  /** Such second questions in one burst; in the long run they are a tenth of all reads. */
  hedgesMax: 16,
  /** Bad copies that are being rewritten at once; further ones wait for their next read, or a scrub. */
  repairsMax: 16,
  /** Background copying and scrubbing: bytes a second at most, and blocks copied at once. */
  backgroundBytesPerSecond: 128 * MiB,
  backgroundCopiesMax: 8,
  /** Background work leaves a disk that is away for this long to a later pass; after a failure nothing is tried for a while. */
  backgroundPatienceMs: 1_000,
  backgroundPauseMs: 10_000,
  /** A step of it that waits for a worker is waited for when the driver ends: longer than workerTimeoutMs. */
  upkeepEndMs: 12_000,
  /** Background work makes no copies on a disk that has less than this part of it free for ordinary writes. */
  backgroundReserveFraction: 0.01,
  /** A disk that was away for this long is taken for lost: others get what it had. */
  diskLostMs: 10 * 60_000,
  /** Copies are looked over so long after the last event that may have left some missing. */
  reconcileDelayMs: 3_000,
  /** After a pass that could not do everything the next one waits: doubles from min to max. */
  reconcileRetryMinMs: 15_000,
  reconcileRetryMaxMs: 10 * 60_000,
  /** Every copy is read back and checked once in this time. */
  scrubIntervalMs: 30 * 24 * 60 * 60_000,
  /** A backup of the metadata is written onto every disk so often, when something has changed. */
  dumpIntervalMs: 60 * 60_000,
  /** The key-value store: longest key, longest value, all of one batch (values above inlineBytesMax apart). */
  keyBytesMax: 1024,
  valueBytesMax: 64 * MiB,
  batchBytesMax: 2 * MiB,
  /** Values up to this size lie beside their keys; larger ones become blocks. */
  rowValueBytesMax: 256,
  /** How often a large value is put again, that was on its way while its store was opened anew. */
  reopenedAttempts: 4,
  /**
   * A value that another process sends in pieces is set, or dropped, within this time: until then no block that nothing names
   * is collected. And how many of them one connection may have.
   */
  stagedValueMs: 10 * 60_000,
  stagedValuesMax: 16_384,
  /** Values from this size on are put on the shards at once, though they could ride in the log, while above half of pendingBytesSoft waits to be moved. */
  directValueBytesMin: 1 * KiB,
  /** Small values that are kept in memory: this share of it, and at most so many bytes. */
  valueCacheShare: 1 / 16,
  valueCacheBytesMax: 1024 * MiB,
  /** How long a lock is waited for, where the caller does not say; and how often it is renewed at most. */
  lockWaitMs: 30_000,
  lockRenewMinMs: 10,
  /** Callers that wait for locks of the key-value store. */
  leaseWaitersMax: 8192,
  /** Calls of the store's users answered before sockets and timers get their turn. */
  keyCallsPerTurnMax: 256,
  /** Changes of the store's users that share one record of the log. */
  commitsPerTurnMax: 1024,
  /** A value that was replaced while it was read is read again, so often; then StoreError CHANGED. */
  valueReadsMax: 64,
  /** Keys whose time is up are deleted so often, and so many in one record; they are not seen any more before. */
  expirySweepMs: 1000,
  expirySweepKeys: 256,
  /** Rows looked at for one page of a range, those of keys whose time is up among them: then others have their turn. */
  pageRowsMax: 1024,
  /** Values of one page of a range, beyond the first. */
  pageBytesMax: 4 * MiB,
  /** The server of the Redis protocol: connections; words of one command; a line that a person types. */
  clientsMax: 10_000,
  commandArgumentsMax: 128 * KiB,
  commandBytesMax: 128 * MiB,
  /** What the server holds for all its clients, commands that are not whole and answers that are not taken; the one with most goes beyond it. */
  clientsBytesMax: 512 * MiB,
  /** Large values that it reads from the shards at once, to be answers; further ones are begun when those are on their way to their clients. */
  readsBytesMax: 128 * MiB,
  commandLineBytesMax: 64 * KiB,
  /** Commands carried out for all connections, and for one of them, before sockets and timers get their turn. */
  callsPerTurnMax: 4096,
  callsPerVisitMax: 512,
  /** Reads of one connection that wait for the shards beside each other. */
  clientReadsMax: 64,
  /** Answers that a connection does not take: beyond it nothing more is carried out for it. One answer may be larger. */
  clientReplyBytesMax: 1 * MiB,
  /** All values of one answer. */
  replyBytesMax: 64 * MiB,
  /** Keys looked at for one call of SCAN, and for KEYS at a time. */
  scanCountMax: 1000,
  /** Scans under way whose places are remembered; the one that was idle for longest is forgotten. */
  scansMax: 16_384,
  /** Longest time after which a key or lock goes by itself: ten thousand years, so that times stay exact. */
  ttlMsMax: 10_000 * 366 * 24 * 60 * 60_000,
  /** setTimeout takes no more; longer waits are renewed, or end there. */
  timerMsMax: 2 ** 31 - 1,

  /** A dump that nobody reads any more is closed: its view keeps the database from using free pages. */
  dumpIdleMs: 60_000,
  /** Blocks without a good copy that are remembered, for their names; further ones are counted. */
  unreadableBlocksMax: 10_000,
  /** Disk statistics are asked for again when they are older. */
  statisticsIntervalMs: 1000,
  /** Pause before a process is started again: doubles from min to max, and falls back after a quiet minute. */
  restartDelayMinMs: 50,
  restartDelayMaxMs: 5_000,
  /**
   * A child that is not ready this long after its start, or after it last said that it is getting on, is killed and started
   * again. A driver may have to rebuild its database.
   */
  workerStartMs: 60_000,
  driverStartMs: 600_000,
  /** Rows that a mount reads before it serves, when the last one did not end cleanly: about two seconds. More are read in the background. */
  rowsVerifiedMax: 1_000_000,
  /** Log lines that wait while a write of earlier ones is on its way; further ones are lost. At exit they are written unless that write takes this long. */
  logLinesMax: 1000,
  logStuckMs: 1_000,
  /** A child that was told to stop is killed after this long. */
  workerStopMs: 20_000,
  driverStopMs: 60_000,
  /** The keeper looks so often whether its children are stopped (SIGSTOP); so many looks in a row, and they are killed. */
  childLookMs: 2_000,
  childLooksStopped: 5,
  /** A driver whose event loop does not answer for this long is killed, unless it waits for a disk. */
  driverPingMs: 60_000,
  /** A driver that stands in one wait for a disk in so many looks (of childLookMs) in a row is left to itself, and its successor goes elsewhere. */
  childLooksOnDisk: 10,
  /** How long a driver that ends, or hands over, lets requests in work be answered; and before that, tries to sync. */
  requestsEndMs: 5_000,
  handOverSyncMs: 5_000,
  /** When a successor asks which inodes without a name are in use: by then what its predecessor left unanswered is answered. */
  orphansAfterTakeoverMs: 60_000,
  /** A killed process is waited for so long; one that waits for a disk that hangs ends when the disk does something. */
  killMs: 5_000,
  /** fusermount3, which mounts for an ordinary user: it waits for nothing but the file system that the mountpoint is on. */
  mountHelperMs: 10_000,
  /** Drivers tried to finish an unmount before it is given up (the data is process-proof: the next mount finishes it). */
  unmountDriversMax: 3,
  /** How long a clean shutdown lets the last users of a busy, detached mount finish before they are cut off. */
  detachGraceMs: 5_000,
  /** What has waited for so long is named by `sdfs status`. */
  stuckMs: 2_000,
  /** Questions of the keeper to the driver that are open; further ones are refused. */
  driverQuestionsMax: 64,
  /** One question to the driver or over the control socket; a sync or an unmount may have much to write. */
  controlCallMs: 5_000,
  controlSyncMs: 120_000,
  /** Answers under way when the control socket is closed get so long. */
  controlEndMs: 500,
  /** How long "sdfs umount" looks for programs that use the mount: one in a page fault may hold its memory map for long. */
  holderSearchMs: 5_000,
  /** How long a forced unmount waits for the processes that it killed: gone when the kernel has closed what they had open. */
  forcedEndMs: 10_000,
  /** The program that detaches a mount in place of the process that serves it. */
  detachMs: 5_000,
  /** The volume's lock for other machines is renewed so often, and its holder taken for dead without that. */
  lockRenewMs: 5_000,
  lockStaleMs: 30_000,
  /** Body of a control request or answer. */
  controlBodyBytesMax: 16 * MiB,
  /** A worker without orders ends; one whose keeper is gone lets its driver finish for so long. */
  workerOrdersMs: 30_000,
  workerOrphanMs: 5_000,
  /** A reader of a worker's checkpoint comes back for more rows within this time, or has given up: until then it stands still. */
  checkpointHoldMs: 5_000,
  /** A worker whose checkpoint is being read by another process, to see whether it is whole, looks so often whether that gets on. */
  checkpointLookMs: 1_000,
  /** A worker looks whether its directory is still the one that it opened. */
  diskLookMs: 5_000,
  /** So many reads that fail within this time are a reason to probe the disk; so many writes, to give it up although a probe goes well. */
  diskFailuresMax: 3,
  diskFailuresMs: 60_000,
  /** A worker that ends so soon after its disk failed ends because of that: nothing waits for its quick restart. */
  diskFailedEndMs: 10_000,
  /** Pause before a disk that failed is tried again: doubles from min to max, without end. */
  diskRetryMinMs: 1_000,
  diskRetryMaxMs: 15_000,
  /** A disk directory must have this much free at init. */
  diskBytesMin: 160 * MiB,
  /** Path of a UNIX socket, in bytes: sun_path less the NUL. unix(7). */
  socketPathBytesMax: 107,

  /** One segment file of blocks on a disk: a share of its file system, between these. */
  segmentBytes: 256 * MiB,
  segmentBytesMin: 8 * MiB,
  segmentFraction: 1 / 64,
  /** What ordinary writes may not use of a file system, so that logs, deletes and compaction go on when it is full. */
  reserveFraction: 0.02,
  /** The same at least, for each disk directory of the volume on it; and never more than this share of it. */
  reserveBytesMin: 64 * MiB,
  reserveFractionMax: 0.5,
  /** Below this much free space, for each disk directory on a file system, it is asked before every write. */
  freeBytesLow: 1024 * MiB,
  /** Space allocated ahead of the growth of the driver's database, and when it is renewed. */
  metadataAheadBytes: 64 * MiB,
  metadataAheadBytesMin: 32 * MiB,
  /** The workers' databases have space allocated ahead of their growth: a share of the file system, between these. */
  growAheadBytes: 16 * MiB,
  growAheadBytesMin: 4 * MiB,
  /** A file system below this size: its redo logs have smaller segments, and fewer spare ones. */
  smallDiskBytes: 8192 * MiB,
  logSegmentBytesSmall: 8 * MiB,
} as const;

/** A lock as an operation of a log record: header, key and value (locks/lock-rows.ts). */
const LOCK_BYTES = 8 + 26 + 24;

/** The relations between limits, checked once at start of every process. */
export function assertLimits(): void {
  assert(LIMITS.blockBytesMax <= LIMITS.fileChunkBytes, 'a block fits in a file chunk');
  assert(LIMITS.blockBytesMax % LIMITS.checksumBytes === 0, 'a block is a whole number of checksummed pieces');
  assert(LIMITS.frameBodyBytesMax >= LIMITS.blockBytesMax, 'a frame carries the largest block');
  assert(LIMITS.channelBytesMax >= LIMITS.frameBodyBytesMax, 'a frame may be in flight');
  assert(LIMITS.frameBodyBytesMax >= LIMITS.logRecordBytesMax, 'a frame carries the largest log record');
  assert(LIMITS.logSegmentBytes >= 2 * LIMITS.logRecordBytesMax, 'a log segment holds the largest record');
  assert(LIMITS.requestBytesMax <= LIMITS.blockBytesMax, 'a request fits in a block');
  assert(LIMITS.requestSlabBytes >= LIMITS.requestBytesMax + LIMITS.requestOverheadBytes, 'a slab holds the largest request');
  assert(LIMITS.readsBytesMax >= LIMITS.replyBytesMax, 'the values of one answer are read at once');
  assert(LIMITS.replyBytesMax >= LIMITS.valueBytesMax, 'an answer holds the largest value');
  assert(LIMITS.rowValueBytesMax <= LIMITS.inlineBytesMax, 'a value beside its key is a small one');
  assert(LIMITS.batchBytesMax * 1.5 <= LIMITS.logRecordBytesMax, 'a batch, with its rows, fits in a log record');
  assert(LIMITS.commandBytesMax > LIMITS.valueBytesMax && LIMITS.clientsBytesMax > 2 * LIMITS.commandBytesMax, 'the largest value fits in a command, and some such in the server');
  assert(LIMITS.scanCountMax <= LIMITS.pageRowsMax, 'one call of SCAN is one page');
  assert(LIMITS.inlineBytesMax <= LIMITS.checksumBytes, 'an inline block has one checksum');
  assert(LIMITS.blockIdsMax * 8 <= LIMITS.frameHeadBytesMax, 'a frame head carries the ids of one request');
  assert(LIMITS.workerDegradeMs > 2 * LIMITS.restartDelayMaxMs && LIMITS.workerDegradeMs < LIMITS.workerAbsenceMs, 'a worker that is restarted is waited for');
  assert(LIMITS.stallTicksPing < LIMITS.stallTicksMax && LIMITS.stallTickMs * LIMITS.stallTicksMax < LIMITS.stallDegradeMs, 'a stalled worker is found before it is given up');
  assert(LIMITS.logWaitMs >= LIMITS.workerAbsenceMs + LIMITS.workerSyncTimeoutMs, 'a log on a slow disk is waited for as long as the disk');
  assert(LIMITS.upkeepEndMs > LIMITS.workerTimeoutMs, 'a step of the background work ends before it is given up');
  assert(LIMITS.lockStaleMs > 2 * LIMITS.lockRenewMs, 'a lock that is renewed is not stale');
  assert(LIMITS.workerSwitchMs < LIMITS.workerAbsenceMs, 'another disk is tried before a request fails');
  assert(LIMITS.chunkExtentsHard * 24 * 16 < LIMITS.logRecordBytesMax, 'crowded extent rows fit in a log record');
  assert((LIMITS.locksMax + 2 * LIMITS.lockWaitersMax) * LOCK_BYTES < LIMITS.logRecordBytesMax, 'the end of all locks, and the grants that follow from it, fit in a log record');
  assert(LIMITS.pendingBytesSoft < LIMITS.pendingBytesHard, 'moving starts before writers wait');
  assert(LIMITS.segmentBytes < 2 ** 31, 'offsets in a segment fit in 31 bits');
  assert(LIMITS.segmentBytesMin >= 4 * LIMITS.blockBytesMax && LIMITS.segmentBytesMin <= LIMITS.segmentBytes, 'the smallest segment holds some of the largest blocks');
  assert(LIMITS.logSegmentBytesSmall >= 2 * LIMITS.logRecordBytesMax && LIMITS.logSegmentBytesSmall <= LIMITS.logSegmentBytes, 'a small log segment holds the largest record');
}
