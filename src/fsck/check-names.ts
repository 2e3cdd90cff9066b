// Names against what they name: that it exists, its type, how many names it has, and for directories the one parent.
//
// Names are in the order of directories, and not of what they name. So inodes are taken a window of bounded size at a
// time, and for each window all names are looked over: memory is bounded by the window, and time grows with their number.
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { SET_ASIDE_RANGE, rangeOfType, setAsideKey } from '../metadata/row-types.ts';
import { encodeEntry, encodeListing, keys, nameOfKey, numberOfKey } from '../metadata/schema.ts';
import type { Entry } from '../metadata/schema.ts';
import type { Checker } from './checker.ts';
import { FILE_KIND, kindOf, readEntry, readInode } from './decode.ts';
import { changeInode, guarded, inodeDelta } from './finding.ts';
import type { Repair } from './finding.ts';
import { nameInLostAndFound, remakeInode } from './remake-inode.ts';
import type { RowCursor } from './row-cursor.ts';

/** Of names of directories in the wrong place; further ones are found when these are repaired. */
const STRAY_NAMES_MAX = 10_000;

export async function checkNames(checker: Checker): Promise<void> {
  const inodes = checker.cursor(rangeOfType('inode'));
  const somethingSetAside = checker.reader.range(...SET_ASIDE_RANGE, 1).length > 0;
  for (let after = 0, part = 1; ; part++) {
    checker.begin(`names${part === 1 ? '' : ` (${part})`}`);
    const window = new NameWindow(checker, after, somethingSetAside);
    const ended = await window.load(inodes);
    await checker.cursor(rangeOfType('entry')).each((row) => window.take(row));
    await window.finish();
    if (ended) return;
    after = window.through;
  }
}

class NameWindow {
  readonly #checker: Checker;
  readonly #after: number;
  readonly #somethingSetAside: boolean;
  /** Inodes above `after`, in order; the arrays beside it say what each is, and what was counted. */
  readonly #numbers: Float64Array;
  readonly #kinds: Uint8Array;
  readonly #links: Uint32Array;
  readonly #names: Uint32Array;
  readonly #orphans: Uint8Array;
  /** By its own row, and by the first name that was found elsewhere. */
  readonly #parents: Float64Array;
  readonly #namedIn: Float64Array;
  readonly #strayNames: { readonly at: number; readonly row: Row; readonly entry: Entry }[] = [];
  #count = 0;
  #last = false;

  constructor(checker: Checker, after: number, somethingSetAside: boolean) {
    this.#checker = checker;
    this.#after = after;
    this.#somethingSetAside = somethingSetAside;
    const size = checker.windowRows;
    this.#numbers = new Float64Array(size);
    this.#kinds = new Uint8Array(size);
    this.#links = new Uint32Array(size);
    this.#names = new Uint32Array(size);
    this.#orphans = new Uint8Array(size);
    this.#parents = new Float64Array(size);
    this.#namedIn = new Float64Array(size);
  }

  /** Last inode of the window; infinite for the last window. */
  get through(): number {
    return this.#last ? Infinity : this.#numbers[this.#count - 1]!;
  }

  /** True when these are the last. */
  async load(inodes: RowCursor): Promise<boolean> {
    while (this.#count < this.#numbers.length && (await inodes.fill())) {
      for (let row = inodes.head; row !== undefined && this.#count < this.#numbers.length; row = inodes.head) {
        inodes.skip();
        const inode = readInode(row);
        const at = this.#count++;
        // One that cannot be read exists: what names it is right for now.
        this.#numbers[at] = numberOfKey(row[0]);
        if (inode === undefined) continue;
        this.#kinds[at] = kindOf(inode);
        this.#links[at] = inode.links;
        this.#parents[at] = inode.parent;
      }
    }
    this.#last = !(await inodes.fill());
    const [, end] = rangeOfType('orphan');
    await this.#checker.cursor([keys.orphan((this.#after + 1) as InodeNumber), this.#last ? end : keys.orphan((this.through + 1) as InodeNumber)]).each((row) => this.#takeOrphan(row));
    return this.#last;
  }

