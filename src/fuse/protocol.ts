// Names and numbers of the FUSE protocol, <linux/fuse.h> 7.45: opcodes, flag bits, structure offsets and sizes.
//
// Every request and reply begins with a header; all numbers are little-endian, structures are padded to 8 bytes.
//
//   fuse_in_header (40 bytes)                       fuse_out_header (16 bytes)
//   0  u32 len                                      0  u32 len
//   4  u32 opcode                                   4  i32 error: 0 or a negated errno
//   8  u64 unique (bit 63: sent again)              8  u64 unique, exactly as received
//   16 u64 nodeid
//   24 u32 uid     28 u32 gid     32 u32 pid
//   36 u16 total_extlen, in units of 8 bytes, of the extensions at the end of the request
//
// Offsets named *_IN below count from the first byte of a request (its header included), so that a decoder adds nothing.

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;

export const IN_HEADER = { len: 0, opcode: 4, uniqueLo: 8, uniqueHi: 12, nodeid: 16, uid: 24, gid: 28, pid: 32, totalExtlen: 36 } as const;

/** Upper half of `unique`: set when the kernel sends a request again after NOTIFY_RESEND. */
export const UNIQUE_RESENT_HI = 0x8000_0000;

export const FUSE_MAJOR = 7;
/** The newest minor that this file describes; the session speaks min(this, the kernel's). */
export const FUSE_MINOR = 45;
/** Oldest minor spoken (Linux 5.4): structures had their present sizes by then. */
export const FUSE_MINOR_MIN = 31;

export const OPCODE = {
  LOOKUP: 1, FORGET: 2, GETATTR: 3, SETATTR: 4, READLINK: 5, SYMLINK: 6, MKNOD: 8, MKDIR: 9, UNLINK: 10, RMDIR: 11,
  RENAME: 12, LINK: 13, OPEN: 14, READ: 15, WRITE: 16, STATFS: 17, RELEASE: 18, FSYNC: 20, SETXATTR: 21, GETXATTR: 22,
  LISTXATTR: 23, REMOVEXATTR: 24, FLUSH: 25, INIT: 26, OPENDIR: 27, READDIR: 28, RELEASEDIR: 29, FSYNCDIR: 30, GETLK: 31,
  SETLK: 32, SETLKW: 33, ACCESS: 34, CREATE: 35, INTERRUPT: 36, BMAP: 37, DESTROY: 38, IOCTL: 39, POLL: 40,
  NOTIFY_REPLY: 41, BATCH_FORGET: 42, FALLOCATE: 43, READDIRPLUS: 44, RENAME2: 45, LSEEK: 46, COPY_FILE_RANGE: 47,
  SYNCFS: 50, TMPFILE: 51, STATX: 52, COPY_FILE_RANGE_64: 53,
} as const;

/** Bits 0-31 of the INIT flags. */
export const INIT_FLAG = {
  ASYNC_READ: 1 << 0, POSIX_LOCKS: 1 << 1, BIG_WRITES: 1 << 5, DONT_MASK: 1 << 6, FLOCK_LOCKS: 1 << 10, DO_READDIRPLUS: 1 << 13, ASYNC_DIO: 1 << 15,
  NO_OPEN_SUPPORT: 1 << 17, PARALLEL_DIROPS: 1 << 18, POSIX_ACL: 1 << 20, ABORT_ERROR: 1 << 21, MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23, NO_OPENDIR_SUPPORT: 1 << 24, HANDLE_KILLPRIV_V2: 1 << 28, SETXATTR_EXT: 1 << 29, INIT_EXT: 1 << 30,
} as const;

/** Bits 32-63 of the INIT flags, counted from 32; honoured only with INIT_EXT. */
export const INIT_FLAG2 = { DIRECT_IO_ALLOW_MMAP: 1 << 4, NO_EXPORT_SUPPORT: 1 << 6 } as const;

