// The two rows of each name: by the name itself, for look-ups, and by its position, for listings.
import type { InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { encodeEntry, encodeListing, keys, nameOfKey, numberOfKey, secondOfKey } from '../metadata/schema.ts';
import type { Entry } from '../metadata/schema.ts';
import type { Checker } from './checker.ts';
import { readEntry, readListing } from './decode.ts';
import { changeInode, guarded } from './finding.ts';

export function checkEntry(checker: Checker, row: Row, entry: Entry): void {
  const parent = numberOfKey(row[0]) as InodeNumber;
  const name = nameOfKey(row[0]);
  const key = keys.listing(parent, entry.cookie);
  const value = checker.reader.get(key);
  const listing = value === undefined ? undefined : readListing([key, value]);
  if (listing?.name.equals(name) === true) {
    if (listing.inode === entry.inode && listing.type === entry.type) return;
    checker.report({
      kind: 'nameMismatch', subject: { parent, name }, detail: `the name is of inode ${entry.inode}, its listing of inode ${listing.inode}`,
      repair: guarded([row, [key, value]], (tx) => tx.put(key, encodeListing({ inode: entry.inode, type: entry.type, name }))),
    });
    return;
  }
  checker.report({
    kind: 'nameUnlisted', subject: { parent, name }, detail: `position ${entry.cookie} of directory ${parent} is ${listing === undefined ? 'free' : 'of another name'}`,
    // At a position of its own, whatever the old one has become.
    repair: guarded([row], (tx) => {
      let cookie = 0;
      const there = changeInode(tx, parent, (directory) => {
        directory.nextCookie = Math.max(directory.nextCookie, entry.cookie + 1);
        cookie = directory.nextCookie++;
      });
      if (!there) return;
      tx.put(row[0], encodeEntry({ ...entry, cookie }));
      tx.put(keys.listing(parent, cookie), encodeListing({ inode: entry.inode, type: entry.type, name }));
    }),
  });
}

/** Returns the position. */
export function checkListing(checker: Checker, row: Row, listing: { inode: InodeNumber; type: number; name: Buffer }): number {
  const parent = numberOfKey(row[0]) as InodeNumber;
  const cookie = secondOfKey(row[0]);
  const key = keys.entry(parent, listing.name);
  const value = checker.reader.get(key);
  if (value === undefined) {
    checker.report({
      kind: 'nameListedOnly', subject: { parent, name: listing.name }, detail: `it is listed as inode ${listing.inode}`,
      repair: guarded([row, [key, undefined]], (tx) => {
        // A name of something that does not exist is none.
        if (tx.get(keys.inode(listing.inode)) === undefined) return tx.delete(row[0]);
        tx.put(key, encodeEntry({ inode: listing.inode, type: listing.type, cookie }));
        changeInode(tx, parent, (directory) => { directory.size++; });
        return undefined;
      }),
    });
    return cookie;
  }
  // One that cannot be read is dealt with first.
  const entry = readEntry([key, value]);
  if (entry !== undefined && entry.cookie !== cookie) {
    checker.report({
      kind: 'nameListedOnly', subject: { parent, name: listing.name }, detail: `it is listed twice, at ${cookie} and at ${entry.cookie}`,
      repair: guarded([row, [key, value]], (tx) => tx.delete(row[0])),
    });
  }
  return cookie;
}
