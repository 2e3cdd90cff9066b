// What fsck can find, what it says of it, and what becomes of it.
import type { BlockId, InodeNumber } from '../base/ids.ts';
import type { Reader, Transaction } from '../metadata/engine.ts';
import type { KeyArea } from '../metadata/key-rows.ts';
import { BOOKKEEPING, decodeInode, encodeInode, encodeNumber, keys } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';

/** Each kind with what is wrong, for a person, and what a repair does about it. */
export const FINDINGS = {
  undecodable: { means: 'row that cannot be read', repair: 'set aside, byte for byte' },
  unknownRows: { means: 'kind of row that this sdfs does not know', repair: 'left alone' },
  rootMissing: { means: 'no root directory', repair: 'made anew' },
  inodeLost: { means: 'file or directory whose inode is gone', repair: 'made anew, for root, from what is left of it' },
  strayRow: { means: 'row that an inode of this type cannot have', repair: 'set aside, byte for byte' },
  nameDangling: { means: 'name of a file that does not exist', repair: 'taken away; the report has it' },
  nameUnlisted: { means: 'name that listings of its directory leave out', repair: 'listed' },
  nameListedOnly: { means: 'listed name that cannot be opened', repair: 'made a name, or taken off the list when it is no name' },
  nameMismatch: { means: 'name whose listing says something else', repair: 'listed as the name says' },
  nameType: { means: 'name with the type of another file', repair: 'set right' },
  directorySize: { means: 'directory with a wrong number of entries', repair: 'set right' },
  nextCookie: { means: 'directory that would give a position twice', repair: 'set right' },
  linkCount: { means: 'wrong number of links', repair: 'set right' },
  directoryNames: { means: 'directory with more than one name', repair: 'the names outside of its own parent are taken away' },
  parent: { means: 'directory with a wrong parent', repair: 'set right' },
  circle: { means: 'directory inside of itself', repair: 'moved to /lost+found' },
  unnamed: { means: 'file without a name that was not removed', repair: 'moved to /lost+found' },
  orphanNamed: { means: 'file with a name that would be freed as removed', repair: 'kept' },
  orphanDangling: { means: 'removed file that does not exist', repair: 'forgotten' },
  extents: { means: 'ranges of a file that overlap, or lie outside of it', repair: 'what contradicts is set aside' },
  behindEnd: { means: 'file with data behind its end', repair: 'made as long as its data' },
  allocatedBytes: { means: 'wrong number of allocated bytes', repair: 'set right' },
  reservation: { means: 'wrong account of space that fallocate set aside', repair: 'set right' },
  attributeFlags: { means: 'attributes or ACLs that are not looked for, or not there', repair: 'set right' },
  linkTarget: { means: 'symbolic link without its target, or of another length', repair: 'its length set right; a target that is gone is gone' },
  blockCounts: { means: 'block with wrong references or live bytes', repair: 'set right' },
  blockUnused: { means: 'block that no file and no key uses', repair: 'forgotten, and kept on the disks until sdfs gc: a lost row may have named it' },
  blockMissing: { means: 'range of a file, or value of a key, in a block that the metadata does not know', repair: 'known again where a disk has the block; left alone else' },
  blockBounds: { means: 'range of a file, or value of a key, behind the end of its block', repair: 'the length set right where a disk has the block so long; left alone else' },
  garbageNeeded: { means: 'block that is used and would be deleted', repair: 'kept' },
  lease: { means: 'numbers that would be given out twice', repair: 'set right, while the volume is not mounted' },
  inodeCount: { means: 'wrong number of files in the statistics', repair: 'set right' },
  keyExpiry: { means: 'key with a wrong place in the order of expiry', repair: 'set right' },
  keyCount: { means: 'wrong number of keys in the statistics', repair: 'set right' },
  copiesNone: { means: 'block without a good copy on the disks', repair: 'left alone: a disk may come back' },
  copiesFew: { means: 'blocks with too few copies', repair: 'copied' },
  copiesMisplaced: { means: 'blocks with copies where they do not belong', repair: 'moved' },
  copiesUnknown: { means: 'copies of blocks that nothing needs', repair: 'deleted, when all disks are there' },
  logCopies: { means: 'copy of the metadata that is behind or away', repair: 'caught up by itself' },
} as const;

export type FindingKind = keyof typeof FINDINGS;

/** What a finding is about; the report finds a path for it. */
export interface Subject {
  readonly inode?: InodeNumber | undefined;
  /** A name in a directory. */
  readonly parent?: InodeNumber | undefined;
  readonly name?: Buffer | undefined;
  readonly block?: BlockId | undefined;
}

export interface RepairTools {
  /** Changes of the present rows, logged and replicated as any. */
  transact<T>(work: (tx: Transaction) => T): T;
  readonly reader: Reader;
  /** A number for a new inode. */
  newInode(): InodeNumber;
  /** Length of the block on a disk that has it; undefined when none has. */
  blockBytes(id: BlockId): Promise<number | undefined>;
  correctInodeCount(delta: number): void;
  /** Of the keys, or of the leases. */
  correctKeyCount(area: KeyArea, delta: number): void;
  /** What is set aside in the volume changed by this. */
  reserved(delta: number): void;
  /** Nobody else changes anything. */
  readonly exclusive: boolean;
}

/** True when it is done; false when things have changed meanwhile, or nothing can be done. */
export type Repair = (tools: RepairTools) => boolean | Promise<boolean>;

export interface Finding {
  readonly kind: FindingKind;
  readonly subject: Subject;
  readonly detail: string;
  /** How many are meant; default 1. */
  readonly count?: number;
  readonly repair?: Repair | undefined;
}

/** A row as the check found it. */
export type Guard = readonly [key: Buffer, value: Buffer | undefined];

/** A repair that is made only while these rows are as they were found. */
export function guarded(guards: readonly Guard[], work: (tx: Transaction, tools: RepairTools) => void): Repair {
  return (tools) => tools.transact((tx) => {
    if (!guards.every(([key, value]) => sameBytes(tx.get(key), value))) return false;
    work(tx, tools);
    return true;
  });
}

/**
 * Adds to what an inode counts. A wrong count is wrong by the same number whatever programs do meanwhile, since each
 * change of the thing counted changes the count alike: so the difference is repaired, and not the number.
 */
export function inodeDelta(number: InodeNumber, change: (inode: Inode) => void): Repair {
  return (tools) => tools.transact((tx) => changeInode(tx, number, change));
}

export function changeInode(tx: Transaction, number: InodeNumber, change: (inode: Inode) => void): boolean {
  const value = tx.get(keys.inode(number));
  if (value === undefined) return false;
  const inode = decodeInode(number, value);
  change(inode);
  tx.put(keys.inode(number), encodeInode(inode));
  return true;
}

/** From now on blocks that no row names stay on the disks, until somebody asks for gc: part of each repair that forgets what may have named one. */
export function holdGarbage(tx: Transaction): void {
  tx.put(keys.bookkeeping(BOOKKEEPING.garbageHold), encodeNumber(Date.now()));
}

function sameBytes(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}
