// Attributes and statistics in the shapes of the package: u32 fields, times in milliseconds.
//
// struct stat as populate_stat of its fuse-native.c reads it, as 18 u32:
//   0 mode   1 uid   2 gid   3 size (low, high)   5 dev   6 nlink   7 ino   8 rdev   9 blksize   10 blocks (low, high)
//   12 atime, ms (low, high)   14 mtime   16 ctime
import type { Attributes, Statistics, Timestamp } from '../vfs/filesystem.ts';

const WORDS = 18;
const LOW_WORD = 2 ** 32;
const BLOCK_BYTES = 4096;

/** What the package's getattr and readdir take. */
export interface PackageAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  readonly ino: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly blocks: number;
  readonly atime: number;
  readonly mtime: number;
  readonly ctime: number;
}

export interface PackageStatistics {
  readonly bsize: number;
  readonly frsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly favail: number;
  readonly namemax: number;
}

export function packageAttributes(attributes: Attributes): PackageAttributes {
  return {
    mode: attributes.mode, uid: attributes.uid, gid: attributes.gid, size: attributes.size, nlink: attributes.links,
    ino: shortInode(attributes.inode), rdev: attributes.device, blksize: BLOCK_BYTES, blocks: attributes.blocks,
    atime: milliseconds(attributes.accessed), mtime: milliseconds(attributes.modified), ctime: milliseconds(attributes.changed),
  };
}

export function attributeWords(attributes: Attributes): Uint32Array {
  const words = new Uint32Array(WORDS);
  const from = packageAttributes(attributes);
  words.set([from.mode, from.uid, from.gid], 0);
  setLong(words, 3, from.size);
  words.set([0, from.nlink, from.ino, from.rdev, from.blksize], 5);
  setLong(words, 10, from.blocks);
  setLong(words, 12, from.atime);
  setLong(words, 14, from.mtime);
  setLong(words, 16, from.ctime);
  return words;
}

/** A block as large as it must be for all counts to fit in 32 bits. */
export function packageStatistics(statistics: Statistics): PackageStatistics {
  let scale = 1;
  while (statistics.blocks / scale >= LOW_WORD) scale *= 2;
  const blocks = (count: number): number => Math.floor(count / scale);
  const files = (count: number): number => Math.min(count, LOW_WORD - 1);
  return {
    bsize: statistics.blockBytes * scale, frsize: statistics.blockBytes * scale, namemax: statistics.nameBytesMax,
    blocks: blocks(statistics.blocks), bfree: blocks(statistics.blocksFree), bavail: blocks(statistics.blocksAvailable),
    files: files(statistics.inodes), ffree: files(statistics.inodesFree), favail: files(statistics.inodesFree),
  };
}

export function timestamp(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanoseconds: (ms - seconds * 1000) * 1_000_000 };
}

/** The number of an inode is its own up to 2^32; two above that may show the same, and 0 means none. */
function shortInode(inode: number): number {
  return inode % LOW_WORD || 1;
}

/** The package counts from 1970 on, without a sign. */
function milliseconds(time: Timestamp): number {
  return Math.max(0, time.seconds * 1000 + Math.floor(time.nanoseconds / 1_000_000));
}

function setLong(words: Uint32Array, at: number, value: number): void {
  words[at] = value % LOW_WORD;
  words[at + 1] = Math.floor(value / LOW_WORD);
}
