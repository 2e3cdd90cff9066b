// The set-id bits and file capabilities that a write, a truncation or a change of owner takes away.
import type { Transaction } from '../metadata/engine.ts';
import { INODE_FLAG, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';

const SET_UID = 0o4000;
const SET_GID = 0o2000;
const GROUP_EXECUTE = 0o010;
const CAPABILITY = Buffer.from('security.capability');

/**
 * File capabilities always go; set-user-ID goes, and set-group-ID where the group may execute, when `modeBits` is
 * set (the kernel asks for it: HANDLE_KILLPRIV_V2). Changes `inode`, which the caller writes.
 */
export function killPrivileges(tx: Transaction, inode: Inode, options: { modeBits: boolean }): void {
  if ((inode.flags & INODE_FLAG.capability) !== 0) {
    tx.delete(keys.xattr(inode.number, CAPABILITY));
    inode.flags &= ~INODE_FLAG.capability;
  }
  if (!options.modeBits) return;
  inode.mode &= ~SET_UID;
  if ((inode.mode & GROUP_EXECUTE) !== 0) inode.mode &= ~SET_GID;
}
