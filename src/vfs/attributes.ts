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
