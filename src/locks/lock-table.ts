// The locks that are held, by file, kind and owner: what stands against a claim, and changes that can be taken back.
import type { InodeNumber } from '../base/ids.ts';
import type { ByteRange, Holder, LockClaim, LockKind } from './lock-engine.ts';
import { against, cut, joined, put } from './owned-ranges.ts';
import type { Segment, SegmentChange } from './owned-ranges.ts';

/** A change of what one owner holds of one file. */
export interface LockChange extends Holder, SegmentChange {
  readonly inode: InodeNumber;
}

type Owners = Map<bigint, Segment[]>;

export class LockTable {
  /** Owners without locks, and files without owners, are not in it. */
  readonly #held: Record<LockKind, Map<InodeNumber, Owners>> = { range: new Map(), file: new Map() };
  #count = 0;

  /** Locks that are held. */
  get count(): number {
    return this.#count;
  }

  /** What the holder has of the file. Do not change it. */
  of(inode: InodeNumber, holder: Holder): readonly Segment[] {
    return this.#held[holder.kind].get(inode)?.get(holder.owner) ?? [];
  }

  /** Owners whose locks stand against `claim`. */
  *ownersAgainst(inode: InodeNumber, claim: LockClaim): Generator<bigint> {
    for (const [owner, segments] of this.#held[claim.kind].get(inode) ?? []) {
      if (owner !== claim.owner && against(segments, claim, claim.mode) !== undefined) yield owner;
    }
  }

  isFree(inode: InodeNumber, claim: LockClaim): boolean {
    return this.ownersAgainst(inode, claim).next().done === true;
  }

  /** The lock that stands against `claim`, the one that begins first, as whole as its owner holds it. */
  firstAgainst(inode: InodeNumber, claim: LockClaim): LockClaim | undefined {
    let found: LockClaim | undefined;
    for (const owner of this.ownersAgainst(inode, claim)) {
      const segments = this.of(inode, { kind: claim.kind, owner });
      const segment = against(segments, claim, claim.mode)!;
      if (found === undefined || segment.first < found.first) found = { kind: claim.kind, owner, ...joined(segments, segment) };
    }
    return found;
  }

  ownLock(inode: InodeNumber, { kind, owner }: Holder, range: ByteRange): LockClaim | undefined {
    const segments = this.of(inode, { kind, owner });
    const segment = against(segments, range, 'exclusive');
    return segment === undefined ? undefined : { kind, owner, ...joined(segments, segment) };
  }

  /** The change that granting `claim` is. */
  granting(inode: InodeNumber, { kind, owner, first, last, mode, handle, pid }: LockClaim): LockChange {
    return { inode, kind, owner, ...put(this.of(inode, { kind, owner }), { first, last, mode, handle, pid }) };
  }

  /** The change that giving up `range` is. */
  releasing(inode: InodeNumber, { kind, owner }: Holder, range: ByteRange): LockChange {
    return { inode, kind, owner, ...cut(this.of(inode, { kind, owner }), range) };
  }

  /** The changes that the end of an open file is. */
  releasingHandle(inode: InodeNumber, handle: bigint): LockChange[] {
    const changes: LockChange[] = [];
    for (const kind of ['range', 'file'] as const) {
      for (const [owner, segments] of this.#held[kind].get(inode) ?? []) {
        // From the end, so that a change does not move the places of those that follow it.
        for (let at = segments.length - 1; at >= 0; at--) {
          if (segments[at]!.handle === handle) changes.push({ inode, kind, owner, at, removed: [segments[at]!], added: [] });
        }
      }
    }
    return changes;
  }

  apply(change: LockChange): void {
    this.#splice(change, change.removed, change.added);
  }

  /** Takes back the change that was applied last. */
  revert(change: LockChange): void {
    this.#splice(change, change.added, change.removed);
  }

  #splice({ inode, kind, owner, at }: LockChange, removed: readonly Segment[], added: readonly Segment[]): void {
    if (removed.length === 0 && added.length === 0) return;
    const files = this.#held[kind];
    let owners = files.get(inode);
    if (owners === undefined) files.set(inode, (owners = new Map()));
    let segments = owners.get(owner);
    if (segments === undefined) owners.set(owner, (segments = []));
    segments.splice(at, removed.length, ...added);
    this.#count += added.length - removed.length;
    if (segments.length === 0) owners.delete(owner);
    if (owners.size === 0) files.delete(inode);
  }
}

export function changesNothing(change: LockChange): boolean {
  return change.removed.length === 0 && change.added.length === 0;
}
