// Attributes and extended attributes of inodes.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import type { Transaction } from '../metadata/engine.ts';
import type { BlockReferences } from '../metadata/extents.ts';
import { INODE_FLAG, decodeBytes, encodeBytes, keys, nameOfKey, ranges } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { attributesOf, carriedOut, checkWritable, getInode, isDirectory, isRegular, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import { isLargeShrink, setSize, shrinkInSteps } from './reshape.ts';
import { transactExtents } from './extent-transaction.ts';
import { FILE_TYPE } from './filesystem.ts';
import type { AttributeChanges, Attributes, Caller, MaybePromise, Timestamp, XattrMode } from './filesystem.ts';
import { hasSetIdBits, killPrivileges } from './privileges.ts';

export function setAttributes(context: VfsContext, number: InodeNumber, changes: AttributeChanges, caller: Caller): MaybePromise<Attributes> {
  const before = getInode(context.engine.reader, number);
  if (carriedOut(context, caller) !== undefined) return attributesOf(context, before);
  if (isEmpty(changes)) return attributesOf(context, context.readOnly ? before : killedByWriter(context, before, caller));
  checkWritable(context);
  if (changes.size !== undefined) {
    if (isDirectory(before.mode)) throw new FsError('EISDIR');
    if (!isRegular(before.mode)) throw new FsError('EINVAL');
    if (isLargeShrink(before, changes.size)) return shrinkInSteps(context, number, changes.size).then(() => change(context, number, changes, caller));
  }
  return change(context, number, changes, caller);
}

function change(context: VfsContext, number: InodeNumber, changes: AttributeChanges, caller: Caller): Attributes {
  const changed = transactExtents(context, caller, (tx, references) => {
    const inode = getInode(tx, number);
    applyChanges(context, tx, references, inode, changes);
    putInode(tx, inode);
    return inode;
  });
  return attributesOf(context, changed);
}

/**
 * A SETATTR of nothing is the kernel about to write to a file that has something to lose (file_remove_privs): it takes
 * what it keeps from then on out of this answer, so what the write would clear is cleared here.
 */
function killedByWriter(context: VfsContext, inode: Inode, caller: Caller): Inode {
  const modeBits = caller.uid !== 0;
  if (isDirectory(inode.mode) || ((inode.flags & INODE_FLAG.capability) === 0 && !(modeBits && hasSetIdBits(inode)))) return inode;
  context.engine.transact(caller, (tx) => {
    killPrivileges(tx, inode, { modeBits });
    inode.changed = now();
    putInode(tx, inode);
  });
  return inode;
}

function isEmpty(changes: AttributeChanges): boolean {
  return Object.values(changes).every((value) => value === undefined || value === false);
}

function applyChanges(context: VfsContext, tx: Transaction, references: BlockReferences, inode: Inode, changes: AttributeChanges): void {
  const time = now();
  if (changes.uid !== undefined) inode.uid = changes.uid;
  if (changes.gid !== undefined) inode.gid = changes.gid;
  const changesOwner = changes.uid !== undefined || changes.gid !== undefined;
  if (changes.killPrivileges === true || ((changesOwner || changes.size !== undefined) && !isDirectory(inode.mode))) {
    killPrivileges(tx, inode, { modeBits: changes.killPrivileges === true });
  }
  if (changes.mode !== undefined) inode.mode = (inode.mode & FILE_TYPE.mask) | (changes.mode & ~FILE_TYPE.mask);
  if (changes.size !== undefined) {
    setSize(tx, references, inode, changes.size);
    inode.modified = time;
  }
  if (changes.accessed !== undefined) {
    inode.accessed = resolve(changes.accessed, time);
    context.accessTimes.forget(inode.number);
  }
  if (changes.modified !== undefined) inode.modified = resolve(changes.modified, time);
  inode.changed = changes.changed ?? time;
}

function resolve(time: Timestamp | 'now', current: Timestamp): Timestamp {
  return time === 'now' ? current : time;
}

const CAPABILITY = 'security.capability';
/** The kernel enforces ACLs only when it was asked to; until then storing them would promise what nobody checks. */
const ACL_PREFIX = 'system.posix_acl_';

export function getXattr(context: VfsContext, inode: InodeNumber, name: Buffer): Buffer {
  const value = context.engine.reader.get(keys.xattr(inode, name));
  if (value === undefined) throw NO_DATA;
  return decodeBytes(value);
}

const NO_DATA = new FsError('ENODATA');

export function setXattr(
  context: VfsContext, number: InodeNumber, name: Buffer, value: Buffer, options: { mode: XattrMode }, caller: Caller,
): void {
  checkWritable(context);
  const text = name.toString('latin1');
  if (name.length > LIMITS.xattrNameBytesMax) throw new FsError('ERANGE');
  if (value.length > LIMITS.xattrValueBytesMax) throw new FsError('E2BIG');
  if (text.startsWith(ACL_PREFIX)) throw new FsError('EOPNOTSUPP');
  if (carriedOut(context, caller) !== undefined) return;
  context.space.admit(value.length);
  context.engine.transact(caller, (tx) => {
    const key = keys.xattr(number, Buffer.from(name));
    const exists = tx.get(key) !== undefined;
    if (exists && options.mode === 'create') throw new FsError('EEXIST');
    if (!exists && options.mode === 'replace') throw NO_DATA;
    const inode = getInode(tx, number);
    inode.flags |= INODE_FLAG.xattrs | (text === CAPABILITY ? INODE_FLAG.capability : 0);
    inode.changed = now();
    tx.put(key, encodeBytes(value));
    putInode(tx, inode);
  });
}

export function listXattrs(context: VfsContext, number: InodeNumber): Buffer[] {
  const inode = getInode(context.engine.reader, number);
  if ((inode.flags & INODE_FLAG.xattrs) === 0) return [];
  return context.engine.reader.range(...ranges.xattrs(number), Number.MAX_SAFE_INTEGER).map(([key]) => nameOfKey(key));
}

export function removeXattr(context: VfsContext, number: InodeNumber, name: Buffer, caller: Caller): void {
  checkWritable(context);
  if (carriedOut(context, caller) !== undefined) return;
  context.engine.transact(caller, (tx) => {
    const key = keys.xattr(number, Buffer.from(name));
    if (tx.get(key) === undefined) throw NO_DATA;
    const inode = getInode(tx, number);
    if (name.toString('latin1') === CAPABILITY) inode.flags &= ~INODE_FLAG.capability;
    inode.changed = now();
    tx.delete(key);
    putInode(tx, inode);
  });
}

/** Part of freeing an inode: what it has besides extents. */
export function dropXattrs(tx: Transaction, inode: Inode): void {
  if ((inode.mode & FILE_TYPE.mask) === FILE_TYPE.link) tx.delete(keys.linkTarget(inode.number));
  if ((inode.flags & INODE_FLAG.xattrs) === 0) return;
  for (const [key] of tx.range(...ranges.xattrs(inode.number), Number.MAX_SAFE_INTEGER)) tx.delete(key);
}
