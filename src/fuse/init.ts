// What is agreed with the kernel at INIT, and how a successor process learns it: the kernel says it only once.
//
//   fuse_init_in    0 u32 major  4 u32 minor  8 u32 max_readahead  12 u32 flags  16 u32 flags2  20 u32[11] unused
//   fuse_init_out   0 u32 major  4 u32 minor  8 u32 max_readahead  12 u32 flags  16 u16 max_background
//                   18 u16 congestion_threshold  20 u32 max_write  24 u32 time_gran (ns)  28 u16 max_pages
//                   30 u16 map_alignment  32 u32 flags2  36 u32 max_stack_depth  40 u16 request_timeout  42 u16[11] unused
import { FormatError, FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { FUSE_MAJOR, FUSE_MINOR, FUSE_MINOR_MIN, INIT_FLAG, INIT_FLAG2, INIT_IN, INIT_OUT_BYTES, OUT_HEADER_BYTES } from './protocol.ts';
import type { Reply } from './reply.ts';
import type { FuseRequest } from './request.ts';

/** READs ahead, asynchronous O_DIRECT parts and the like that the kernel keeps in flight; above `congestion` it holds back. */
const BACKGROUND_MAX = 64;
const BACKGROUND_CONGESTION = 48;
const PAGE_BYTES = 4096;
const EXPORT_VERSION = 1;

/**
 * Asked for in any case. Left out with a reason: WRITEBACK_CACHE (the driver gathers small writes itself),
 * ATOMIC_O_TRUNC (with ENOSYS to OPEN truncations would be told to nobody), READDIRPLUS_AUTO (attributes cost less
 * than the LOOKUPs that it saves), AUTO_INVAL_DATA and EXPLICIT_INVAL_DATA (nobody else writes), OVER_IO_URING
 * (requests would wait for a ring that nobody registers), CREATE_SUPP_GROUP (the kernel itself takes set-group-ID from
 * those who are not in the group, and checks permissions, so nobody here asks for groups).
 */
const FLAGS = INIT_FLAG.ASYNC_READ | INIT_FLAG.BIG_WRITES | INIT_FLAG.ASYNC_DIO | INIT_FLAG.DO_READDIRPLUS | INIT_FLAG.PARALLEL_DIROPS
  | INIT_FLAG.HANDLE_KILLPRIV_V2 | INIT_FLAG.ABORT_ERROR | INIT_FLAG.MAX_PAGES | INIT_FLAG.CACHE_SYMLINKS | INIT_FLAG.INIT_EXT
  | INIT_FLAG.NO_OPEN_SUPPORT | INIT_FLAG.NO_OPENDIR_SUPPORT;
const FLAGS2 = INIT_FLAG2.DIRECT_IO_ALLOW_MMAP | INIT_FLAG2.NO_EXPORT_SUPPORT;
const FLAGS_POSIX_ACL = INIT_FLAG.POSIX_ACL | INIT_FLAG.DONT_MASK | INIT_FLAG.SETXATTR_EXT;
const FLAGS_LOCKS = INIT_FLAG.POSIX_LOCKS | INIT_FLAG.FLOCK_LOCKS;

/** What may be left out. */
export interface Features {
  /** The kernel checks ACLs; what a new inode gets of the umask or of a default ACL is left to the file system. */
  readonly posixAcl: boolean;
  /** The file system keeps fcntl and flock locks. Otherwise the kernel does, which is right on one machine, and free. */
  readonly locks: boolean;
}

/** The words that were agreed on, and what they mean for decoding. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  /** SETXATTR has 16 bytes before the name, else 8. */
  readonly setxattrExt: boolean;
  /** The umask comes with the request instead of being applied. */
  readonly unmasked: boolean;
  /** ACLs that are set are also checked. */
  readonly posixAcl: boolean;
}

