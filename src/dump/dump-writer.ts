// The metadata as lines of JSON: a header, a line for each row, and a trailer by which the whole is verified.
//
//   {"format":"sdfs-dump","version":1,"volume":…,"sequence":…,"written":…,"schema":…,"description":{…}}
//   {"row":"inode","inode":1,"mode":"40755",…}     one line a row, in the order of keys; "raw": bytes as they are
//   {"row":"data","block":…,"data":…}              small file data (base64) that was not on the disks yet
//   {"end":true,"rows":…,"data":…,"counts":{…},"sha256":…}     SHA-256 of all bytes before this line
//
// UTF-8, a newline behind each line. A newer version is refused; fields that are not known are ignored.
import { createHash } from 'node:crypto';
import { formatBlockId } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import type { MetadataView } from '../metadata/engine.ts';
import { LOCK_TYPE } from '../metadata/row-types.ts';
import { BOOKKEEPING, decodeNumber, keyAfter, keys } from '../metadata/schema.ts';
import { describeRow } from './row-text.ts';

export const DUMP_FORMAT = 'sdfs-dump';
export const DUMP_VERSION = 1;
const PAGE_ROWS = 256;
const END_OF_KEYS = Buffer.alloc(300, 0xff);

export interface DumpHeader {
  readonly format: typeof DUMP_FORMAT;
  readonly version: number;
  readonly volume: string;
  /** Last change that is in it. */
  readonly sequence: number;
  /** ISO 8601. */
  readonly written: string;
  readonly schema: number;
  /** The volume, as its description file says; opaque here. */
  readonly description: unknown;
}

export interface DumpTrailer {
  readonly end: true;
  readonly rows: number;
  readonly data: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly sha256: string;
}

export interface DumpSource {
  readonly view: MetadataView;
  readonly volume: string;
  readonly description: unknown;
  /** Small data of the moment of the view. */
  readonly pending: readonly { readonly id: BlockId; readonly data: Buffer }[];
}

/** Portions of whole lines, some ten KiB each. */
export function* writeDump({ view, volume, description, pending }: DumpSource): Generator<string> {
  const hash = createHash('sha256');
  const counts: Record<string, number> = {};
  let rows = 0;
  const out = (text: string): string => {
    hash.update(text);
    return text;
  };
  const schema = view.reader.get(keys.bookkeeping(BOOKKEEPING.schema));
  const header: DumpHeader = { format: DUMP_FORMAT, version: DUMP_VERSION, volume, sequence: view.sequence, written: new Date().toISOString(), schema: schema === undefined ? 0 : decodeNumber(schema), description };
  yield out(`${JSON.stringify(header)}\n`);
  for (let start: Buffer | undefined = Buffer.of(1); start !== undefined;) {
    const page = view.reader.range(start, END_OF_KEYS, PAGE_ROWS);
    let text = '';
    for (const row of page) {
      // Locks are of the mount, and end with it.
      if (row[0][0] === LOCK_TYPE) continue;
      const described = describeRow(row);
      const kind = String(described['row']);
      counts[kind] = (counts[kind] ?? 0) + 1;
      rows++;
      text += `${JSON.stringify(described)}\n`;
    }
    if (text !== '') yield out(text);
    const last = page.at(-1);
    start = last === undefined || page.length < PAGE_ROWS ? undefined : keyAfter(last[0]);
  }
  for (const { id, data } of pending) yield out(`${JSON.stringify({ row: 'data', block: formatBlockId(id), data: data.toString('base64') })}\n`);
  const trailer: DumpTrailer = { end: true, rows, data: pending.length, counts, sha256: hash.digest('hex') };
  yield `${JSON.stringify(trailer)}\n`;
}
