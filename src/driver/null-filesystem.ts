// A file system that keeps names and attributes in memory and throws data away: what is left is the cost of the edge.
import { FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import { FILE_TYPE } from '../vfs/filesystem.ts';
import type { Attributes, AttributeChanges, Caller, DirectoryEntry, FallocateMode, FileSystem, Pieces, RenameMode, Statistics, Timestamp, XattrMode } from '../vfs/filesystem.ts';

interface Node {
  attributes: Attributes;
  target?: Buffer;
  xattrs?: Map<string, Buffer>;
  directory?: Directory;
}

interface Entry {
  readonly name: Buffer;
  readonly node: Node;
  readonly cookie: number;
}

interface Directory {
  parent: Node;
  /** By name, as latin1, which maps bytes to characters one to one. */
  readonly names: Map<string, Entry>;
  /** In the order of cookies, `slots[cookie - FIRST_COOKIE]`; removed entries leave holes. */
  readonly slots: (Entry | undefined)[];
}

/** 1 and 2 are "." and "..". */
const FIRST_COOKIE = 3;
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(LIMITS.requestBytesMax);

/** Reads give zeros, writes move the size. Everything is answered at once. For measurements and tests of the edge. */
export class NullFileSystem implements FileSystem {
  readonly #nodes = new Map<InodeNumber, Node>();
  #lastInode: number = ROOT_INODE;

  constructor() {
    const root = this.#makeNode(ROOT_INODE, FILE_TYPE.directory | 0o755, 2, { uid: 0, gid: 0 });
    root.directory = { parent: root, names: new Map(), slots: [] };
  }

  lookup(parent: InodeNumber, name: Buffer): Attributes {
    checkName(name);
    const directory = this.#directory(parent);
    const key = name.toString('latin1');
    if (key === '.') return this.#node(parent).attributes;
    if (key === '..') return directory.parent.attributes;
    return this.#entry(directory, name).node.attributes;
  }

  /** A removed inode is kept until the kernel drops it; references are not counted, since the kernel drops all at once. */
  forget(inode: InodeNumber): void {
    if (this.#nodes.get(inode)?.attributes.links === 0) this.#nodes.delete(inode);
  }

  getAttributes(inode: InodeNumber): Attributes {
    return this.#node(inode).attributes;
  }

  setAttributes(inode: InodeNumber, changes: AttributeChanges): Attributes {
    const { attributes } = this.#node(inode);
    if (changes.mode !== undefined) attributes.mode = (attributes.mode & FILE_TYPE.mask) | (changes.mode & 0o7777);
    if (changes.uid !== undefined) attributes.uid = changes.uid;
    if (changes.gid !== undefined) attributes.gid = changes.gid;
    if (changes.size !== undefined) resize(attributes, changes.size);
    if (changes.accessed !== undefined) attributes.accessed = changes.accessed === 'now' ? now() : changes.accessed;
    if (changes.modified !== undefined) attributes.modified = changes.modified === 'now' ? now() : changes.modified;
    attributes.changed = changes.changed ?? now();
    return attributes;
  }

  readLink(inode: InodeNumber): Buffer {
    const { target } = this.#node(inode);
    if (target === undefined) throw new FsError('EINVAL');
    return target;
  }

  makeSymlink(parent: InodeNumber, name: Buffer, target: Buffer, caller: Caller): Attributes {
    const node = this.#makeEntry(parent, name, FILE_TYPE.link | 0o777, caller);
    node.target = Buffer.from(target);
    node.attributes.size = target.length;
    return node.attributes;
  }

  makeNode(parent: InodeNumber, name: Buffer, options: { mode: number; device: number }, caller: Caller): Attributes {
    const { attributes } = this.#makeEntry(parent, name, options.mode, caller);
    attributes.device = options.device;
    return attributes;
  }

  makeDirectory(parent: InodeNumber, name: Buffer, mode: number, caller: Caller): Attributes {
    const node = this.#makeEntry(parent, name, FILE_TYPE.directory | (mode & 0o7777), caller);
    const above = this.#node(parent);
    node.directory = { parent: above, names: new Map(), slots: [] };
    node.attributes.links = 2;
    above.attributes.links++;
    return node.attributes;
  }

  unlink(parent: InodeNumber, name: Buffer): void {
    const directory = this.#directory(parent);
    const entry = this.#entry(directory, name);
    if (entry.node.directory !== undefined) throw new FsError('EISDIR');
    this.#drop(parent, directory, entry);
  }

  removeDirectory(parent: InodeNumber, name: Buffer): void {
    const directory = this.#directory(parent);
    const entry = this.#entry(directory, name);
    if (entry.node.directory === undefined) throw new FsError('ENOTDIR');
    if (entry.node.directory.names.size > 0) throw new FsError('ENOTEMPTY');
    this.#drop(parent, directory, entry);
  }

  rename(from: { parent: InodeNumber; name: Buffer }, to: { parent: InodeNumber; name: Buffer }, mode: RenameMode): void {
    if (mode === 'whiteout') throw new FsError('EINVAL');
    const source = this.#directory(from.parent);
    const target = this.#directory(to.parent);
    const moved = this.#entry(source, from.name);
    const replaced = target.names.get(to.name.toString('latin1'));
    if (replaced !== undefined && mode === 'noReplace') throw new FsError('EEXIST');
    if (mode === 'exchange') {
      if (replaced === undefined) throw new FsError('ENOENT');
      this.#remove(source, moved);
      this.#remove(target, replaced);
      this.#insert(from.parent, from.name, replaced.node);
      this.#insert(to.parent, to.name, moved.node);
      return;
    }
    if (replaced?.node === moved.node) return;
    if (replaced !== undefined && (replaced.node.directory?.names.size ?? 0) > 0) throw new FsError('ENOTEMPTY');
    if (replaced !== undefined) this.#drop(to.parent, target, replaced);
    this.#remove(source, moved);
    this.#insert(to.parent, to.name, moved.node);
    if (moved.node.directory !== undefined && from.parent !== to.parent) {
      this.#node(from.parent).attributes.links--;
      this.#node(to.parent).attributes.links++;
    }
  }

  link(inode: InodeNumber, parent: InodeNumber, name: Buffer): Attributes {
    const node = this.#node(inode);
    this.#directory(parent);
    this.#insert(parent, name, node);
    node.attributes.links++;
    return node.attributes;
  }

  create(parent: InodeNumber, name: Buffer, options: { mode: number; exclusive: boolean; truncate: boolean }, caller: Caller): Attributes {
    const found = this.#directory(parent).names.get(name.toString('latin1'));
    if (found === undefined) return this.#makeEntry(parent, name, options.mode, caller).attributes;
    if (options.exclusive) throw new FsError('EEXIST');
    if (options.truncate) resize(found.node.attributes, 0);
    return found.node.attributes;
  }

  createUnnamed(_parent: InodeNumber, mode: number, caller: Caller): Attributes {
    return this.#makeNode(this.#nextInode(), mode, 0, caller).attributes;
  }

  read(inode: InodeNumber, offset: number, bytes: number): Pieces {
    const available = Math.max(0, Math.min(bytes, this.#node(inode).attributes.size - offset));
    return available === 0 ? [] : [ZEROS.subarray(0, available)];
  }

  write(inode: InodeNumber, offset: number, data: Buffer): number {
    const { attributes } = this.#node(inode);
    if (offset + data.length > attributes.size) resize(attributes, offset + data.length);
    else attributes.modified = attributes.changed = now();
    return data.length;
  }

  sync(): void {}

  fallocate(inode: InodeNumber, mode: FallocateMode, offset: number, bytes: number): void {
    const { attributes } = this.#node(inode);
    if ((mode === 'allocate' || mode === 'zeroRange') && offset + bytes > attributes.size) resize(attributes, offset + bytes);
  }

  seek(inode: InodeNumber, offset: number, what: 'data' | 'hole'): number {
    const { size } = this.#node(inode).attributes;
    if (offset >= size) throw new FsError('ENXIO');
    return what === 'data' ? offset : size;
  }

  copyRange(from: { inode: InodeNumber; offset: number }, to: { inode: InodeNumber; offset: number }, bytes: number): number {
    const copied = Math.max(0, Math.min(bytes, this.#node(from.inode).attributes.size - from.offset));
    const { attributes } = this.#node(to.inode);
    if (to.offset + copied > attributes.size) resize(attributes, to.offset + copied);
    return copied;
  }

  readDirectory(inode: InodeNumber, cookie: number, _options: { attributes: boolean }, take: (entry: DirectoryEntry) => boolean): void {
    const node = this.#node(inode);
    const directory = this.#directory(inode);
    if (cookie < 1 && !take({ name: DOT, inode, type: FILE_TYPE.directory, cookie: 1 })) return;
    if (cookie < 2 && !take({ name: DOT_DOT, inode: (node.directory ?? directory).parent.attributes.inode, type: FILE_TYPE.directory, cookie: 2 })) return;
    for (let slot = Math.max(0, cookie + 1 - FIRST_COOKIE); slot < directory.slots.length; slot++) {
      const entry = directory.slots[slot];
      if (entry === undefined) continue;
      const { attributes } = entry.node;
      if (!take({ name: entry.name, inode: attributes.inode, type: attributes.mode & FILE_TYPE.mask, cookie: entry.cookie, attributes })) return;
    }
  }

  statistics(): Statistics {
    return { blockBytes: BLOCK_BYTES, blocks: 2 ** 30, blocksFree: 2 ** 30, blocksAvailable: 2 ** 30, inodes: 2 ** 32, inodesFree: 2 ** 32 - this.#nodes.size, nameBytesMax: LIMITS.nameBytesMax };
  }

  getXattr(inode: InodeNumber, name: Buffer): Buffer {
    const value = this.#node(inode).xattrs?.get(name.toString('latin1'));
    if (value === undefined) throw new FsError('ENODATA');
    return value;
  }

  setXattr(inode: InodeNumber, name: Buffer, value: Buffer, options: { mode: XattrMode }): void {
    const xattrs = (this.#node(inode).xattrs ??= new Map());
    const key = name.toString('latin1');
    if (options.mode === 'create' && xattrs.has(key)) throw new FsError('EEXIST');
    if (options.mode === 'replace' && !xattrs.has(key)) throw new FsError('ENODATA');
    xattrs.set(key, Buffer.from(value));
  }

  listXattrs(inode: InodeNumber): Buffer[] {
    return [...(this.#node(inode).xattrs?.keys() ?? [])].map((key) => Buffer.from(key, 'latin1'));
  }

  removeXattr(inode: InodeNumber, name: Buffer): void {
    if (this.#node(inode).xattrs?.delete(name.toString('latin1')) !== true) throw new FsError('ENODATA');
  }

  #node(inode: InodeNumber): Node {
    const node = this.#nodes.get(inode);
    if (node === undefined) throw new FsError('ESTALE', `inode ${inode} is not known`);
    return node;
  }

  #directory(inode: InodeNumber): Directory {
    const { directory } = this.#node(inode);
    if (directory === undefined) throw new FsError('ENOTDIR');
    return directory;
  }

  #entry(directory: Directory, name: Buffer): Entry {
    const entry = directory.names.get(name.toString('latin1'));
    if (entry === undefined) throw new FsError('ENOENT');
    return entry;
  }

  #nextInode(): InodeNumber {
    return ++this.#lastInode as InodeNumber;
  }

  #makeNode(inode: InodeNumber, mode: number, links: number, owner: { uid: number; gid: number; umask?: number | undefined }): Node {
    const time = now();
    const attributes: Attributes = {
      inode, mode: mode & ~(owner.umask ?? 0), links, uid: owner.uid, gid: owner.gid, device: 0, size: 0, blocks: 0, accessed: time, modified: time, changed: time, born: time,
    };
    const node: Node = { attributes };
    this.#nodes.set(inode, node);
    return node;
  }

  #makeEntry(parent: InodeNumber, name: Buffer, mode: number, caller: Caller): Node {
    checkName(name);
    if (this.#directory(parent).names.has(name.toString('latin1'))) throw new FsError('EEXIST');
    const node = this.#makeNode(this.#nextInode(), mode, 1, caller);
    this.#insert(parent, name, node);
    return node;
  }

  #insert(parent: InodeNumber, name: Buffer, node: Node): void {
    const above = this.#node(parent);
    const directory = this.#directory(parent);
    const key = name.toString('latin1');
    if (directory.names.has(key)) throw new FsError('EEXIST');
    const entry: Entry = { name: Buffer.from(name), node, cookie: FIRST_COOKIE + directory.slots.length };
    directory.slots.push(entry);
    directory.names.set(key, entry);
    if (node.directory !== undefined) node.directory.parent = above;
    above.attributes.modified = above.attributes.changed = now();
  }

  #remove(directory: Directory, entry: Entry): void {
    directory.names.delete(entry.name.toString('latin1'));
    directory.slots[entry.cookie - FIRST_COOKIE] = undefined;
  }

  /** Removes a name and the link that it was. */
  #drop(parent: InodeNumber, directory: Directory, entry: Entry): void {
    this.#remove(directory, entry);
    const above = this.#node(parent).attributes;
    above.modified = above.changed = now();
    const { attributes } = entry.node;
    if (entry.node.directory !== undefined) {
      attributes.links = 0;
      above.links--;
    } else {
      attributes.links--;
      attributes.changed = above.changed;
    }
  }
}

const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');

function checkName(name: Buffer): void {
  if (name.length > LIMITS.nameBytesMax) throw new FsError('ENAMETOOLONG');
}

function resize(attributes: Attributes, size: number): void {
  attributes.size = size;
  attributes.blocks = Math.ceil(size / 512);
  attributes.modified = attributes.changed = now();
}

function now(): Timestamp {
  const ms = Date.now();
  return { seconds: Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1_000_000 };
}
