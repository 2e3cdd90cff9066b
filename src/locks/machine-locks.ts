// The lock engine of one machine: held in this process, kept in rows for the next one.
//
// A request is one turn: look, save, change, wake. Nothing else runs between the steps, so there are no locks in here.
// What is granted or given up is in the rows before anybody is told (process-proof, like every acknowledgement). Who
// waits is in no row: the kernel asks again for what was not answered.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { ByteRange, Holder, LockClaim, LockCounts, LockEngine, LockWaiter } from './lock-engine.ts';
import { WHOLE_FILE } from './lock-engine.ts';
import { LockTable, changesNothing } from './lock-table.ts';
import type { LockChange } from './lock-table.ts';
import { WaitQueue } from './wait-queue.ts';
import type { Waiter } from './wait-queue.ts';

/** Where locks outlive the process. */
export interface LockStore {
  /** All locks that were held. */
  load(): Iterable<{ readonly inode: InodeNumber; readonly claim: LockClaim }>;
  /** All changes or none, process-proof when it returns; throws where that cannot be. */
  save(changes: readonly LockChange[]): void;
}

export interface MachineLocksOptions {
  readonly store: LockStore;
  /** A number that no other process that serves this mount has: the upper bits of its handles. */
  readonly epoch: number;
  /** Whether the request that this thread waits for is one for an open file description lock: those have no deadlock detection. */
  readonly waitsForOpenFile?: (thread: number) => boolean;
}

export class MachineLocks implements LockEngine {
  readonly #store: LockStore;
  readonly #waitsForOpenFile: (thread: number) => boolean;
  readonly #table = new LockTable();
  readonly #queue = new WaitQueue();
  #handle: bigint;

  constructor(options: MachineLocksOptions) {
    this.#store = options.store;
    this.#waitsForOpenFile = options.waitsForOpenFile ?? (() => false);
    this.#handle = BigInt(options.epoch & 0xffff) << 48n;
    for (const { inode, claim } of options.store.load()) this.#table.apply(this.#table.granting(inode, claim));
  }

  get counts(): LockCounts {
    return { held: this.#table.count, waiting: this.#queue.count };
  }

  newHandle(): bigint {
    return (this.#handle += 1n);
  }

  test(inode: InodeNumber, claim: LockClaim): LockClaim | undefined {
    return this.#table.firstAgainst(inode, claim);
  }

  ownLock(inode: InodeNumber, holder: Holder, range: ByteRange): LockClaim | undefined {
    return this.#table.ownLock(inode, holder, range);
  }

  lock(inode: InodeNumber, claim: LockClaim, waiter?: LockWaiter): void | Promise<void> {
    if (this.#table.isFree(inode, claim)) {
      this.#change(inode, [this.#checkRoom(this.#table.granting(inode, claim))]);
      return;
    }
    if (claim.kind === 'file') this.#change(inode, [this.#table.releasing(inode, claim, WHOLE_FILE)]);
    if (waiter === undefined) throw new FsError('EAGAIN');
    if (this.#queue.count >= LIMITS.lockWaitersMax) throw new FsError('ENOLCK', `${LIMITS.lockWaitersMax} requests wait for locks already`);
    if (claim.kind === 'range' && this.#wouldWaitForItself(inode, claim, waiter)) throw new FsError('EDEADLK');
    return this.#wait(inode, claim, waiter);
  }

  unlock(inode: InodeNumber, holder: Holder, range: ByteRange): void {
    this.#change(inode, [this.#checkRoom(this.#table.releasing(inode, holder, range))]);
  }

  closed(inode: InodeNumber, owner: bigint): void {
    this.#change(inode, [this.#table.releasing(inode, { kind: 'range', owner }, WHOLE_FILE)]);
  }

  released(inode: InodeNumber, handle: bigint): void {
    this.#change(inode, this.#table.releasingHandle(inode, handle));
  }

  close(): void {
    for (const waiter of this.#queue.all()) {
      this.#queue.delete(waiter);
      waiter.reject(new FsError('EINTR', 'the mount is gone'));
    }
  }

  /** What makes the table no larger is let through, though it be full: a lock that is held already, or a part of one less. */
  #checkRoom(change: LockChange): LockChange {
    const more = change.added.length - change.removed.length;
    if (more > 0 && this.#table.count + more > LIMITS.locksMax) throw new FsError('ENOLCK', `${this.#table.count} locks are held; ${LIMITS.locksMax} are allowed`);
    return change;
  }

  #wait(inode: InodeNumber, claim: LockClaim, { signal, pid }: LockWaiter): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const waiter: Waiter = { inode, claim, thread: pid, resolve, reject };
      if (signal?.aborted === true) return reject(new FsError('EINTR'));
      this.#queue.add(waiter);
      signal?.addEventListener('abort', () => {
        if (this.#queue.delete(waiter)) reject(new FsError('EINTR'));
      }, { once: true });
    });
  }

  /** Which requests are for open files is dear to find out, and asked only when there is a circle without that. */
  #wouldWaitForItself(inode: InodeNumber, claim: LockClaim, waiter: LockWaiter): boolean {
    const isCircle = (counts: (other: Waiter) => boolean): boolean => this.#queue.isCircle(
      claim.owner,
      this.#table.ownersAgainst(inode, claim),
      (other) => this.#table.ownersAgainst(other.inode, other.claim),
      counts,
    );
    return isCircle(() => true) && !this.#waitsForOpenFile(waiter.pid) && isCircle((other) => !this.#waitsForOpenFile(other.thread));
  }

  /** Makes the changes, and grants what they make room for, in one save: all of it happens, or nothing. */
  #change(inode: InodeNumber, changes: readonly LockChange[]): void {
    const made = changes.filter((change) => !changesNothing(change));
    if (made.length === 0) return;
    for (const change of made) this.#table.apply(change);
    const granted = made.some((change) => change.removed.length > 0) ? this.#grantWaiting(inode, made) : [];
    try {
      this.#store.save(made);
    } catch (error) {
      for (const change of made.toReversed()) this.#table.revert(change);
      throw error;
    }
    for (const waiter of granted) {
      this.#queue.delete(waiter);
      waiter.resolve();
    }
  }

  /** Those who wait for the file and can have it now, in order; what that changes is added to `made`. */
  #grantWaiting(inode: InodeNumber, made: LockChange[]): Waiter[] {
    const granted = new Set<Waiter>();
    let madeRoom = true;
    while (madeRoom) {
      madeRoom = false;
      for (const waiter of this.#queue.of(inode)) {
        if (granted.has(waiter) || !this.#table.isFree(inode, waiter.claim)) continue;
        const change = this.#table.granting(inode, waiter.claim);
        this.#table.apply(change);
        made.push(change);
        granted.add(waiter);
        // It may hold less than before, an exclusive lock that became a shared one: room for those who came first.
        madeRoom ||= change.removed.length > 0;
      }
    }
    return [...granted];
  }
}
