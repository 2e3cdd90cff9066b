// Names: lookup, create, link, unlink, rename, list.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import type { Timestamp } from '../base/time.ts';
import type { Transaction } from '../metadata/engine.ts';
import { FIRST_COOKIE, PRESENT, decodeListing, encodeEntry, encodeListing, keys, ranges, secondOfKey } from '../metadata/schema.ts';
import type { Entry, Inode } from '../metadata/schema.ts';
import { attributesOf, carriedOut, checkName, checkWritable, findEntry, getInode, isDirectory, isRegular, noteAccess, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import { isLargeShrink, setSize, shrinkInSteps } from './reshape.ts';
import { transactExtents } from './extent-transaction.ts';
import { FILE_TYPE } from './filesystem.ts';
import type { Attributes, Caller, DirectoryEntry, MaybePromise, RenameMode } from './filesystem.ts';
import { applyCreationRules } from './inode-acl.ts';
import { killPrivileges } from './privileges.ts';

const SET_GID = 0o2000;
const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');

export function lookup(context: VfsContext, parent: InodeNumber, name: Buffer): Attributes {
  checkName(name);
  const { reader } = context.engine;
  if (name.equals(DOT)) return attributesOf(context, getInode(reader, parent));
  if (name.equals(DOT_DOT)) return attributesOf(context, getInode(reader, getInode(reader, parent).parent || parent));
  const entry = findEntry(reader, parent, name);
  if (entry === undefined) throw NO_ENTRY;
  return attributesOf(context, getInode(reader, entry.inode));
}

/** One object for the most frequent error of all: nobody reads its stack. */
const NO_ENTRY = new FsError('ENOENT');

/** What a name and its inode take, about. */
const METADATA_BYTES = 4096;

export interface NewInode {
  readonly mode: number;
  readonly device?: number;
}

/** Makes an inode and its name. The parent's set-group-ID bit gives its group, and to directories the bit itself. */
export function makeInode(
  context: VfsContext, parent: InodeNumber, name: Buffer, made: NewInode, caller: Caller, fill?: (tx: Transaction, inode: Inode) => void,
): Attributes {
  checkWritable(context);
  checkName(name);
  const done = carriedOut(context, caller);
  if (done !== undefined && done !== 0) return attributesOf(context, getInode(context.engine.reader, done));
  context.space.admit(METADATA_BYTES);
  const number = context.allocator.inode();
  const changed = context.engine.transact(caller, (tx) => {
    const directory = getLiveDirectory(tx, parent);
    if (findEntry(tx, parent, name) !== undefined) throw new FsError('EEXIST');
    const inode = newInode(number, directory, made, caller);
    applyCreationRules(tx, directory, inode, caller);
    if (isDirectory(made.mode)) {
      if (directory.links >= LIMITS.directoryLinksMax) throw new FsError('EMLINK');
      directory.links++;
    }
    addEntry(tx, directory, name, inode, inode.born);
    fill?.(tx, inode);
    putInode(tx, inode);
    putInode(tx, directory);
    tx.result(number);
    return inode;
  });
  return attributesOf(context, changed);
}

function newInode(number: InodeNumber, directory: Inode, made: NewInode, caller: Caller): Inode {
  const time = now();
  const inherits = (directory.mode & SET_GID) !== 0;
  const isDir = isDirectory(made.mode);
  return {
    number,
    flags: 0,
    mode: inherits && isDir ? made.mode | SET_GID : made.mode,
    links: isDir ? 2 : 1,
    uid: caller.uid,
    gid: inherits ? directory.gid : caller.gid,
    device: made.device ?? 0,
    size: 0,
    allocatedBytes: 0,
    reservedBytes: 0,
    parent: isDir ? directory.number : 0,
    nextCookie: FIRST_COOKIE,
    accessed: time,
    modified: time,
    changed: time,
    born: time,
  };
}

export function create(
  context: VfsContext, parent: InodeNumber, name: Buffer, options: { mode: number; exclusive: boolean; truncate: boolean; killPrivileges?: boolean }, caller: Caller,
): MaybePromise<Attributes> {
  checkName(name);
  const entry = findEntry(context.engine.reader, parent, name);
  if (entry === undefined || (options.exclusive && !caller.resent)) {
    return makeInode(context, parent, name, { mode: FILE_TYPE.regular | (options.mode & ~FILE_TYPE.mask) }, caller);
  }
  const done = carriedOut(context, caller);
  if (options.exclusive && done !== entry.inode) throw new FsError('EEXIST');
  const inode = getInode(context.engine.reader, entry.inode);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  if (!options.truncate || !isRegular(inode.mode) || done !== undefined) return attributesOf(context, inode);
  if (!isLargeShrink(inode, 0)) return empty(context, entry.inode, options, caller);
  return shrinkInSteps(context, entry.inode, 0).then(() => empty(context, entry.inode, options, caller));
}

function empty(context: VfsContext, number: InodeNumber, options: { killPrivileges?: boolean }, caller: Caller): Attributes {
  const changed = transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, number);
    setSize(tx, references, inode, 0);
    killPrivileges(tx, inode, { modeBits: options.killPrivileges === true });
    inode.modified = inode.changed = now();
    putInode(tx, inode);
    return inode;
  });
  return attributesOf(context, changed);
}

