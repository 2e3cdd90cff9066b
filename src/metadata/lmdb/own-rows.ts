// The rows of the driver's database that are about itself, below every key of the schema: never logged.
//
//   00 "applied"   sequence of the last record whose changes the rows have
//   00 "inodes"    inodes that exist
//
// Each is u8 version of the database, u64; sealed as all rows are (checked-rows.ts). Version 1 had rows without checksums:
// they get them when it is opened. One of another version is made anew from the disks, by this sdfs and by those before it.
import type { RootDatabase } from 'lmdb';
import { FormatError } from '../../base/errors.ts';
import { decodeNumber, encodeNumber } from '../schema.ts';
import { entryCount, openRow, sealAll, sealRow } from './checked-rows.ts';

type Database = RootDatabase<Buffer, Buffer>;

export const APPLIED_SEQUENCE = Buffer.from('\0applied');
export const INODE_COUNT = Buffer.from('\0inodes');
const VERSION = 2;
const VERSION_UNSEALED = 1;
const UNSEALED_BYTES = 16;

/** Within a transaction. */
export function putOwn(db: Database, key: Buffer, number: number): void {
  const value = encodeNumber(number);
  value[0] = VERSION;
  void db.put(key, sealRow(key, value));
}

/** Undefined where there is none yet. FormatError when it is damaged, or of another version. */
export function ownNumber(db: Database, key: Buffer): number | undefined {
  const stored = db.getBinary(key);
  if (stored === undefined) return undefined;
  const value = Buffer.from(openRow(key, stored));
  if (value[0] !== VERSION) throw new FormatError('metadata database', { wanted: `version ${VERSION}`, found: `version ${value[0]}` });
  value[0] = VERSION_UNSEALED;
  return decodeNumber(value);
}

/** Rows of the schema, as LMDB counts them. */
export function rowCount(db: Database): number {
  return entryCount(db) - [APPLIED_SEQUENCE, INODE_COUNT].filter((key) => db.getBinary(key) !== undefined).length;
}

/** Gives a database of version 1 the checksums that it lacks, all or none. */
export function upgradeRows(db: Database): void {
  const applied = db.getBinary(APPLIED_SEQUENCE);
  if (applied?.[0] !== VERSION_UNSEALED || applied.length !== UNSEALED_BYTES) return;
  const own = [APPLIED_SEQUENCE, INODE_COUNT].flatMap((key) => {
    const value = db.getBinary(key);
    return value === undefined ? [] : [[key, decodeNumber(value)] as const];
  });
  db.transactionSync(() => {
    sealAll(db);
    for (const [key, number] of own) putOwn(db, key, number);
  });
}
