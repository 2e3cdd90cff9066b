// That every directory is below the root: no circles. What has a parent that exists, and is in no circle, is.
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Reader } from '../metadata/engine.ts';
import { nameIn } from '../metadata/look-through.ts';
import { rangeOfType } from '../metadata/row-types.ts';
import { decodeEntry, keys } from '../metadata/schema.ts';
import type { Checker } from './checker.ts';
import { FILE_KIND, kindOf, readInode } from './decode.ts';
import { changeInode } from './finding.ts';
import type { Repair } from './finding.ts';
import { nameInLostAndFound } from './remake-inode.ts';

/** Directories that are known to be below the root; forgotten when there are more. */
const KNOWN_MAX = 200_000;

export async function checkTree(checker: Checker): Promise<void> {
  checker.begin('directories');
  let known = new Set<number>([ROOT_INODE]);
  await checker.cursor(rangeOfType('inode')).each((row) => {
    const inode = readInode(row);
    if (inode === undefined || kindOf(inode) !== FILE_KIND.directory || known.has(inode.number)) return;
    checker.step();
    const walked = new Set<number>();
    let at: number = inode.number;
    while (!known.has(at) && !walked.has(at)) {
      walked.add(at);
      const parent = parentOf(checker.reader, at as InodeNumber);
      // Its parent is not there: the check of names says so.
      if (parent === undefined) break;
      at = parent;
    }
    // A circle is one finding, by its smallest directory; what hangs on it comes with it.
    if (walked.has(at) && !known.has(at) && parentOf(checker.reader, at as InodeNumber) !== undefined && smallestOf(checker.reader, at as InodeNumber) === inode.number) reportCircle(checker, inode.number);
    else if (known.has(at)) {
      if (known.size + walked.size > KNOWN_MAX) known = new Set([ROOT_INODE]);
      for (const directory of walked) known.add(directory);
    }
  });
  await checker.flush();
}

function parentOf(reader: Reader, number: InodeNumber): InodeNumber | undefined {
  const value = reader.get(keys.inode(number));
  const inode = value === undefined ? undefined : readInode([keys.inode(number), value]);
  return inode === undefined || inode.parent === 0 || kindOf(inode) !== FILE_KIND.directory ? undefined : inode.parent;
}

/** Of the circle that `start` is in. */
function smallestOf(reader: Reader, start: InodeNumber): number {
  let smallest: number = start;
  for (let at = parentOf(reader, start); at !== undefined && at !== start; at = parentOf(reader, at)) smallest = Math.min(smallest, at);
  return smallest;
}

function reportCircle(checker: Checker, number: InodeNumber): void {
  const parent = parentOf(checker.reader, number)!;
  checker.report({ kind: 'circle', subject: { inode: number }, detail: `inode ${number} lies in ${parent}, and that in it`, repair: outOfCircle(number, parent) });
}

/** Takes the name in the circle away and gives the directory one in /lost+found. */
function outOfCircle(number: InodeNumber, parent: InodeNumber): Repair {
  return (tools) => {
    const name = nameIn(tools.reader, parent, number);
    if (name === undefined || parentOf(tools.reader, number) !== parent) return false;
    return tools.transact((tx) => {
      const key = keys.entry(parent, name);
      const value = tx.get(key);
      const cookie = value === undefined ? undefined : decodeEntry(value).cookie;
      if (cookie === undefined || !nameInLostAndFound(tx, tools, number)) return false;
      tx.delete(key);
      tx.delete(keys.listing(parent, cookie));
      changeInode(tx, parent, (directory) => {
        directory.size = Math.max(0, directory.size - 1);
        directory.links = Math.max(2, directory.links - 1);
      });
      return true;
    });
  };
}
