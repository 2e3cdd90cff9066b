// The files that programs have open on this edge: small ids for libfuse, and what lives without a name meanwhile.
//
// Where libfuse removes or replaces a name whose file is open, it renames it to .fuse_hidden and 16 hex digits instead,
// in the same directory, and removes that when the file is closed. Here such a rename takes the name away for good, as
// Linux does, and the hidden name leads to the file for as long as it is open.
import { FsError } from '../base/errors.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';

export interface OpenFile {
  readonly inode: InodeNumber;
  /** Of O_SYNC and O_DSYNC, as the file was opened. */
  readonly durability: 'process' | 'power';
}

interface OpenInode {
  count: number;
  /** The hidden names that lead to it. */
  readonly hidden: string[];
}

const HIDDEN_NAME = /^\.fuse_hidden[0-9a-f]{16}$/;

/** Names of this form are libfuse's own. */
export function isHiddenName(name: string): boolean {
  return HIDDEN_NAME.test(name);
}

export class OpenFiles {
  /** By id less one: the package cannot tell an id of 0 from none. */
  readonly #files: (OpenFile | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #inodes = new Map<InodeNumber, OpenInode>();
  readonly #hidden = new Map<string, InodeNumber>();

  /** ENFILE when there are too many. */
  open(file: OpenFile): number {
    const index = this.#free.pop() ?? this.#files.length;
    if (index >= LIMITS.openFilesMax) throw new FsError('ENFILE', `${LIMITS.openFilesMax} files are open`);
    this.#files[index] = file;
    const inode = this.#inodes.get(file.inode);
    if (inode === undefined) this.#inodes.set(file.inode, { count: 1, hidden: [] });
    else inode.count += 1;
    return index + 1;
  }

  get(id: number): OpenFile {
    const file = this.#files[id - 1];
    if (file === undefined) throw new FsError('EBADF', `open file ${id}`);
    return file;
  }

  /** The inode, if nobody has it open any more. */
  close(id: number): InodeNumber | undefined {
    const { inode } = this.get(id);
    this.#files[id - 1] = undefined;
    this.#free.push(id - 1);
    const entry = this.#inodes.get(inode);
    if (entry === undefined || (entry.count -= 1) > 0) return undefined;
    this.#inodes.delete(inode);
    for (const name of entry.hidden) this.#hidden.delete(name);
    return inode;
  }

  isOpen(inode: InodeNumber): boolean {
    return this.#inodes.has(inode);
  }

  /** From now on this name leads to the inode, which is open. */
  hide(name: string, inode: InodeNumber): void {
    this.#inodes.get(inode)?.hidden.push(name);
    this.#hidden.set(name, inode);
  }

  hidden(name: string): InodeNumber | undefined {
    return this.#hidden.size === 0 ? undefined : this.#hidden.get(name);
  }
}
