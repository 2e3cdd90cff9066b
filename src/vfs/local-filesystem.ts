// The FileSystem of one machine: each operation in the room's files, put together.
import { FsError } from '../base/errors.ts';
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import { isNewer, schemaOf } from '../metadata/schema-version.ts';
import { BOOKKEEPING, FIRST_COOKIE, SCHEMA_VERSION_FIRST, decodeBytes, encodeBytes, encodeNumber, keys, numberOfKey, ranges } from '../metadata/schema.ts';
import * as attributes from './attributes.ts';
import { attributesOf, getInode, noteAccess, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import * as data from './data.ts';
import { FILE_TYPE } from './filesystem.ts';
import type * as api from './filesystem.ts';
import { withRoom } from '../durability/make-room.ts';
import * as namespace from './namespace.ts';
import * as reshape from './reshape.ts';
import * as xattrs from './xattrs.ts';

/** What `statistics` calls a block. */
const STATISTICS_BLOCK_BYTES = 4096;
/** Inodes need a row or two: what a row takes, for an honest guess at how many still fit. */
const BYTES_PER_INODE_GUESS = 1024;

export class LocalFileSystem implements api.FileSystem {
  readonly #context: VfsContext;

  /** Makes the root directory of a new volume, which belongs to `owner`: root by default. */
  constructor(context: VfsContext, owner: { uid: number; gid: number } = { uid: 0, gid: 0 }) {
    this.#context = context;
    context.orphans.freeWith((inode) => reshape.freeInode(context, inode, xattrs.dropXattrs));
    if (context.engine.reader.get(keys.inode(ROOT_INODE)) === undefined) this.#format(owner);
    if (schemaOf(context.engine.reader) === undefined || isNewer(context.engine.reader)) throw new FsError('EIO', 'the metadata was written by a newer sdfs; install that version');
  }

  /** Loads orphans. With `free`, no kernel can be using them any more (a new mount): they are freed. */
  recoverOrphans(options: { free: boolean }): number {
    if (this.#context.readOnly) return 0;
    const rows = this.#context.engine.reader.range(...ranges.orphans, Number.MAX_SAFE_INTEGER);
    for (const [key] of rows) {
      const inode = numberOfKey(key) as InodeNumber;
      if (options.free) reshape.freeInode(this.#context, inode, xattrs.dropXattrs);
      else this.#context.orphans.add(inode);
    }
    return rows.length;
  }

  #format({ uid, gid }: { uid: number; gid: number }): void {
    const time = now();
    this.#context.engine.transact(null, (tx) => {
      // A volume that had keys before it has files keeps its schema.
      if (schemaOf(tx) === undefined) tx.put(keys.bookkeeping(BOOKKEEPING.schema), encodeNumber(SCHEMA_VERSION_FIRST));
      putInode(tx, {
        number: ROOT_INODE, flags: 0, mode: FILE_TYPE.directory | 0o755, links: 2, uid, gid, device: 0, size: 0, allocatedBytes: 0, reservedBytes: 0,
        parent: ROOT_INODE, nextCookie: FIRST_COOKIE, accessed: time, modified: time, changed: time, born: time,
      });
    });
  }

  lookup(parent: InodeNumber, name: Buffer): api.Attributes {
    return namespace.lookup(this.#context, parent, name);
  }

  forget(inode: InodeNumber, count: number): void {
    this.#context.orphans.forget(inode, count);
  }

  getAttributes(inode: InodeNumber): api.Attributes {
    return attributesOf(this.#context, getInode(this.#context.engine.reader, inode));
  }

  setAttributes(inode: InodeNumber, changes: api.AttributeChanges, caller: api.Caller): api.MaybePromise<api.Attributes> {
    return attributes.setAttributes(this.#context, inode, changes, caller);
  }

  readLink(number: InodeNumber): Buffer {
    const { reader } = this.#context.engine;
    const value = reader.get(keys.linkTarget(number));
    if (value === undefined) throw new FsError('EINVAL');
    const target = decodeBytes(value);
    noteAccess(this.#context, getInode(reader, number));
    return target;
  }

  makeSymlink(parent: InodeNumber, name: Buffer, target: Buffer, caller: api.Caller): api.MaybePromise<api.Attributes> {
    if (target.length > LIMITS.linkTargetBytesMax) throw new FsError('ENAMETOOLONG');
    const stable = Buffer.from(target);
    return withRoom(this.#context, () => namespace.makeInode(this.#context, parent, name, { mode: FILE_TYPE.link | 0o777 }, caller, (tx, inode) => {
      tx.put(keys.linkTarget(inode.number), encodeBytes(stable));
      inode.size = stable.length;
    }));
  }

  makeNode(parent: InodeNumber, name: Buffer, options: { mode: number; device: number }, caller: api.Caller): api.MaybePromise<api.Attributes> {
    return withRoom(this.#context, () => namespace.makeInode(this.#context, parent, name, options, caller));
  }

  makeDirectory(parent: InodeNumber, name: Buffer, mode: number, caller: api.Caller): api.MaybePromise<api.Attributes> {
    return withRoom(this.#context, () => namespace.makeInode(this.#context, parent, name, { mode: FILE_TYPE.directory | (mode & ~FILE_TYPE.mask) }, caller));
  }

  unlink(parent: InodeNumber, name: Buffer, caller: api.Caller): void {
    namespace.unlink(this.#context, parent, name, caller);
  }

  removeDirectory(parent: InodeNumber, name: Buffer, caller: api.Caller): void {
    namespace.removeDirectory(this.#context, parent, name, caller);
  }

  rename(from: { parent: InodeNumber; name: Buffer }, to: { parent: InodeNumber; name: Buffer }, mode: api.RenameMode, caller: api.Caller): void {
    namespace.rename(this.#context, from, to, mode, caller);
  }

  link(inode: InodeNumber, parent: InodeNumber, name: Buffer, caller: api.Caller): api.Attributes {
    return namespace.link(this.#context, inode, parent, name, caller);
  }

  create(parent: InodeNumber, name: Buffer, options: { mode: number; exclusive: boolean; truncate: boolean; killPrivileges?: boolean }, caller: api.Caller): api.MaybePromise<api.Attributes> {
    return withRoom(this.#context, () => namespace.create(this.#context, parent, name, options, caller));
  }

  createUnnamed(parent: InodeNumber, mode: number, caller: api.Caller): api.MaybePromise<api.Attributes> {
    return withRoom(this.#context, () => namespace.createUnnamed(this.#context, parent, mode, caller));
  }

  read(inode: InodeNumber, offset: number, bytes: number, options?: api.ReadOptions): api.MaybePromise<api.Pieces> {
    return data.read(this.#context, inode, offset, bytes, options);
  }

  write(inode: InodeNumber, offset: number, bytes: Buffer, options: api.WriteOptions, caller: api.Caller): api.MaybePromise<number> {
    return data.write(this.#context, inode, offset, bytes, options, caller);
  }

  sync(): Promise<void> {
    return this.#context.durability.sync();
  }

  fallocate(inode: InodeNumber, mode: api.FallocateMode, offset: number, bytes: number, caller: api.Caller): api.MaybePromise<void> {
    return withRoom(this.#context, () => reshape.fallocate(this.#context, inode, mode, offset, bytes, caller));
  }

  seek(inode: InodeNumber, offset: number, what: 'data' | 'hole'): number {
    return reshape.seek(this.#context, inode, offset, what);
  }

  copyRange(from: { inode: InodeNumber; offset: number }, to: { inode: InodeNumber; offset: number }, bytes: number, caller: api.Caller): api.MaybePromise<number> {
    return reshape.copyRange(this.#context, from, to, bytes, caller);
  }

  readDirectory(inode: InodeNumber, cookie: number, options: { attributes: boolean }, take: (entry: api.DirectoryEntry) => boolean): void {
    namespace.readDirectory(this.#context, inode, cookie, options, take);
  }

  /** Programs look at these numbers after they deleted something, and then perhaps once: they are never of long ago. */
  async statistics(): Promise<api.Statistics> {
    await this.#context.blocks.refreshStatistics(LIMITS.statisticsIntervalMs);
    const space = this.#context.blocks.statistics();
    const available = Math.max(0, this.#context.space.availableBytes);
    const inodes = this.#context.engine.inodeCount;
    const inodesFree = Math.floor(available / BYTES_PER_INODE_GUESS);
    return {
      blockBytes: STATISTICS_BLOCK_BYTES,
      blocks: Math.floor(space.totalBytes / STATISTICS_BLOCK_BYTES),
      blocksFree: Math.floor(available / STATISTICS_BLOCK_BYTES),
      blocksAvailable: Math.floor(available / STATISTICS_BLOCK_BYTES),
      inodes: inodes + inodesFree,
      inodesFree,
      nameBytesMax: LIMITS.nameBytesMax,
    };
  }

  getXattr(inode: InodeNumber, name: Buffer): Buffer {
    return xattrs.getXattr(this.#context, inode, name);
  }

  setXattr(inode: InodeNumber, name: Buffer, value: Buffer, options: { mode: api.XattrMode; killSetgid: boolean }, caller: api.Caller): api.MaybePromise<void> {
    return withRoom(this.#context, () => xattrs.setXattr(this.#context, inode, name, value, options, caller));
  }

  listXattrs(inode: InodeNumber, caller: api.Caller): Buffer[] {
    return xattrs.listXattrs(this.#context, inode, caller);
  }

  removeXattr(inode: InodeNumber, name: Buffer, caller: api.Caller): void {
    xattrs.removeXattr(this.#context, inode, name, caller);
  }
}
