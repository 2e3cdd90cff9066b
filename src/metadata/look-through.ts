// Looks through many rows, a page at a time, so that memory does not grow with their number.
import type { InodeNumber } from '../base/ids.ts';
import type { Reader, Row } from './engine.ts';
import { decodeEntry, keyAfter, nameOfKey, ranges } from './schema.ts';

const PAGE_ROWS = 1024;

/** All rows of a half-open range of keys, in order; also those that come behind the page that was read last. */
export function* pagesOf(reader: Reader, [first, end]: readonly [start: Buffer, end: Buffer]): Generator<readonly Row[]> {
  for (let start = first; ;) {
    const rows = reader.range(start, end, PAGE_ROWS);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    if (rows.length < PAGE_ROWS) return;
    start = keyAfter(last[0]);
  }
}

/** The name of an inode in a directory, the first if it has several; undefined where it has none there. */
export function nameIn(reader: Reader, parent: InodeNumber, inode: InodeNumber): Buffer | undefined {
  for (const rows of pagesOf(reader, ranges.entries(parent))) {
    for (const [key, value] of rows) if (decodeEntry(value).inode === inode) return nameOfKey(key);
  }
  return undefined;
}
