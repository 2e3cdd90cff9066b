// ACLs of inodes: where they are kept (as extended attributes, and a flag in the inode), and when they change.
import { FsError } from '../base/errors.ts';
import type { Transaction } from '../metadata/engine.ts';
import { INODE_FLAG, decodeBytes, encodeBytes, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { raiseSchema } from '../metadata/schema-version.ts';
import { decodeAcl, encodeAcl, inherit, isMinimal, modeOf, withMode } from './acl.ts';
import type { Acl } from './acl.ts';
import { isDirectory } from './context.ts';
import { FILE_TYPE } from './filesystem.ts';
import type { Caller } from './filesystem.ts';

export type AclKind = 'access' | 'default';

const SET_GID = 0o2000;
const UMASK_BITS = 0o777;
const NAME = { access: Buffer.from('system.posix_acl_access'), default: Buffer.from('system.posix_acl_default') } as const;
/** Says without a look at the rows that there is no such ACL, which is so for nearly every inode. */
const FLAG = { access: INODE_FLAG.accessAcl, default: INODE_FLAG.defaultAcl } as const;

/** Which ACL an extended attribute of this name is, if any. */
export function aclKind(name: string): AclKind | undefined {
  if (!name.startsWith('system.posix_acl_')) return undefined;
  return name === 'system.posix_acl_access' ? 'access' : name === 'system.posix_acl_default' ? 'default' : undefined;
}

/** The mode of a new inode is that which the caller asked for: less the umask, or less what a default ACL withholds. */
export function applyCreationRules(tx: Transaction, directory: Inode, inode: Inode, caller: Caller): void {
  if ((inode.mode & FILE_TYPE.mask) === FILE_TYPE.link) return;
  const defaultAcl = read(tx, directory, 'default');
  if (defaultAcl === undefined) {
    inode.mode &= ~((caller.umask ?? 0) & UMASK_BITS);
    return;
  }
  const inherited = inherit(defaultAcl, inode.mode);
  inode.mode = inherited.mode;
  if (!isMinimal(inherited.acl)) write(tx, inode, 'access', inherited.acl);
  if (isDirectory(inode.mode)) write(tx, inode, 'default', defaultAcl);
}

/** chmod: the mode's permissions are those of the ACL as well. The caller writes the inode. */
export function changeMode(tx: Transaction, inode: Inode, mode: number): void {
  inode.mode = (inode.mode & FILE_TYPE.mask) | (mode & ~FILE_TYPE.mask);
  const acl = read(tx, inode, 'access');
  if (acl !== undefined) write(tx, inode, 'access', withMode(acl, mode));
}

/**
 * Sets an ACL, or with an empty one takes it away. An access ACL changes the mode, and is not kept when the mode says
 * it all; `killSetgid` is the kernel's word that the caller may not keep that bit. The caller writes the inode.
 */
export function setAcl(tx: Transaction, inode: Inode, kind: AclKind, acl: Acl, options: { killSetgid: boolean }): void {
  if ((inode.mode & FILE_TYPE.mask) === FILE_TYPE.link) throw new FsError('EOPNOTSUPP', 'links have no ACLs');
  if (acl.length === 0) {
    remove(tx, inode, kind);
    return;
  }
  raiseSchema(tx, 'acls');
  if (kind === 'default') {
    if (!isDirectory(inode.mode)) throw new FsError('EACCES', 'only directories have default ACLs');
    write(tx, inode, kind, acl);
    return;
  }
  inode.mode = modeOf(acl, inode.mode);
  if (options.killSetgid) inode.mode &= ~SET_GID;
  if (isMinimal(acl)) remove(tx, inode, kind);
  else write(tx, inode, kind, acl);
}

function read(tx: Transaction, inode: Inode, kind: AclKind): Acl | undefined {
  if ((inode.flags & FLAG[kind]) === 0) return undefined;
  const value = tx.get(keys.xattr(inode.number, NAME[kind]));
  return value === undefined ? undefined : decodeAcl(decodeBytes(value));
}

function write(tx: Transaction, inode: Inode, kind: AclKind, acl: Acl): void {
  inode.flags |= FLAG[kind] | INODE_FLAG.xattrs;
  tx.put(keys.xattr(inode.number, NAME[kind]), encodeBytes(encodeAcl(acl)));
}

function remove(tx: Transaction, inode: Inode, kind: AclKind): void {
  if ((inode.flags & FLAG[kind]) === 0) return;
  inode.flags &= ~FLAG[kind];
  tx.delete(keys.xattr(inode.number, NAME[kind]));
}