/** EIO where the kernel speaks another major version, or a minor one from before Linux 5.4. */
export function negotiate(request: FuseRequest, features: Features): Negotiated {
  const major = request.u32(INIT_IN.major);
  const kernelMinor = request.u32(INIT_IN.minor);
  if (major !== FUSE_MAJOR || kernelMinor < FUSE_MINOR_MIN) {
    throw new FsError('EIO', `FUSE INIT: wanted protocol ${FUSE_MAJOR}.${FUSE_MINOR_MIN} or a later minor, found ${major}.${kernelMinor}`);
  }
  const offered = request.u32(INIT_IN.flags);
  const offered2 = request.bytes.length >= INIT_IN.end && (offered & INIT_FLAG.INIT_EXT) !== 0 ? request.u32(INIT_IN.flags2) : 0;
  return agreed(Math.min(kernelMinor, FUSE_MINOR), (wantedFlags(features) & offered) >>> 0, (FLAGS2 & offered2) >>> 0);
}

/**
 * What `negotiate` gives with any kernel that has all that is asked for. For a session that is sent requests without
 * INIT: a former process answered it, and died before it could say what was agreed on.
 */
export function assumeNegotiated(features: Features): Negotiated {
  return agreed(FUSE_MINOR, wantedFlags(features), FLAGS2);
}

function wantedFlags({ posixAcl, locks }: Features): number {
  return FLAGS | (posixAcl ? FLAGS_POSIX_ACL : 0) | (locks ? FLAGS_LOCKS : 0);
}

function agreed(minor: number, flags: number, flags2: number): Negotiated {
  return { minor, flags, flags2, setxattrExt: (flags & INIT_FLAG.SETXATTR_EXT) !== 0, unmasked: (flags & INIT_FLAG.DONT_MASK) !== 0, posixAcl: (flags & INIT_FLAG.POSIX_ACL) !== 0 };
}

export function writeInitReply(reply: Reply, negotiated: Negotiated): void {
  const { head } = reply;
  const at = OUT_HEADER_BYTES;
  head.fill(0, at, at + INIT_OUT_BYTES);
  head.writeUInt32LE(FUSE_MAJOR, at);
  head.writeUInt32LE(negotiated.minor, at + 4);
  // Can only lower what the kernel reads ahead; kernel/connection.ts raises it.
  head.writeUInt32LE(LIMITS.requestBytesMax, at + 8);
  head.writeUInt32LE(negotiated.flags, at + 12);
  head.writeUInt16LE(BACKGROUND_MAX, at + 16);
  head.writeUInt16LE(BACKGROUND_CONGESTION, at + 18);
  head.writeUInt32LE(LIMITS.requestBytesMax, at + 20);
  head.writeUInt32LE(1, at + 24);
  head.writeUInt16LE(LIMITS.requestBytesMax / PAGE_BYTES, at + 28);
  head.writeUInt32LE(negotiated.flags2, at + 32);
  reply.headBytes = at + INIT_OUT_BYTES;
}

/** JSON for a successor of this process. */
export function exportNegotiated({ minor, flags, flags2 }: Negotiated): string {
  return JSON.stringify({ version: EXPORT_VERSION, minor, flags, flags2 });
}

/** FormatError where the text is not what `exportNegotiated` made. */
export function importNegotiated(text: string): Negotiated {
  const value = parseObject(text);
  if (value['version'] !== EXPORT_VERSION) throw new FormatError('FUSE session', { wanted: `version ${EXPORT_VERSION}`, found: `version ${String(value['version'])}` });
  const word = (name: string): number => {
    const found = value[name];
    if (typeof found !== 'number' || !Number.isInteger(found) || found < 0 || found > 0xffff_ffff) throw new FormatError('FUSE session', { wanted: `a u32 as ${name}`, found: JSON.stringify(found) ?? 'nothing' });
    return found;
  };
  return agreed(word('minor'), word('flags'), word('flags2'));
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError('FUSE session', { wanted: 'JSON', found: text.slice(0, 80) }, { cause: error });
  }
  if (typeof value !== 'object' || value === null) throw new FormatError('FUSE session', { wanted: 'an object', found: text.slice(0, 80) });
  return value as Record<string, unknown>;
}
