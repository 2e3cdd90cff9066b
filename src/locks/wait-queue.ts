// Those who wait for locks: in order by file, and by owner, so that a wait in a circle is found.
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { LockClaim } from './lock-engine.ts';

export interface Waiter {
  readonly inode: InodeNumber;
  readonly claim: LockClaim;
  /** Thread that waits. */
  readonly thread: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class WaitQueue {
  readonly #byInode = new Map<InodeNumber, Set<Waiter>>();
  /** Of range locks: flock has no deadlock detection, flock(2). */
  readonly #byOwner = new Map<bigint, Set<Waiter>>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(waiter: Waiter): void {
    addTo(this.#byInode, waiter.inode, waiter);
    if (waiter.claim.kind === 'range') addTo(this.#byOwner, waiter.claim.owner, waiter);
    this.#count++;
  }

  /** False when it does not wait any more. */
  delete(waiter: Waiter): boolean {
    if (!deleteFrom(this.#byInode, waiter.inode, waiter)) return false;
    deleteFrom(this.#byOwner, waiter.claim.owner, waiter);
    this.#count--;
    return true;
  }

  /** In the order in which they came. */
  of(inode: InodeNumber): Iterable<Waiter> {
    return this.#byInode.get(inode) ?? [];
  }

  all(): Waiter[] {
    return [...this.#byInode.values()].flatMap((waiters) => [...waiters]);
  }

  /**
   * Whether somebody who waits for `owner`, directly or through others, is among `blockers`: the owner would wait for
   * itself. `blockersOf` are the owners whose locks a waiter waits for; a waiter that `counts` denies is passed over.
   * A search that grows beyond its bound says no: like the kernel's, which ends after ten steps.
   */
  isCircle(owner: bigint, blockers: Iterable<bigint>, blockersOf: (waiter: Waiter) => Iterable<bigint>, counts: (waiter: Waiter) => boolean): boolean {
    const seen = new Set<bigint>(blockers);
    let steps = 0;
    // A Set is walked through what is added on the way.
    for (const blocker of seen) {
      if (blocker === owner) return true;
      for (const waiter of this.#byOwner.get(blocker) ?? []) {
        if ((steps += 1) > LIMITS.deadlockStepsMax) return false;
        if (!counts(waiter)) continue;
        for (const next of blockersOf(waiter)) seen.add(next);
      }
    }
    return false;
  }
}

function addTo<Key>(map: Map<Key, Set<Waiter>>, key: Key, waiter: Waiter): void {
  const waiters = map.get(key);
  if (waiters === undefined) map.set(key, new Set([waiter]));
  else waiters.add(waiter);
}

function deleteFrom<Key>(map: Map<Key, Set<Waiter>>, key: Key, waiter: Waiter): boolean {
  const waiters = map.get(key);
  if (waiters === undefined || !waiters.delete(waiter)) return false;
  if (waiters.size === 0) map.delete(key);
  return true;
}
