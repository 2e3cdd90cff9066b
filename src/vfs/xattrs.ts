// Extended attributes: namespaces, limits, create and replace. ACLs are attributes with rules of their own: inode-acl.ts.
import { FileLimitError, FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import type { Transaction } from '../metadata/engine.ts';
import { INODE_FLAG, decodeBytes, encodeBytes, keys, nameOfKey, ranges } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { decodeAcl } from './acl.ts';
import { carriedOut, checkWritable, getInode, putInode } from './context.ts';
import type { VfsContext } from './context.ts';
import { FILE_TYPE } from './filesystem.ts';
import type { Caller, XattrMode } from './filesystem.ts';
import { aclKind, setAcl } from './inode-acl.ts';
import type { AclKind } from './inode-acl.ts';

const CAPABILITY = 'security.capability';
/** Who may use which is checked by the kernel. xattr(7) */
const NAMESPACES = ['user.', 'trusted.', 'security.'] as const;
const HIDDEN_NAMESPACE = Buffer.from('trusted.');
const NO_DATA = new FsError('ENODATA');
const NO_NAMESPACE = new FsError('EOPNOTSUPP');

/** As local file systems say it: EOPNOTSUPP outside the namespaces, EINVAL for one without a name in it. */
function checkNamespace(name: string): void {
  const namespace = NAMESPACES.find((prefix) => name.startsWith(prefix));
  if (namespace === undefined) throw NO_NAMESPACE;
  if (name.length === namespace.length) throw new FsError('EINVAL');
}

export function getXattr(context: VfsContext, inode: InodeNumber, name: Buffer): Buffer {
  const value = context.engine.reader.get(keys.xattr(inode, name));
  if (value !== undefined) return decodeBytes(value);
  const text = name.toString('latin1');
  if (aclKind(text) === undefined) checkNamespace(text);
  throw NO_DATA;
}

export function setXattr(
  context: VfsContext, number: InodeNumber, name: Buffer, value: Buffer, options: { mode: XattrMode; killSetgid: boolean }, caller: Caller,
): void {
  checkWritable(context);
  const text = name.toString('latin1');
  if (name.length > LIMITS.xattrNameBytesMax) throw new FsError('ERANGE');
  if (value.length > LIMITS.xattrValueBytesMax) throw new FsError('E2BIG');
  const kind = aclKind(text);
  if (kind !== undefined) {
    changeAcl(context, number, kind, value, options, caller);
    return;
  }
  checkNamespace(text);
  if (carriedOut(context, caller) !== undefined) return;
  context.space.admit(value.length);
  context.engine.transact(caller, (tx) => {
    const key = keys.xattr(number, name);
    const exists = tx.get(key) !== undefined;
    if (exists && options.mode === 'create') throw new FsError('EEXIST');
    if (!exists && options.mode === 'replace') throw NO_DATA;
    const inode = getInode(tx, number);
    checkRoom(tx, inode, key, value.length);
    inode.flags |= INODE_FLAG.xattrs | (text === CAPABILITY ? INODE_FLAG.capability : 0);
    inode.changed = now();
    tx.put(key, encodeBytes(value));
    putInode(tx, inode);
  });
}

/** ENOSPC when an inode would have more names than listxattr(2) can return, or more bytes than a record should hold. */
function checkRoom(tx: Transaction, inode: Inode, newKey: Buffer, valueBytes: number): void {
  if ((inode.flags & INODE_FLAG.xattrs) === 0) return;
  const nameBytesOf = (key: Buffer): number => nameOfKey(key).length + 1;
  let listBytes = nameBytesOf(newKey);
  let bytes = valueBytes;
  for (const [key, value] of tx.range(...ranges.xattrs(inode.number), Number.MAX_SAFE_INTEGER)) {
    if (key.equals(newKey)) continue;
    listBytes += nameBytesOf(key);
    bytes += value.length;
  }
  if (listBytes > LIMITS.xattrListBytesMax) throw new FileLimitError(`${listBytes} bytes of attribute names; ${LIMITS.xattrListBytesMax} are allowed`);
  if (bytes > LIMITS.xattrsBytesMax) throw new FileLimitError(`${bytes} bytes of attributes; ${LIMITS.xattrsBytesMax} are allowed`);
}

/** The kernel sends neither CREATE nor REPLACE with an ACL, and neither means anything here. */
function changeAcl(context: VfsContext, number: InodeNumber, kind: AclKind, value: Buffer, options: { killSetgid: boolean }, caller: Caller): void {
  const acl = decodeAcl(value);
  if (carriedOut(context, caller) !== undefined) return;
  if (acl.length > 0) context.space.admit(value.length);
  context.engine.transact(caller, (tx) => {
    const inode = getInode(tx, number);
    setAcl(tx, inode, kind, acl, options);
    inode.changed = now();
    putInode(tx, inode);
  });
}

/** Names in the trusted namespace are shown to root alone, as local file systems do. */
export function listXattrs(context: VfsContext, number: InodeNumber, caller: Caller): Buffer[] {
  const inode = getInode(context.engine.reader, number);
  if ((inode.flags & INODE_FLAG.xattrs) === 0) return [];
  const names = context.engine.reader.range(...ranges.xattrs(number), Number.MAX_SAFE_INTEGER).map(([key]) => nameOfKey(key));
  return caller.uid === 0 ? names : names.filter((name) => !name.subarray(0, HIDDEN_NAMESPACE.length).equals(HIDDEN_NAMESPACE));
}

export function removeXattr(context: VfsContext, number: InodeNumber, name: Buffer, caller: Caller): void {
  checkWritable(context);
  const text = name.toString('latin1');
  const kind = aclKind(text);
  if (kind === undefined) checkNamespace(text);
  if (carriedOut(context, caller) !== undefined) return;
  context.engine.transact(caller, (tx) => {
    const key = keys.xattr(number, name);
    if (tx.get(key) === undefined) {
      // An inode without an ACL has the one that its mode says: to take that away changes nothing, and is no error.
      if (kind !== undefined) return;
      throw NO_DATA;
    }
    const inode = getInode(tx, number);
    if (kind !== undefined) setAcl(tx, inode, kind, [], { killSetgid: false });
    if (text === CAPABILITY) inode.flags &= ~INODE_FLAG.capability;
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