/** O_TMPFILE: an orphan from birth; a link makes it an ordinary file. */
export function createUnnamed(context: VfsContext, parent: InodeNumber, mode: number, caller: Caller): Attributes {
  checkWritable(context);
  const done = carriedOut(context, caller);
  if (done !== undefined && done !== 0) return attributesOf(context, getInode(context.engine.reader, done));
  context.space.admit(METADATA_BYTES);
  const number = context.allocator.inode();
  const changed = context.engine.transact(caller, (tx) => {
    const directory = getLiveDirectory(tx, parent);
    const inode = newInode(number, directory, { mode: FILE_TYPE.regular | (mode & ~FILE_TYPE.mask) }, caller);
    applyCreationRules(tx, directory, inode, caller);
    inode.links = 0;
    putInode(tx, inode);
    tx.put(keys.orphan(number), PRESENT);
    tx.result(number);
    return inode;
  });
  context.orphans.add(number);
  return attributesOf(context, changed);
}

export function link(context: VfsContext, number: InodeNumber, parent: InodeNumber, name: Buffer, caller: Caller): Attributes {
  checkWritable(context);
  checkName(name);
  if (carriedOut(context, caller) !== undefined) return attributesOf(context, getInode(context.engine.reader, number));
  const changed = context.engine.transact(caller, (tx) => {
    const inode = getInode(tx, number);
    if (isDirectory(inode.mode)) throw new FsError('EPERM');
    if (inode.links >= LIMITS.linksMax) throw new FsError('EMLINK');
    const directory = getLiveDirectory(tx, parent);
    if (findEntry(tx, parent, name) !== undefined) throw new FsError('EEXIST');
    if (inode.links === 0) tx.delete(keys.orphan(number));
    inode.links++;
    inode.changed = now();
    addEntry(tx, directory, name, inode, inode.changed);
    putInode(tx, inode);
    putInode(tx, directory);
    tx.result(number);
    return inode;
  });
  context.orphans.delete(number);
  return attributesOf(context, changed);
}

export function unlink(context: VfsContext, parent: InodeNumber, name: Buffer, caller: Caller): void {
  removeName(context, parent, name, caller, (inode) => {
    if (isDirectory(inode.mode)) throw new FsError('EISDIR');
  });
}

export function removeDirectory(context: VfsContext, parent: InodeNumber, name: Buffer, caller: Caller): void {
  checkWritable(context);
  if (name.equals(DOT)) throw new FsError('EINVAL');
  if (name.equals(DOT_DOT)) throw new FsError('ENOTEMPTY');
  removeName(context, parent, name, caller, (inode, directory) => {
    if (!isDirectory(inode.mode)) throw new FsError('ENOTDIR');
    if (inode.size > 0) throw new FsError('ENOTEMPTY');
    directory.links--;
  });
}

