// What a driver edge (fuse/, fuse-native/) asks of the file system: POSIX operations on inode numbers.
import type { InodeNumber } from '../base/ids.ts';
import type { Timestamp } from '../base/time.ts';

export type { Timestamp };

/** Answers come at once where nothing has to be waited for, and that is the common case: no promise is made then. */
export type MaybePromise<T> = T | Promise<T>;

/** Full `st_mode` type bits (octal), as in <linux/stat.h>. */
export const FILE_TYPE = {
  mask: 0o170000, socket: 0o140000, link: 0o120000, regular: 0o100000, block: 0o060000, directory: 0o040000, character: 0o020000, fifo: 0o010000,
} as const;

export interface Attributes {
  inode: InodeNumber;
  /** File type and permission bits. */
  mode: number;
  links: number;
  uid: number;
  gid: number;
  /** Device number of a device node, in the kernel's 32-bit encoding; else 0. */
  device: number;
  /** Bytes. */
  size: number;
  /** Allocated 512-byte units. */
  blocks: number;
  accessed: Timestamp;
  modified: Timestamp;
  changed: Timestamp;
  born: Timestamp;
}

/** Who asks. uid and gid are used only where something is created or owned; permissions are checked by the kernel. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Permission bits that its creations lose where no default ACL says what they get. Absent: the kernel took them off. */
  readonly umask?: number | undefined;
  /** Names the request for its whole life, also across drivers: two u32. */
  readonly requestHi: number;
  readonly requestLo: number;
  /** True when the request may have been carried out before by a driver that died: answer from the record then. */
  readonly resent: boolean;
  /** Aborted when the caller was interrupted (a signal) while it waits. */
  readonly signal?: AbortSignal | undefined;
}

export interface AttributeChanges {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  accessed?: Timestamp | 'now';
  modified?: Timestamp | 'now';
  changed?: Timestamp;
  /** Clear suid, and sgid where group-executable, and file capabilities (HANDLE_KILLPRIV_V2). */
  killPrivileges?: boolean;
}

export interface ReadOptions {
  /** O_NOATIME. */
  readonly keepAccessTime: boolean;
}

export interface WriteOptions {
  killPrivileges: boolean;
  /** 'power', for O_SYNC and O_DSYNC alike: acknowledged only when power-proof. */
  durability: 'process' | 'power';
}

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly inode: InodeNumber;
  /** st_mode type bits. */
  readonly type: number;
  /** Stable position after this entry: pass it to continue behind it. 0 = from the start. */
  readonly cookie: number;
  /** Present when attributes were asked for; absent for "." and "..". */
  readonly attributes?: Attributes | undefined;
}

export interface Statistics {
  blockBytes: number;
  /** In units of blockBytes. */
  blocks: number;
  blocksFree: number;
  blocksAvailable: number;
  inodes: number;
  inodesFree: number;
  nameBytesMax: number;
}

/** Bytes of a READ: pieces in order, to be sent without joining them. Shorter than asked = end of file. */
export type Pieces = readonly Uint8Array[];

export type RenameMode = 'replace' | 'noReplace' | 'exchange' | 'whiteout' | 'whiteoutNoReplace';
export type FallocateMode = 'allocate' | 'keepSize' | 'punchHole' | 'zeroRange' | 'zeroRangeKeepSize';
export type XattrMode = 'set' | 'create' | 'replace';

/**
 * The file system, on inode numbers. Every method throws (or rejects with) FsError and nothing else where the
 * caller is at fault; anything else thrown is a defect and becomes EIO. Names and xattr values are raw bytes.
 * Buffers passed in (write data, names) belong to the callee until the returned promise settles, and to the
 * caller again when the method has returned a plain value; Pieces returned are read-only and not kept.
 */
