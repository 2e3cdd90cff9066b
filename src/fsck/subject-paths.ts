// The paths of what findings are about: one walk over all names for as many inodes as there are.
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Reader } from '../metadata/engine.ts';
import { rangeOfType } from '../metadata/row-types.ts';
import { keys, nameOfKey, numberOfKey } from '../metadata/schema.ts';
import { readEntry, readInode } from './decode.ts';
import type { Subject } from './finding.ts';
import { RowCursor } from './row-cursor.ts';

const DEPTH_MAX = 512;
/** Hard links of one file that are named. */
const NAMES_MAX = 4;

interface Place {
  readonly parent: InodeNumber;
  readonly name: Buffer;
}

export class SubjectPaths {
  readonly #reader: Reader;
  readonly #pause: () => Promise<void>;

  constructor(reader: Reader, pause: () => Promise<void>) {
    this.#reader = reader;
    this.#pause = pause;
  }

  /** Of each subject, in their order; none where there is no name. Bytes that are not UTF-8 are replaced. */
  async of(subjects: readonly Subject[]): Promise<string[][]> {
    // Level by level: files by their names, then the directories that these are in, up to the root.
    const places = new Map<InodeNumber, Place[]>();
    let wanted = new Set<InodeNumber>();
    for (const { inode, parent } of subjects) for (const number of [inode, parent]) if (number !== undefined) this.#want(number, wanted, places);
    for (let depth = 0; wanted.size > 0 && depth < DEPTH_MAX; depth++) {
      await this.#findNames(wanted, places);
      const next = new Set<InodeNumber>();
      for (const number of wanted) for (const { parent } of places.get(number) ?? []) if (!places.has(parent)) this.#want(parent, next, places);
      wanted = next;
    }
    return subjects.map(({ inode, parent, name }) => {
      if (parent !== undefined && name !== undefined) return [`${pathOf(parent, places)}/${name.toString()}`];
      if (inode === undefined) return [];
      if (inode === ROOT_INODE) return ['/'];
      return (places.get(inode) ?? []).map((place) => `${pathOf(place.parent, places)}/${place.name.toString()}`);
    });
  }

  #want(number: InodeNumber, wanted: Set<InodeNumber>, places: ReadonlyMap<InodeNumber, Place[]>): void {
    if (number !== ROOT_INODE && !places.has(number)) wanted.add(number);
  }

  async #findNames(wanted: ReadonlySet<InodeNumber>, places: Map<InodeNumber, Place[]>): Promise<void> {
    for (const number of wanted) places.set(number, []);
    // Directories know where to look.
    const parents = new Map<InodeNumber, InodeNumber>();
    let searchAll = false;
    for (const number of wanted) {
      const value = this.#reader.get(keys.inode(number));
      const inode = value === undefined ? undefined : readInode([keys.inode(number), value]);
      if (inode === undefined || inode.parent === 0) searchAll = true;
      else parents.set(number, inode.parent);
    }
    const look = async (range: readonly [Buffer, Buffer]): Promise<void> => {
      await new RowCursor(this.#reader, range, this.#pause, () => false).each((row) => {
        const entry = readEntry(row);
        const found = entry === undefined || !wanted.has(entry.inode) ? undefined : places.get(entry.inode);
        if (found !== undefined && found.length < NAMES_MAX) found.push({ parent: numberOfKey(row[0]) as InodeNumber, name: nameOfKey(row[0]) });
      });
    };
    if (searchAll) return look(rangeOfType('entry'));
    for (const parent of new Set(parents.values())) await look([keys.entry(parent, Buffer.alloc(0)), keys.entry((parent + 1) as InodeNumber, Buffer.alloc(0))]);
    return undefined;
  }
}

function pathOf(directory: InodeNumber, places: ReadonlyMap<InodeNumber, Place[]>, depth = 0): string {
  if (directory === ROOT_INODE) return '';
  const place = places.get(directory)?.[0];
  if (place === undefined || depth > DEPTH_MAX) return `?${directory}`;
  return `${pathOf(place.parent, places, depth + 1)}/${place.name.toString()}`;
}
