// Attributes of inodes.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { now } from '../base/time.ts';
import type { Transaction } from '../metadata/engine.ts';
import type { BlockReferences } from '../metadata/extents.ts';
import { INODE_FLAG } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { attributesOf, carriedOut, checkWritable, getInode, isDirectory, isRegular, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import { isLargeShrink, setSize, shrinkInSteps } from './reshape.ts';
import { transactExtents } from './extent-transaction.ts';
import type { AttributeChanges, Attributes, Caller, MaybePromise, Timestamp } from './filesystem.ts';
import { changeMode } from './inode-acl.ts';
import { killPrivileges } from './privileges.ts';

export function setAttributes(context: VfsContext, number: InodeNumber, changes: AttributeChanges, caller: Caller): MaybePromise<Attributes> {
  const before = getInode(context.engine.reader, number);
  if (carriedOut(context, caller) !== undefined) return attributesOf(context, before);
  if (isEmpty(changes)) return attributesOf(context, context.readOnly ? before : killedByWriter(context, number, caller));
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
 * A SETATTR of nothing is a chown that changes neither owner nor group, or the kernel about to change data of a file
 * that has something to lose: it takes what it keeps from then on out of this answer, so what the write clears is
 * cleared here. The kernel has looked whether the caller may keep set-id bits, and does not say: without a capability
 * to remove they are what it asks for, and with one it is nearly always the superuser who keeps them.
 */
function killedByWriter(context: VfsContext, number: InodeNumber, caller: Caller): Inode {
  return context.engine.transact(caller, (tx) => {
    const inode = getInode(tx, number);
    if (!isDirectory(inode.mode)) killPrivileges(tx, inode, { modeBits: caller.uid !== 0 || (inode.flags & INODE_FLAG.capability) === 0 });
    inode.changed = now();
    putInode(tx, inode);
    return inode;
  });
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
  if (changes.mode !== undefined) changeMode(tx, inode, changes.mode);
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