export const INIT_IN = { major: 40, minor: 44, maxReadahead: 48, flags: 52, flags2: 56, endWithoutExt: 56, end: 104 } as const;
export const SETATTR_IN = {
  valid: 40, size: 56, atime: 72, mtime: 80, ctime: 88, atimensec: 96, mtimensec: 100, ctimensec: 104, mode: 108, uid: 116, gid: 120, end: 128,
} as const;
export const GETATTR_IN = { end: 56 } as const;
export const STATX_IN = { end: 64 } as const;
export const MKNOD_IN = { mode: 40, rdev: 44, umask: 48, end: 56 } as const;
export const MKDIR_IN = { mode: 40, umask: 44, end: 48 } as const;
export const RENAME_IN = { newdir: 40, end: 48 } as const;
export const RENAME2_IN = { newdir: 40, flags: 48, end: 56 } as const;
export const LINK_IN = { oldnodeid: 40, end: 48 } as const;
export const CREATE_IN = { flags: 40, mode: 44, umask: 48, openFlags: 52, end: 56 } as const;
export const READ_IN = { offset: 48, size: 56, flags: 72, end: 80 } as const;
export const WRITE_IN = { offset: 48, size: 56, writeFlags: 60, flags: 72, end: 80 } as const;
export const FLUSH_IN = { lockOwner: 56, end: 64 } as const;
export const RELEASE_IN = { fh: 40, end: 64 } as const;
/** GETLK, SETLK, SETLKW: `start` to `lk.pid` are a fuse_file_lock. */
export const LK_IN = { fh: 40, owner: 48, start: 56, end: 64, type: 72, pid: 76, lkFlags: 80, requestEnd: 88 } as const;
export const FSYNC_IN = { end: 56 } as const;
export const FALLOCATE_IN = { offset: 48, length: 56, mode: 64, end: 72 } as const;
export const LSEEK_IN = { offset: 48, whence: 56, end: 64 } as const;
export const COPY_FILE_RANGE_IN = { offIn: 48, nodeidOut: 56, offOut: 72, len: 80, end: 96 } as const;
/** The name begins at `endWithoutExt`, unless SETXATTR_EXT was negotiated. */
export const SETXATTR_IN = { size: 40, flags: 44, endWithoutExt: 48, setxattrFlags: 48, end: 56 } as const;
export const GETXATTR_IN = { size: 40, end: 48 } as const;
export const FORGET_IN = { nlookup: 40, end: 48 } as const;
export const BATCH_FORGET_IN = { count: 40, end: 48 } as const;
export const FORGET_ONE = { nodeid: 0, nlookup: 8, bytes: 16 } as const;
export const INTERRUPT_IN = { uniqueLo: 40, uniqueHi: 44, end: 48 } as const;

export const ENTRY_OUT_BYTES = 128;
export const ATTR_OUT_BYTES = 104;
export const STATX_OUT_BYTES = 288;
export const STATFS_OUT_BYTES = 80;
export const OPEN_OUT_BYTES = 16;
export const LK_OUT_BYTES = 24;
export const INIT_OUT_BYTES = 64;
export const DIRENT_BYTES = 24;
export const DIRENTPLUS_BYTES = 152;

/** setattr_in.valid */
export const FATTR = {
  MODE: 1, UID: 2, GID: 4, SIZE: 8, ATIME: 16, MTIME: 32, ATIME_NOW: 128, MTIME_NOW: 256, CTIME: 1024, KILL_SUIDGID: 2048,
} as const;
export const WRITE_KILL_SUIDGID = 4;
/** create_in.open_flags */
export const OPEN_KILL_SUIDGID = 1;
export const FOPEN_KEEP_CACHE = 2;
/** lk_in.lk_flags: flock(2). */
export const LK_FLOCK = 1;
/** file_lock.type */
export const LOCK_TYPE = { READ: 0, WRITE: 1, UNLOCK: 2 } as const;
export const SETXATTR_ACL_KILL_SGID = 1;
/** STATX_BASIC_STATS | STATX_BTIME: what a STATX reply of ours has. */
export const STATX_MASK = 0xfff;

/** open(2) flags that matter here; generic Linux values (x86-64, arm64). */
export const OPEN_FLAG = { EXCL: 0x80, TRUNC: 0x200, DSYNC: 0x1000, NOATIME: 0x4_0000 } as const;

export const NOTIFY = { INVAL_INODE: 2 } as const;
