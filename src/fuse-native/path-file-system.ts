// The file system by paths, as libfuse's high-level interface asks for it: each path is walked, and becomes an inode.
import { constants } from 'node:fs';
import { FsError } from '../base/errors.ts';
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import { FILE_TYPE } from '../vfs/filesystem.ts';
import type { AttributeChanges, Attributes, Caller, FileSystem, Statistics, WriteOptions, XattrMode } from '../vfs/filesystem.ts';
import { OpenFiles, isHiddenName } from './open-files.ts';
import type { OpenFile } from './open-files.ts';

/** A name in its directory. */
interface Place {
  readonly parent: InodeNumber;
  readonly name: Buffer;
  readonly text: string;
}

export interface ListedEntry {
  readonly name: string;
  readonly inode: InodeNumber;
  /** st_mode type bits. */
  readonly type: number;
}

/** libfuse's -1 of chown(2): leave it. */
const UNCHANGED = 0xffff_ffff;
const PERMISSIONS = 0o7777;
/** What the package makes of bytes that are no UTF-8. Names that have it cannot be told from each other. */
const REPLACEMENT = '\ufffd';
/** Without FUSE_POSIX_ACL the kernel would not heed them. */
const KERNEL_XATTRS = 'system.';

/**
 * libfuse keeps the paths that an operation uses from being renamed meanwhile. Ids of open files are small positive
 * numbers. All methods throw or reject with FsError.
 */
export class PathFileSystem {
  readonly #fs: FileSystem;
  readonly #caller: Caller;
  readonly #files = new OpenFiles();

  /** What is made belongs to `owner`, since libfuse does not tell the package who asks. */
  constructor(fs: FileSystem, owner: { readonly uid: number; readonly gid: number }) {
    this.#fs = fs;
    // Without a name, since the kernel sends no request of this edge again; without a umask, which it has applied.
    this.#caller = { ...owner, pid: process.pid, requestHi: 0, requestLo: 0, resent: false };
  }

  async getAttributes(path: string): Promise<Attributes> {
    return this.#fs.getAttributes(await this.#inodeOf(path));
  }

  async getOpenAttributes(id: number): Promise<Attributes> {
    return this.#fs.getAttributes(this.#files.get(id).inode);
  }

  async changeMode(path: string, mode: number): Promise<void> {
    await this.#change(path, { mode: mode & PERMISSIONS });
  }

  async changeOwner(path: string, owner: { readonly uid: number; readonly gid: number }): Promise<void> {
    await this.#change(path, { ...(owner.uid === UNCHANGED ? {} : { uid: owner.uid }), ...(owner.gid === UNCHANGED ? {} : { gid: owner.gid }) });
  }

  async setTimes(path: string, times: Pick<AttributeChanges, 'accessed' | 'modified'>): Promise<void> {
    await this.#change(path, times);
  }

  async truncate(path: string, size: number): Promise<void> {
    await this.#change(path, { size });
  }

  async truncateOpen(id: number, size: number): Promise<void> {
    await this.#fs.setAttributes(this.#files.get(id).inode, { size }, this.#caller);
  }

  async readLink(path: string): Promise<Buffer> {
    return this.#fs.readLink(await this.#inodeOf(path));
  }

  async makeSymlink(target: string, path: string): Promise<void> {
    const { parent, name } = await this.#newPlace(path);
    await this.#fs.makeSymlink(parent, name, Buffer.from(checkText(target)), this.#caller);
  }

  /** `mode` with its type bits; the kernel has applied the umask. */
  async makeNode(path: string, options: { readonly mode: number; readonly device: number }): Promise<void> {
    const { parent, name } = await this.#newPlace(path);
    await this.#fs.makeNode(parent, name, options, this.#caller);
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    const { parent, name } = await this.#newPlace(path);
    await this.#fs.makeDirectory(parent, name, FILE_TYPE.directory | (mode & PERMISSIONS), this.#caller);
  }