export interface FileSystem {
  /** Rejects names over 255 bytes with ENAMETOOLONG. ENOENT when absent. "." and ".." are allowed. */
  lookup(parent: InodeNumber, name: Buffer): MaybePromise<Attributes>;
  /** The kernel dropped `count` references; an orphan without references is freed. Never answers. */
  forget(inode: InodeNumber, count: number): void;
  getAttributes(inode: InodeNumber): MaybePromise<Attributes>;
  /** Changes may be empty (the kernel's privilege-killing path): returns fresh attributes. */
  setAttributes(inode: InodeNumber, changes: AttributeChanges, caller: Caller): MaybePromise<Attributes>;
  readLink(inode: InodeNumber): MaybePromise<Buffer>;
  makeSymlink(parent: InodeNumber, name: Buffer, target: Buffer, caller: Caller): MaybePromise<Attributes>;
  /** Regular files, FIFOs, sockets and device nodes. `mode` has the type bits; the caller's umask is yet to be applied to it. */
  makeNode(parent: InodeNumber, name: Buffer, options: { mode: number; device: number }, caller: Caller): MaybePromise<Attributes>;
  makeDirectory(parent: InodeNumber, name: Buffer, mode: number, caller: Caller): MaybePromise<Attributes>;
  unlink(parent: InodeNumber, name: Buffer, caller: Caller): MaybePromise<void>;
  removeDirectory(parent: InodeNumber, name: Buffer, caller: Caller): MaybePromise<void>;
  rename(from: { parent: InodeNumber; name: Buffer }, to: { parent: InodeNumber; name: Buffer }, mode: RenameMode, caller: Caller): MaybePromise<void>;
  link(inode: InodeNumber, parent: InodeNumber, name: Buffer, caller: Caller): MaybePromise<Attributes>;
  /** Creates a regular file, or opens the one that exists unless `exclusive`. */
  create(parent: InodeNumber, name: Buffer, options: { mode: number; exclusive: boolean; truncate: boolean; killPrivileges?: boolean }, caller: Caller): MaybePromise<Attributes>;
  /** A file without a name (O_TMPFILE): links 0, an orphan until linked. */
  createUnnamed(parent: InodeNumber, mode: number, caller: Caller): MaybePromise<Attributes>;
  read(inode: InodeNumber, offset: number, bytes: number, options?: ReadOptions): MaybePromise<Pieces>;
  /** Returns bytes written: all of them, or an error. */
  write(inode: InodeNumber, offset: number, data: Buffer, options: WriteOptions, caller: Caller): MaybePromise<number>;
  /** Power-proof when it resolves: data, attributes, and all names up to now. One log holds them all: to ask for data only would save nothing. */
  sync(inode: InodeNumber): MaybePromise<void>;
  fallocate(inode: InodeNumber, mode: FallocateMode, offset: number, bytes: number, caller: Caller): MaybePromise<void>;
  /** Next data or hole at or after offset; ENXIO behind the end. */
  seek(inode: InodeNumber, offset: number, what: 'data' | 'hole'): MaybePromise<number>;
  /** Instant shared-extent copy; returns bytes copied (short at the source's end). */
  copyRange(from: { inode: InodeNumber; offset: number }, to: { inode: InodeNumber; offset: number }, bytes: number, caller: Caller): MaybePromise<number>;
  /**
   * Calls `take` for each entry behind `cookie` until it returns false (its reply is full) or there are no more.
   * "." and ".." come first.
   */
  readDirectory(inode: InodeNumber, cookie: number, options: { attributes: boolean }, take: (entry: DirectoryEntry) => boolean): MaybePromise<void>;
  statistics(): MaybePromise<Statistics>;
  /** ACLs are attributes: system.posix_acl_access and _default, as acl.ts draws them. */
  getXattr(inode: InodeNumber, name: Buffer): MaybePromise<Buffer>;
  /** An access ACL changes the mode as well. ACLs are for edges whose kernel checks them; others refuse to set any. */
  setXattr(inode: InodeNumber, name: Buffer, value: Buffer, options: { mode: XattrMode; killSetgid: boolean }, caller: Caller): MaybePromise<void>;
  /** Names that the caller may know of. */
  listXattrs(inode: InodeNumber, caller: Caller): MaybePromise<Buffer[]>;
  removeXattr(inode: InodeNumber, name: Buffer, caller: Caller): MaybePromise<void>;
}
