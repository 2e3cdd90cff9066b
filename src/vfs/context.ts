// What the operations of the file system share: stores, counters, clocks.
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { InodeNumber } from '../base/ids.ts';
import { FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { now } from '../base/time.ts';
import type { Timestamp } from '../base/time.ts';
import type { Durability } from '../durability/durability.ts';
import type { PendingBlocks } from '../durability/pending.ts';
import type { Space } from '../durability/space.ts';
import type { Allocator } from '../metadata/allocator.ts';
import type { MetadataEngine, Reader, Transaction } from '../metadata/engine.ts';
import { decodeEntry, decodeInode, encodeInode, keys } from '../metadata/schema.ts';
import type { Entry, Inode } from '../metadata/schema.ts';
import type { Compactor } from './compactor.ts';
import { FILE_TYPE } from './filesystem.ts';
import type { Attributes, Caller } from './filesystem.ts';
import type { Orphans } from './orphans.ts';

export interface VfsContext {
  readonly engine: MetadataEngine;
  readonly allocator: Allocator;
  readonly blocks: BlockEngine;
  readonly pending: PendingBlocks;
  readonly durability: Durability;
  readonly accessTimes: AccessTimes;
  readonly space: Space;
  readonly compactor: Compactor;
  readonly logger: Logger;
  readonly readOnly: boolean;
  /** Largest block, bytes: a power of two, at most LIMITS.fileChunkBytes. */
  readonly blockBytes: number;
  /** Inodes without a name that the kernel may still use: those of this mount, and the rows say the same. */
  readonly orphans: Orphans;
}

export function getInode(reader: Reader, number: InodeNumber): Inode {
  const value = reader.get(keys.inode(number));
  if (value === undefined) throw new FsError('ESTALE', `inode ${number} does not exist`);
  return decodeInode(number, value);
}

export function putInode(tx: Transaction, inode: Inode): void {
  tx.put(keys.inode(inode.number), encodeInode(inode));
}

export function findEntry(reader: Reader, parent: InodeNumber, name: Buffer): Entry | undefined {
  const value = reader.get(keys.entry(parent, name));
  return value === undefined ? undefined : decodeEntry(value);
}

export function isDirectory(mode: number): boolean {
  return (mode & FILE_TYPE.mask) === FILE_TYPE.directory;
}

export function isRegular(mode: number): boolean {
  return (mode & FILE_TYPE.mask) === FILE_TYPE.regular;
}

export function checkName(name: Buffer): void {
  if (name.length > LIMITS.nameBytesMax) throw new FsError('ENAMETOOLONG', `a name of ${name.length} bytes; ${LIMITS.nameBytesMax} are allowed`);
}

export function checkWritable(context: VfsContext): void {
  if (context.readOnly) throw new FsError('EROFS', 'mounted read-only');
}

/**
 * Whether a resent request was carried out by the driver that died: then its result (an inode, or 0). Asked of records that
 * are not trimmed yet, which is enough: what may not be done twice is answered in the turn that commits it, and a record
 * is shipped, the first step on the way to a checkpoint, in a later one. Writes with O_SYNC wait longer, and have offsets.
 */
export function carriedOut(context: VfsContext, caller: Caller): InodeNumber | 0 | undefined {
  return caller.resent ? context.engine.committedResult(caller) : undefined;
}

/** st_blocks counts whole 4 KiB pages, as du and df users expect. */
const UNITS_PER_PAGE = 8;
const PAGE_BYTES = 4096;

export function attributesOf(context: VfsContext, inode: Inode): Attributes {
  const accessed = context.accessTimes.get(inode.number) ?? inode.accessed;
  return {
    inode: inode.number,
    mode: inode.mode,
    links: inode.links,
    uid: inode.uid,
    gid: inode.gid,
    device: inode.device,
    size: inode.size,
    blocks: Math.ceil((inode.allocatedBytes + inode.reservedBytes) / PAGE_BYTES) * UNITS_PER_PAGE,
    accessed,
    modified: inode.modified,
    changed: inode.changed,
    born: inode.born,
  };
}

/** The inode was read. */
export function noteAccess(context: VfsContext, inode: Inode): void {
  if (context.accessTimes.touch(inode)) context.accessTimes.flush(context.engine);
}

const DAY_SECONDS = 24 * 60 * 60;

/** When reading sets the access time, as the mount options of the same names say: mount(8). */
export interface AccessTimeRule {
  readonly accessTime: 'strictatime' | 'relatime' | 'noatime';
  readonly directories: boolean;
}

/** Access times, collected and written with the next background sync: they may be late, and a crash may lose a second of them. */
export class AccessTimes {
  readonly #late = new Map<InodeNumber, Timestamp>();
  readonly #rule: AccessTimeRule;

  constructor(rule: AccessTimeRule) {
    this.#rule = rule;
  }

  get(inode: InodeNumber): Timestamp | undefined {
    return this.#late.size === 0 ? undefined : this.#late.get(inode);
  }

  /** A read reached the driver. True when the caller should flush now. */
  touch(inode: Inode): boolean {
    const { accessTime, directories } = this.#rule;
    if (accessTime === 'noatime' || (!directories && isDirectory(inode.mode))) return false;
    const accessed = this.#late.get(inode.number) ?? inode.accessed;
    // Not now(), which every read would pay for: a day need not be exact.
    if (accessTime === 'relatime' && isAfter(accessed, inode.modified) && isAfter(accessed, inode.changed) && Date.now() / 1000 - accessed.seconds < DAY_SECONDS) return false;
    this.#late.set(inode.number, now());
    return this.#late.size >= LIMITS.accessTimesMax;
  }

  /** An explicit time was set: it wins. */
  forget(inode: InodeNumber): void {
    this.#late.delete(inode);
  }

  flush(engine: MetadataEngine): void {
    if (this.#late.size === 0) return;
    engine.transact(null, (tx) => {
      for (const [number, accessed] of this.#late) {
        const value = tx.get(keys.inode(number));
        if (value === undefined) continue;
        const inode = decodeInode(number, value);
        inode.accessed = accessed;
        putInode(tx, inode);
      }
    });
    this.#late.clear();
  }
}

function isAfter(time: Timestamp, other: Timestamp): boolean {
  return time.seconds > other.seconds || (time.seconds === other.seconds && time.nanoseconds > other.nanoseconds);
}