  #takeOrphan(row: Row): void {
    const at = this.#find(numberOfKey(row[0]));
    if (at >= 0) this.#orphans[at] = 1;
    else this.#checker.report({ kind: 'orphanDangling', subject: {}, detail: `inode ${numberOfKey(row[0])}`, repair: guarded([row, [keys.inode(numberOfKey(row[0]) as InodeNumber), undefined]], (tx) => tx.delete(row[0])) });
  }

  /** Where the inode is in the window; -1 when it does not exist. */
  #find(number: number): number {
    let low = 0;
    let high = this.#count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.#numbers[middle]!;
      if (found === number) return middle;
      if (found < number) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  take(row: Row): void {
    const entry = readEntry(row);
    if (entry === undefined || entry.inode <= this.#after || entry.inode > this.through) return;
    this.#checker.step();
    const at = this.#find(entry.inode);
    if (at < 0) return this.#reportDangling(row, entry);
    this.#names[at]!++;
    const kind = this.#kinds[at]!;
    if (kind === 0) return undefined;
    if (kind !== entry.type) this.#reportType(row, entry, kind);
    if (kind === FILE_KIND.directory) this.#takeDirectory(at, row, entry);
    return undefined;
  }

  /** A directory is at home where its own row says, and once. */
  #takeDirectory(at: number, row: Row, entry: Entry): void {
    const parent = numberOfKey(row[0]);
    const home = parent === this.#parents[at] && entry.inode !== ROOT_INODE;
    if (home && this.#namedIn[at] !== parent) {
      this.#namedIn[at] = parent;
      return;
    }
    if (this.#strayNames.length < STRAY_NAMES_MAX) this.#strayNames.push({ at, row, entry });
  }

  async finish(): Promise<void> {
    this.#reportStrayNames();
    for (let at = 0; at < this.#count; at++) {
      if (at % 4096 === 0) await this.#checker.pause();
      if (this.#kinds[at] !== 0) this.#checkOne(at);
    }
    await this.#checker.flush();
  }

  #reportStrayNames(): void {
    for (const { at, row, entry } of this.#strayNames) {
      const parent = numberOfKey(row[0]) as InodeNumber;
      const subject = { parent, name: nameOfKey(row[0]) };
      if (this.#namedIn[at] === 0 && entry.inode !== ROOT_INODE) {
        // Its only name, or the first of several: that is where it is.
        this.#namedIn[at] = parent;
        this.#checker.report({
          kind: 'parent', subject, detail: `inode ${entry.inode} takes ${this.#parents[at]} for its parent, and its name is in ${parent}`,
          repair: guarded([row], (tx) => { changeInode(tx, entry.inode, (directory) => { directory.parent = parent; }); }),
        });
      } else {
        this.#checker.report({ kind: 'directoryNames', subject, detail: `inode ${entry.inode} has a name in ${this.#namedIn[at] === 0 ? 'no place, as the root' : this.#namedIn[at]} already`, repair: withoutName(row, entry) });
        this.#names[at]!--;
      }
    }
  }

  #checkOne(at: number): void {
    const number = this.#numbers[at]! as InodeNumber;
    const names = this.#names[at]!;
    const isDirectory = this.#kinds[at] === FILE_KIND.directory;
    if (number === ROOT_INODE) {
      if (!isDirectory || this.#parents[at] !== ROOT_INODE) this.#checker.report({ kind: 'parent', subject: { inode: number }, detail: 'the root directory is not its own parent', repair: isDirectory ? inodeDelta(number, (root) => { root.parent = ROOT_INODE; }) : undefined });
      return;
    }
    if (names === 0 && this.#orphans[at] === 0) return this.#reportUnnamed(number);
    if (names > 0 && this.#orphans[at] === 1) {
      this.#checker.report({ kind: 'orphanNamed', subject: { inode: number }, detail: `inode ${number} has ${names} names`, repair: guarded([[keys.orphan(number), this.#checker.reader.get(keys.orphan(number))]], (tx) => tx.delete(keys.orphan(number))) });
    }
    const links = this.#links[at]!;
    if (isDirectory || links === names) return undefined;
    this.#checker.report({
      kind: 'linkCount', subject: { inode: number }, detail: `inode ${number}: it counts ${links} links and has ${names} names`,
      repair: inodeDelta(number, (inode) => { inode.links = Math.max(0, inode.links + names - links); }),
    });
    return undefined;
  }

  #reportUnnamed(number: InodeNumber): void {
    const value = this.#checker.reader.get(keys.inode(number));
    this.#checker.report({
      kind: 'unnamed', subject: { inode: number }, detail: `inode ${number}`,
      repair: (tools) => tools.transact((tx) => {
        const now = tx.get(keys.inode(number));
        if (now === undefined || value === undefined || !now.equals(value) || tx.get(keys.orphan(number)) !== undefined) return false;
        return nameInLostAndFound(tx, tools, number);
      }),
    });
  }

  #reportType(row: Row, entry: Entry, kind: number): void {
    const parent = numberOfKey(row[0]) as InodeNumber;
    const name = nameOfKey(row[0]);
    this.#checker.report({
      kind: 'nameType', subject: { parent, name }, detail: `inode ${entry.inode} is of type ${kind}, the name says ${entry.type}`,
      repair: guarded([row], (tx) => {
        tx.put(row[0], encodeEntry({ ...entry, type: kind }));
        tx.put(keys.listing(parent, entry.cookie), encodeListing({ inode: entry.inode, type: kind, name }));
      }),
    });
  }

  /** When its inode row was set aside, the file exists, and what is left of it is kept under its name. */
  #reportDangling(row: Row, entry: Entry): void {
    const inodeKey = keys.inode(entry.inode);
    const wasSetAside = this.#somethingSetAside && this.#checker.reader.get(setAsideKey(inodeKey)) !== undefined;
    this.#checker.report({
      kind: 'nameDangling', subject: { parent: numberOfKey(row[0]) as InodeNumber, name: nameOfKey(row[0]) }, detail: `it names inode ${entry.inode}`,
      repair: wasSetAside ? guarded([row, [inodeKey, undefined]], (tx) => remakeInode(tx, entry.inode, entry.type)) : withoutName(row, entry, [inodeKey, undefined]),
    });
  }
}

/** Takes a name and its listing away. */
function withoutName(row: Row, entry: Entry, ...guards: readonly (readonly [Buffer, Buffer | undefined])[]): Repair {
  const parent = numberOfKey(row[0]) as InodeNumber;
  return guarded([row, ...guards], (tx) => {
    tx.delete(row[0]);
    const listing = keys.listing(parent, entry.cookie);
    tx.delete(listing);
    changeInode(tx, parent, (directory) => {
      directory.size = Math.max(0, directory.size - 1);
      if (entry.type === FILE_KIND.directory) directory.links = Math.max(2, directory.links - 1);
    });
  });
}