/** Takes a name away, and its inode's last name makes that an orphan. `check` refuses by throwing. */
function removeName(context: VfsContext, parent: InodeNumber, name: Buffer, caller: Caller, check: (inode: Inode, directory: Inode) => void): void {
  checkWritable(context);
  checkName(name);
  if (carriedOut(context, caller) !== undefined) return;
  const orphan = context.engine.transact(caller, (tx) => {
    const directory = getInode(tx, parent);
    const entry = findEntry(tx, parent, name);
    if (entry === undefined) throw NO_ENTRY;
    const inode = getInode(tx, entry.inode);
    check(inode, directory);
    const time = now();
    removeEntry(tx, directory, name, entry, time);
    putInode(tx, directory);
    return dropLink(tx, inode, time);
  });
  if (orphan !== undefined) context.orphans.add(orphan);
}

/** Takes one name off an inode; the last one makes it an orphan, which is returned. */
function dropLink(tx: Transaction, inode: Inode, time: Timestamp): InodeNumber | undefined {
  inode.links = isDirectory(inode.mode) ? 0 : inode.links - 1;
  inode.changed = time;
  putInode(tx, inode);
  if (inode.links > 0) return undefined;
  tx.put(keys.orphan(inode.number), PRESENT);
  return inode.number;
}

interface Place {
  readonly parent: InodeNumber;
  readonly name: Buffer;
}

export function rename(context: VfsContext, from: Place, to: Place, mode: RenameMode, caller: Caller): void {
  checkWritable(context);
  checkName(from.name);
  checkName(to.name);
  if (carriedOut(context, caller) !== undefined) return;
  const whiteout = mode === 'whiteout' || mode === 'whiteoutNoReplace' ? context.allocator.inode() : undefined;
  const orphan = context.engine.transact(caller, (tx) => {
    const source = getInode(tx, from.parent);
    const target = to.parent === from.parent ? source : getLiveDirectory(tx, to.parent);
    const entry = findEntry(tx, from.parent, from.name);
    if (entry === undefined) throw NO_ENTRY;
    const existing = findEntry(tx, to.parent, to.name);
    if (existing !== undefined && (mode === 'noReplace' || mode === 'whiteoutNoReplace')) throw new FsError('EEXIST');
    const inode = getInode(tx, entry.inode);
    const time = now();
    let orphaned: InodeNumber | undefined;
    if (mode === 'exchange') {
      if (existing === undefined) throw NO_ENTRY;
      if (existing.inode !== entry.inode) exchange(tx, { source, from, entry, inode }, { target, to, existing }, time);
    } else {
      if (existing?.inode === entry.inode) return undefined;
      if (existing !== undefined) orphaned = replaceTarget(tx, target, to.name, existing, inode, time);
      removeEntry(tx, source, from.name, entry, time);
      addEntry(tx, target, to.name, inode, time);
      moveDirectory(inode, source, target);
      if (whiteout !== undefined) addWhiteout(tx, whiteout, source, from.name, caller);
      inode.changed = time;
      putInode(tx, inode);
    }
    putInode(tx, source);
    if (target !== source) putInode(tx, target);
    return orphaned;
  });
  if (orphan !== undefined) context.orphans.add(orphan);
}

function replaceTarget(tx: Transaction, target: Inode, name: Buffer, existing: Entry, inode: Inode, time: Timestamp): InodeNumber | undefined {
  const victim = getInode(tx, existing.inode);
  if (isDirectory(victim.mode)) {
    if (!isDirectory(inode.mode)) throw new FsError('EISDIR');
    if (victim.size > 0) throw new FsError('ENOTEMPTY');
    target.links--;
  } else if (isDirectory(inode.mode)) throw new FsError('ENOTDIR');
  removeEntry(tx, target, name, existing, time);
  return dropLink(tx, victim, time);
}

