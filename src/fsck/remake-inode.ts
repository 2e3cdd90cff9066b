// Makes the row of an inode anew from the rows that it still has; and the directory for what has lost its name.
import { ROOT_INODE } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { now } from '../base/time.ts';
import type { Reader, Transaction } from '../metadata/engine.ts';
import { FIRST_COOKIE, decodeEntry, encodeEntry, encodeInode, encodeListing, keys, ranges, secondOfKey } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import { FILE_KIND, kindOf, readExtents, readInode } from './decode.ts';
import type { RepairTools } from './finding.ts';
import { changeInode } from './finding.ts';

const MODE = { directory: 0o700, regular: 0o600, link: 0o777 } as const;
const FOUND = Buffer.from('lost+found');
const KIND_BITS = 12;

export function blankInode(number: InodeNumber, kind: number, permissions: number): Inode {
  const time = now();
  return {
    number, flags: 0, mode: (kind << KIND_BITS) | permissions, links: kind === FILE_KIND.directory ? 2 : 0, uid: 0, gid: 0, device: 0, size: 0, allocatedBytes: 0, reservedBytes: 0,
    parent: 0, nextCookie: FIRST_COOKIE, accessed: time, modified: time, changed: time, born: time,
  };
}

/** What it is follows from what it has; counts are set right by the next look. `kind`: what its name says, where that is known. */
export function remakeInode(tx: Transaction, number: InodeNumber, kind?: number): void {
  const isDirectory = kind === FILE_KIND.directory || (kind === undefined && tx.range(...ranges.listing(number, 0), 1).length + tx.range(...ranges.entries(number), 1).length > 0);
  const target = tx.get(keys.linkTarget(number));
  if (isDirectory) tx.put(keys.inode(number), encodeInode({ ...blankInode(number, FILE_KIND.directory, MODE.directory), parent: number === ROOT_INODE ? ROOT_INODE : 0 }));
  else if (target !== undefined) tx.put(keys.inode(number), encodeInode({ ...blankInode(number, FILE_KIND.link, MODE.link), size: target.length - 1 }));
  else tx.put(keys.inode(number), encodeInode({ ...blankInode(number, FILE_KIND.regular, MODE.regular), size: endOfData(tx, number) }));
}

function endOfData(reader: Reader, number: InodeNumber): number {
  const [row] = reader.range(...ranges.extents(number, 0), 1, 'backward');
  if (row === undefined) return 0;
  const last = readExtents(row)?.at(-1);
  return secondOfKey(row[0]) * LIMITS.fileChunkBytes + (last === undefined ? 0 : last.start + last.bytes);
}

/** Gives an inode a name in /lost+found: its number. False where there can be no such directory now. */
export function nameInLostAndFound(tx: Transaction, tools: RepairTools, number: InodeNumber): boolean {
  const directory = lostAndFound(tx, tools);
  const value = tx.get(keys.inode(number));
  const inode = value === undefined ? undefined : readInode([keys.inode(number), value]);
  if (directory === undefined || inode === undefined || directory === number) return false;
  const name = freeName(tx, directory, String(number));
  const kind = kindOf(inode);
  let cookie = 0;
  changeInode(tx, directory, (found) => {
    cookie = found.nextCookie++;
    found.size++;
    if (kind === FILE_KIND.directory) found.links++;
    found.modified = found.changed = now();
  });
  tx.put(keys.entry(directory, name), encodeEntry({ inode: number, type: kind, cookie }));
  tx.put(keys.listing(directory, cookie), encodeListing({ inode: number, type: kind, name }));
  changeInode(tx, number, (found) => {
    found.links = kind === FILE_KIND.directory ? Math.max(2, found.links) : 1;
    if (kind === FILE_KIND.directory) found.parent = directory;
    found.changed = now();
  });
  return true;
}

function freeName(tx: Transaction, directory: InodeNumber, wanted: string): Buffer {
  for (let attempt = 0; ; attempt++) {
    const name = Buffer.from(attempt === 0 ? wanted : `${wanted}.${attempt}`);
    if (tx.get(keys.entry(directory, name)) === undefined) return name;
  }
}

function lostAndFound(tx: Transaction, tools: RepairTools): InodeNumber | undefined {
  if (tx.get(keys.inode(ROOT_INODE)) === undefined) return undefined;
  for (let attempt = 0; ; attempt++) {
    const name = attempt === 0 ? FOUND : Buffer.from(`${FOUND.toString()}.${attempt}`);
    const value = tx.get(keys.entry(ROOT_INODE, name));
    if (value === undefined) return makeDirectory(tx, tools, name);
    const entry = decodeEntry(value);
    if (entry.type === FILE_KIND.directory && tx.get(keys.inode(entry.inode)) !== undefined) return entry.inode;
  }
}

function makeDirectory(tx: Transaction, tools: RepairTools, name: Buffer): InodeNumber {
  const number = tools.newInode();
  tx.put(keys.inode(number), encodeInode({ ...blankInode(number, FILE_KIND.directory, MODE.directory), parent: ROOT_INODE }));
  let cookie = 0;
  changeInode(tx, ROOT_INODE, (root) => {
    cookie = root.nextCookie++;
    root.size++;
    root.links++;
    root.modified = root.changed = now();
  });
  tx.put(keys.entry(ROOT_INODE, name), encodeEntry({ inode: number, type: FILE_KIND.directory, cookie }));
  tx.put(keys.listing(ROOT_INODE, cookie), encodeListing({ inode: number, type: FILE_KIND.directory, name }));
  return number;
}
