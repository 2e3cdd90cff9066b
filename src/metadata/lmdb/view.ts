// The rows as they were at one moment: a read transaction of LMDB that stays open while the engine goes on.
import type { RootDatabase } from 'lmdb';
import { assert } from '../../base/assert.ts';
import type { MetadataView, Reader, Row } from '../engine.ts';
import { decodeNumber } from '../schema.ts';

interface Moment {
  /** The row that says which changes the database has, and what it has to say. */
  readonly key: Buffer;
  readonly value: number;
  /** Ends the open write transaction: while there is one, lmdb answers from it, whatever transaction it was asked for. */
  readonly settle: () => void;
}

/** Call it in the turn of the commit. Memory and file keep what it may need until it is closed. */
export function lmdbView(db: RootDatabase<Buffer, Buffer>, { key: mark, value: sequence, settle }: Moment): Pick<MetadataView, 'reader' | 'close'> {
  const transaction = db.useReadTransaction();
  const get = (key: Buffer): Buffer | undefined => {
    settle();
    // The types of lmdb do not say that it takes options.
    return (db.getBinary as (id: Buffer, options: object) => Buffer | undefined).call(db, key, { transaction });
  };
  const found = get(mark);
  assert((found === undefined ? 0 : decodeNumber(found)) === sequence, 'a view is of the last commit');
  const range: Reader['range'] = (start, end, limit, direction = 'forward') => {
    settle();
    const rows: Row[] = [];
    const bounds = direction === 'forward'
      ? { start: start as never, end: end as never, limit, transaction }
      : { start: end as never, end: start as never, reverse: true, exclusiveStart: true, inclusiveEnd: true, limit, transaction };
    for (const { key, value } of db.getRange(bounds)) rows.push([Buffer.from(key as Buffer), Buffer.from(value)]);
    return rows;
  };
  let open = true;
  return {
    reader: { get, range },
    close: () => {
      if (open) transaction.done();
      open = false;
    },
  };
}
