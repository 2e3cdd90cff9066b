// Inodes without a name that the kernel may still use, and when they may be freed.
//
// A removed file lives as long as somebody has it open, and only the kernel knows that. When it drops an inode it sends
// FORGET with all references that it had. But not every FORGET of an orphan means that:
//
// - It may be late. The kernel hands out forgets more slowly than requests when there are many, so one that was queued
//   when an inode was dropped can be read after the inode was looked up again, opened, and removed. All that were queued
//   by then have been read when the queue was seen empty once since the removal.
// - A look-up that the kernel could not use is taken back, while others hold the inode. That is always one reference.
//
// Counting references would tell, but costs memory for each inode that the kernel knows, and the counts would die with a
// driver. So an inode is freed at once when both cases are excluded, and otherwise the kernel is asked whether it knows
// the inode. If it does not, it never will again: nothing leads to an orphan, and the last name went under the lock of
// its directory, which no unfinished look-up of that name holds any more. If it does, another FORGET follows.
import type { InodeNumber } from '../base/ids.ts';

/** What the kernel at the other end of the driver's edge can tell. */
export interface KernelView {
  /** How often its queue of requests and forgets was seen empty. */
  drainCount(): number;
  /** Whether it has the inode in memory. Rejects where it cannot be told: the inode stays an orphan then. */
  knows(inode: InodeNumber): Promise<boolean>;
}

export class Orphans {
  /** With the drain count at which each became one. */
  readonly #inodes = new Map<InodeNumber, number>();
  /** To be asked about, in order. */
  readonly #doubtful = new Set<InodeNumber>();
  #kernel: KernelView | undefined;
  #asking = false;
  #free: (inode: InodeNumber) => void = () => {};

  /** Who frees an inode, and deletes it here. */
  freeWith(free: (inode: InodeNumber) => void): void {
    this.#free = free;
  }

  /** Without it every FORGET frees: a test, or an edge that counts references itself. */
  consult(kernel: KernelView): void {
    this.#kernel = kernel;
  }

  add(inode: InodeNumber): void {
    this.#inodes.set(inode, this.#kernel?.drainCount() ?? 0);
  }

  /** It got a name, or is gone. */
  delete(inode: InodeNumber): void {
    if (this.#inodes.size > 0) this.#inodes.delete(inode);
  }

  has(inode: InodeNumber): boolean {
    return this.#inodes.has(inode);
  }

  /** The kernel dropped `count` references of some inode, most often of one that has names. */
  forget(inode: InodeNumber, count: number): void {
    if (this.#inodes.size === 0) return;
    const drainCount = this.#inodes.get(inode);
    if (drainCount === undefined) return;
    if (this.#kernel === undefined || (count > 1 && this.#kernel.drainCount() > drainCount)) this.#free(inode);
    else this.#ask(inode);
  }

  /**
   * A FORGET may have died with the driver that read it. Call this when requests that it left unanswered have been
   * answered: of an O_TMPFILE among them the kernel does not know the inode yet.
   */
  askAboutAll(): void {
    for (const inode of this.#inodes.keys()) this.#ask(inode);
  }

  /** Nothing is freed any more: the rows stay, and a successor or the next mount has them. */
  end(): void {
    this.#doubtful.clear();
    this.#inodes.clear();
  }

  #ask(inode: InodeNumber): void {
    this.#doubtful.add(inode);
    if (!this.#asking && this.#kernel !== undefined) void this.#askInTurn(this.#kernel);
  }

  /** A FORGET that comes while its inode is asked about makes it asked about again. */
  async #askInTurn(kernel: KernelView): Promise<void> {
    this.#asking = true;
    for (const inode of this.#doubtful) {
      this.#doubtful.delete(inode);
      const known = await kernel.knows(inode).catch(() => true);
      if (!known && this.#inodes.has(inode)) this.#free(inode);
    }
    this.#asking = false;
  }
}
