// POSIX ACLs as arithmetic: their bytes, what makes one valid, and how an ACL and a mode shape each other.
//
//   value of system.posix_acl_access and system.posix_acl_default: u32 version (2), then entries of 8 bytes
//   entry    0 u16 tag   2 u16 permissions (r 4, w 2, x 1)   4 u32 id of a named user or group, else 0xffffffff
//
// Entries are in the order of their tags. The rules are those of acl(5), and of withdrawn POSIX 1003.1e draft 17.
import { FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';

export const ACL_TAG = { owner: 0x01, user: 0x02, owningGroup: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const;

export interface AclEntry {
  /** One of ACL_TAG. */
  readonly tag: number;
  /** As one digit of a mode. */
  readonly permissions: number;
  readonly id: number;
}

export type Acl = readonly AclEntry[];

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const PERMISSIONS = 0o7;
const MODE_PERMISSIONS = 0o777;
const NO_ID = 0xffff_ffff;

/** An ACL that `checkAcl` has approved, or an empty one. E2BIG, EINVAL, and EOPNOTSUPP for another version. */
export function decodeAcl(value: Buffer): Acl {
  if (value.length > LIMITS.aclBytesMax) throw new FsError('E2BIG', `an ACL of ${value.length} bytes; ${LIMITS.aclBytesMax} are allowed`);
  if (value.length < HEADER_BYTES || (value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) throw new FsError('EINVAL', `ACL: wanted a header and whole entries, found ${value.length} bytes`);
  const version = value.readUInt32LE(0);
  if (version !== VERSION) throw new FsError('EOPNOTSUPP', `ACL: wanted version ${VERSION}, found ${version}`);
  const acl: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    acl.push({ tag: value.readUInt16LE(at), permissions: value.readUInt16LE(at + 2), id: value.readUInt32LE(at + 4) });
  }
  if (acl.length > 0) checkAcl(acl);
  return acl;
}

export function encodeAcl(acl: Acl): Buffer {
  const out = Buffer.allocUnsafe(HEADER_BYTES + acl.length * ENTRY_BYTES);
  out.writeUInt32LE(VERSION, 0);
  let at = HEADER_BYTES;
  for (const entry of acl) {
    out.writeUInt16LE(entry.tag, at);
    out.writeUInt16LE(entry.permissions, at + 2);
    out.writeUInt32LE(isNamed(entry) ? entry.id : NO_ID, at + 4);
    at += ENTRY_BYTES;
  }
  return out;
}

/** EINVAL unless there is one entry each for owner, owning group and others, and one mask where any user or group is named. */
export function checkAcl(acl: Acl): void {
  const counts = new Map<number, number>();
  let last = 0;
  for (const { tag, permissions, id } of acl) {
    if (!TAGS.has(tag)) throw new FsError('EINVAL', `ACL: unknown tag ${tag}`);
    if (tag < last) throw new FsError('EINVAL', `ACL: tag ${tag} behind tag ${last}`);
    if ((permissions & ~PERMISSIONS) !== 0) throw new FsError('EINVAL', `ACL: permissions ${permissions}`);
    if ((tag === ACL_TAG.user || tag === ACL_TAG.group) && id === NO_ID) throw new FsError('EINVAL', 'ACL: a user or group without a number');
    counts.set(tag, (counts.get(tag) ?? 0) + 1);
    last = tag;
  }
  for (const tag of [ACL_TAG.owner, ACL_TAG.owningGroup, ACL_TAG.other]) {
    if (counts.get(tag) !== 1) throw new FsError('EINVAL', `ACL: wanted one entry with tag ${tag}, found ${counts.get(tag) ?? 0}`);
  }
  const masks = counts.get(ACL_TAG.mask) ?? 0;
  if (masks > 1 || (masks === 0 && acl.some(isNamed))) throw new FsError('EINVAL', `ACL: ${masks} masks`);
}

const TAGS: ReadonlySet<number> = new Set(Object.values(ACL_TAG));

function isNamed({ tag }: AclEntry): boolean {
  return tag === ACL_TAG.user || tag === ACL_TAG.group;
}

/** True when the ACL says no more than a mode can. */
export function isMinimal(acl: Acl): boolean {
  return acl.every((entry) => !isNamed(entry) && entry.tag !== ACL_TAG.mask);
}

/** The mode, with the permission bits that stand for the ACL: those of the group are its mask, if it has one. */
export function modeOf(acl: Acl, mode: number): number {
  let permissions = 0;
  for (const entry of acl) permissions |= entry.permissions << (shiftOf(acl, entry) ?? OUT_OF_MODE);
  return (mode & ~MODE_PERMISSIONS) | (permissions & MODE_PERMISSIONS);
}

/** The ACL after a chmod to `mode`. */
export function withMode(acl: Acl, mode: number): Acl {
  return reshape(acl, (_, digit) => digit, mode);
}

/**
 * What an inode that is made with `mode` gets of its directory's default ACL, instead of losing what the umask says:
 * no permission that the mode lacks.
 */
export function inherit(defaultAcl: Acl, mode: number): { readonly mode: number; readonly acl: Acl } {
  const acl = reshape(defaultAcl, (permissions, digit) => permissions & digit, mode);
  return { mode: modeOf(acl, mode), acl };
}

function reshape(acl: Acl, combine: (permissions: number, digit: number) => number, mode: number): Acl {
  return acl.map((entry) => {
    const shift = shiftOf(acl, entry);
    return shift === undefined ? entry : { ...entry, permissions: combine(entry.permissions, (mode >>> shift) & PERMISSIONS) };
  });
}

/** A shift that leaves nothing in the permission bits. */
const OUT_OF_MODE = 12;

/** Where the mode has this entry's permissions; undefined for those that it does not show. */
function shiftOf(acl: Acl, { tag }: AclEntry): number | undefined {
  switch (tag) {
    case ACL_TAG.owner: return 6;
    case ACL_TAG.mask: return 3;
    case ACL_TAG.owningGroup: return acl.some((entry) => entry.tag === ACL_TAG.mask) ? undefined : 3;
    case ACL_TAG.other: return 0;
    default: return undefined;
  }
}