/** ".." of a moved directory, and the links that it stands for. */
function moveDirectory(inode: Inode, source: Inode, target: Inode): void {
  if (!isDirectory(inode.mode) || source === target) return;
  if (target.links >= LIMITS.directoryLinksMax) throw new FsError('EMLINK');
  source.links--;
  target.links++;
  inode.parent = target.number;
}

function exchange(
  tx: Transaction, one: { source: Inode; from: Place; entry: Entry; inode: Inode }, other: { target: Inode; to: Place; existing: Entry }, time: Timestamp,
): void {
  const second = getInode(tx, other.existing.inode);
  removeEntry(tx, one.source, one.from.name, one.entry, time);
  removeEntry(tx, other.target, other.to.name, other.existing, time);
  addEntry(tx, one.source, one.from.name, second, time);
  addEntry(tx, other.target, other.to.name, one.inode, time);
  moveDirectory(one.inode, one.source, other.target);
  moveDirectory(second, other.target, one.source);
  one.inode.changed = second.changed = time;
  putInode(tx, one.inode);
  putInode(tx, second);
}

/** RENAME_WHITEOUT leaves a 0/0 character device at the old name, as overlayfs wants it. rename(2). */
function addWhiteout(tx: Transaction, number: InodeNumber, source: Inode, name: Buffer, caller: Caller): void {
  const whiteout = newInode(number, source, { mode: FILE_TYPE.character }, caller);
  addEntry(tx, source, name, whiteout, whiteout.born);
  putInode(tx, whiteout);
}

/** Changes `directory`, which the caller writes. */
function addEntry(tx: Transaction, directory: Inode, name: Buffer, child: Inode, time: Timestamp): void {
  const stable = Buffer.from(name);
  const cookie = directory.nextCookie++;
  const type = child.mode >>> 12;
  tx.put(keys.entry(directory.number, stable), encodeEntry({ inode: child.number, type, cookie }));
  tx.put(keys.listing(directory.number, cookie), encodeListing({ inode: child.number, type, name: stable }));
  directory.size++;
  directory.modified = directory.changed = time;
}

function removeEntry(tx: Transaction, directory: Inode, name: Buffer, entry: Entry, time: Timestamp): void {
  tx.delete(keys.entry(directory.number, name));
  tx.delete(keys.listing(directory.number, entry.cookie));
  directory.size--;
  directory.modified = directory.changed = time;
}

/** A directory that is being removed takes no new names. */
function getLiveDirectory(tx: Transaction, number: InodeNumber): Inode {
  const directory = getInode(tx, number);
  if (!isDirectory(directory.mode)) throw new FsError('ENOTDIR');
  if (directory.links === 0) throw NO_ENTRY;
  return directory;
}

const LIST_BATCH = 256;

export function readDirectory(
  context: VfsContext, number: InodeNumber, cookie: number, options: { attributes: boolean }, take: (entry: DirectoryEntry) => boolean,
): void {
  const { reader } = context.engine;
  const directory = getInode(reader, number);
  if (!isDirectory(directory.mode)) throw new FsError('ENOTDIR');
  noteAccess(context, directory);
  if (cookie < 1 && !take({ name: DOT, inode: number, type: FILE_TYPE.directory, cookie: 1 })) return;
  if (cookie < 2 && !take({ name: DOT_DOT, inode: directory.parent || number, type: FILE_TYPE.directory, cookie: 2 })) return;
  let after = Math.max(cookie, FIRST_COOKIE - 1);
  for (;;) {
    const rows = reader.range(...ranges.listing(number, after), LIST_BATCH);
    for (const [key, value] of rows) {
      const { inode, type, name } = decodeListing(value);
      after = secondOfKey(key);
      const attributes = options.attributes ? attributesOf(context, getInode(reader, inode)) : undefined;
      if (!take({ name, inode, type: type << 12, cookie: after, attributes })) return;
    }
    if (rows.length < LIST_BATCH) return;
  }
}
