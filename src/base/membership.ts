// Which disks are up to date: a record that every disk keeps, and the rules by which it changes and by which one may mount.
//
// A change of membership takes at least half of the former members, a mount more than half of the members of the
// newest record found: two sets of disks that know nothing of each other can never both go on. Each mount begins with
// a record of its own, so that records are ordered by epoch, and by driver where two mounts made the same epoch.
import type { DriverEpoch, Uuid } from './ids.ts';

export interface Membership {
  /** Grows with each change. 0: no record, all disks of the volume are members. */
  readonly epoch: number;
  /** The driver that made the record. */
  readonly driver: DriverEpoch;
  /** Disks that take part: a mount needs more than half of them. */
  readonly members: readonly Uuid[];
  /**
   * Disks each of which has every record of the metadata log that was ever acknowledged: a mount needs one of them.
   * null: as many of the members as the volume keeps copies, nobody knows which.
   */
  readonly log: readonly Uuid[] | null;
  /** Members of the record before: the change is in effect when at least half of them have it. */
  readonly former: readonly Uuid[];
}

/** What a driver knows of the membership, for its successor: the record in effect, and those behind it that may be. */
export interface KnownMembership {
  readonly record: Membership;
  readonly uncertain: readonly Membership[];
}

/** A forced mount leaves no doubt: whatever a disk that was away has counted up to meanwhile is less. */
export const FORCED_LEAP = 2 ** 20;
/** Most disks of a volume, for what lists them in one message. */
export const MEMBERS_MAX = 4096;

export function isNewerMembership(one: Membership, other: Membership): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.driver > other.driver);
}

export function sameMembership(one: Membership, other: Membership): boolean {
  return one.epoch === other.epoch && one.driver === other.driver;
}

/** The newest of the records that were found, or the one that stands for none. */
export function newestMembership(found: Iterable<Membership | null>, all: readonly Uuid[]): Membership {
  let newest: Membership = { epoch: 0, driver: 0 as DriverEpoch, members: all, log: null, former: [] };
  for (const record of found) if (record !== null && isNewerMembership(record, newest)) newest = record;
  return newest;
}

/** Whether what a disk has may be taken for the truth: it is a member, and knows its record (the first one may not have reached it). */
export function isCurrent(newest: Membership, disk: Uuid, own: Membership | null): boolean {
  return newest.members.includes(disk) && (own !== null || newest.epoch <= 1);
}

/** Whether a record on these disks is enough for it to follow one that had `former` as members. */
export function mayFollow(former: readonly Uuid[], recorded: ReadonlySet<Uuid>): boolean {
  return 2 * former.filter((disk) => recorded.has(disk)).length >= former.length;
}

export interface MountRefusal {
  /**
   * majority: half of the members and more are away, and may have gone on without these. log: no disk is here of which
   * it is known that it has all metadata. copies: as many are away as there are copies.
   */
  readonly reason: 'majority' | 'log' | 'copies';
  /** Of these, some would be enough. */
  readonly missing: readonly Uuid[];
}

/** Why a volume must not be mounted with these disks and what they have recorded; undefined when it may. */
export function mountRefusal(found: ReadonlyMap<Uuid, Membership | null>, options: { readonly all: readonly Uuid[]; readonly copies: number }): MountRefusal | undefined {
  const newest = newestMembership(found.values(), options.all);
  const isHere = (disk: Uuid): boolean => found.has(disk) && isCurrent(newest, disk, found.get(disk) ?? null);
  const missing = newest.members.filter((disk) => !isHere(disk));
  if (2 * missing.length >= newest.members.length) return { reason: 'majority', missing };
  const knows = newest.former.filter((disk) => {
    const own = found.get(disk);
    return own !== undefined && own !== null && sameMembership(own, newest);
  });
  const missingFormer = newest.former.filter((disk) => (found.get(disk) ?? null) === null);
  // A change that perhaps never came into effect: then the former members decide as well.
  if (2 * knows.length < newest.former.length && 2 * missingFormer.length >= newest.former.length) return { reason: 'majority', missing: missingFormer };
  if (newest.log !== null && !newest.log.some(isHere)) return { reason: 'log', missing: newest.log };
  if (missing.length >= options.copies) return { reason: 'copies', missing };
  return undefined;
}

/** The refusal in words, with `name` for each disk. */
export function describeRefusal({ reason, missing }: MountRefusal, name: (disk: Uuid) => string): string {
  const names = missing.map(name).join(', ');
  switch (reason) {
    case 'majority': return `${names} cannot be used, and may have newer data than the disks that are here`;
    case 'log': return `the newest metadata is on ${names}, which cannot be used`;
    case 'copies': return `${names} cannot be used: as many disks as there are copies, so that data may be missing`;
  }
}