  async unlink(path: string): Promise<void> {
    const place = await this.#placeOf(path);
    // It has no name any more; libfuse asks when it has closed the file.
    if (this.#files.hidden(place.text) !== undefined) return;
    const { inode } = await this.#fs.lookup(place.parent, place.name);
    await this.#fs.unlink(place.parent, place.name, this.#caller);
    this.#release(inode);
  }

  async removeDirectory(path: string): Promise<void> {
    const { parent, name } = await this.#placeOf(path);
    const { inode } = await this.#fs.lookup(parent, name);
    await this.#fs.removeDirectory(parent, name, this.#caller);
    this.#release(inode);
  }

  async rename(fromPath: string, toPath: string): Promise<void> {
    const from = await this.#placeOf(fromPath);
    const to = await this.#placeOf(toPath);
    const { inode } = await this.#fs.lookup(from.parent, from.name);
    if (isHiddenName(to.text)) return this.#hide(from, to, inode);
    const replaced = await this.#inodeAt(to);
    await this.#fs.rename(from, to, 'replace', this.#caller);
    if (replaced !== undefined && replaced !== inode) this.#release(replaced);
  }

  async link(fromPath: string, toPath: string): Promise<void> {
    const inode = await this.#inodeOf(fromPath);
    const { parent, name } = await this.#newPlace(toPath);
    await this.#fs.link(inode, parent, name, this.#caller);
  }

  /** Id of the open file, which was made unless it was there: the kernel has found out that O_EXCL is kept. */
  async create(path: string, mode: number): Promise<number> {
    const { parent, name } = await this.#newPlace(path);
    const { inode } = await this.#fs.create(parent, name, { mode: FILE_TYPE.regular | (mode & PERMISSIONS), exclusive: false, truncate: false }, this.#caller);
    return this.#files.open({ inode, durability: 'process' });
  }

  /** `flags` of open(2). The kernel truncates by itself. */
  async open(path: string, flags: number): Promise<number> {
    return this.#files.open({ inode: await this.#inodeOf(path), durability: durabilityOf(flags) });
  }

  close(id: number): void {
    const inode = this.#files.close(id);
    if (inode !== undefined) this.#release(inode);
  }

  /** Fills `into` from its beginning; resolves with the bytes read, fewer at the end of the file. */
  async read(id: number, into: Buffer, offset: number): Promise<number> {
    const pieces = await this.#fs.read(this.#files.get(id).inode, offset, into.length);
    let bytes = 0;
    for (const piece of pieces) {
      into.set(piece, bytes);
      bytes += piece.length;
    }
    return bytes;
  }

  async write(id: number, data: Buffer, offset: number): Promise<number> {
    const { inode, durability } = this.#files.get(id);
    // The kernel clears set-id bits itself where it is not promised that the file system does.
    const options: WriteOptions = { killPrivileges: false, durability };
    return this.#fs.write(inode, offset, data, options, this.#caller);
  }

  async sync(): Promise<void> {
    await this.#fs.sync(ROOT_INODE);
  }

  /** All of it at once; names that are no UTF-8 are left out, since nobody could ask for them. */
  async list(path: string): Promise<ListedEntry[]> {
    const entries: ListedEntry[] = [];
    await this.#fs.readDirectory(await this.#inodeOf(path), 0, { attributes: false }, ({ name, inode, type }) => {
      const text = name.toString('utf8');
      if (!text.includes(REPLACEMENT)) entries.push({ name: text, inode, type });
      return true;
    });
    return entries;
  }

  async statistics(): Promise<Statistics> {
    return this.#fs.statistics();
  }

  async getXattr(path: string, name: string): Promise<Buffer> {
    return this.#fs.getXattr(await this.#inodeOf(path), xattrName(name));
  }

  async setXattr(path: string, name: string, value: Buffer, mode: XattrMode): Promise<void> {
    await this.#fs.setXattr(await this.#inodeOf(path), xattrName(name), value, { mode, killSetgid: false }, this.#caller);
  }

  async listXattrs(path: string): Promise<Buffer[]> {
    const names = await this.#fs.listXattrs(await this.#inodeOf(path), this.#caller);
    return names.filter((name) => !name.toString('latin1').startsWith(KERNEL_XATTRS));
  }

  async removeXattr(path: string, name: string): Promise<void> {
    await this.#fs.removeXattr(await this.#inodeOf(path), xattrName(name), this.#caller);
  }

  async #change(path: string, changes: AttributeChanges): Promise<void> {
    await this.#fs.setAttributes(await this.#inodeOf(path), changes, this.#caller);
  }

  /** libfuse is about to remove or replace an open file. Only such a rename may use a name of that form. */
  async #hide(from: Place, to: Place, inode: InodeNumber): Promise<void> {
    if (from.parent !== to.parent || !this.#files.isOpen(inode)) throw new FsError('EPERM', `names like ${to.text} are libfuse's own`);
    await this.#fs.unlink(from.parent, from.name, this.#caller);
    this.#files.hide(to.text, inode);
  }

  /** A name has gone, or a file was closed: what neither has a name nor is open is freed. */
  #release(inode: InodeNumber): void {
    if (!this.#files.isOpen(inode)) this.#fs.forget(inode, 1);
  }

  async #inodeOf(path: string): Promise<InodeNumber> {
    if (path === '/') return ROOT_INODE;
    const hidden = this.#files.hidden(path.slice(path.lastIndexOf('/') + 1));
    if (hidden !== undefined) return hidden;
    const { parent, name } = await this.#placeOf(path);
    return (await this.#fs.lookup(parent, name)).inode;
  }

  async #inodeAt(place: Place): Promise<InodeNumber | undefined> {
    try {
      return (await this.#fs.lookup(place.parent, place.name)).inode;
    } catch (error) {
      if (error instanceof FsError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #placeOf(path: string): Promise<Place> {
    const names = checkText(path).split('/').filter((name) => name !== '');
    const last = names.pop();
    if (last === undefined) throw new FsError('EBUSY', 'the root has no name');
    let parent: InodeNumber = ROOT_INODE;
    for (const name of names) {
      const found = this.#fs.lookup(parent, Buffer.from(name));
      parent = (found instanceof Promise ? await found : found).inode;
    }
    return { parent, name: Buffer.from(last), text: last };
  }

  async #newPlace(path: string): Promise<Place> {
    const place = await this.#placeOf(path);
    if (isHiddenName(place.text)) throw new FsError('EPERM', `names like ${place.text} are libfuse's own`);
    return place;
  }
}

function checkText(text: string): string {
  if (text.includes(REPLACEMENT)) throw new FsError('EINVAL', 'a name that is no UTF-8');
  return text;
}

function xattrName(name: string): Buffer {
  if (name.startsWith(KERNEL_XATTRS)) throw new FsError('EOPNOTSUPP', name);
  return Buffer.from(checkText(name));
}

function durabilityOf(flags: number): OpenFile['durability'] {
  return (flags & constants.O_DSYNC) === 0 ? 'process' : 'power';
}
