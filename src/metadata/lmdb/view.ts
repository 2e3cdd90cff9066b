// The rows as they were at one moment: a read transaction of LMDB that stays open while the engine goes on.
import type { RootDatabase } from 'lmdb';
import { assert } from '../../base/assert.ts';
import type { MetadataView, Reader, Row } from '../engine.ts';
import { openRow } from './checked-rows.ts';

interface Moment {
  /** Whether the last commit is the one of this moment. */
  readonly isLast: () => boolean;
  /** Ends the open write transaction: while there is one, lmdb answers from it, whatever transaction it was asked for. */
  readonly settle: () => void;
  /** Told of rows that cannot be read; what it returns is thrown. */
  readonly onDamage: (error: Error) => Error;
}

/** Call it in the turn of the commit. Memory and file keep what it may need until it is closed. */
export function lmdbView(db: RootDatabase<Buffer, Buffer>, { isLast, settle, onDamage }: Moment): Pick<MetadataView, 'reader' | 'close'> {
  const transaction = db.useReadTransaction();
  assert(isLast(), 'a view is of the last commit');
  const guard = <T>(read: () => T): T => {
    settle();
    try {
      return read();
    } catch (error) {
      throw onDamage(error as Error);
    }
  };
  const get = (key: Buffer): Buffer | undefined => guard(() => {
    // The types of lmdb do not say that it takes options.
    const stored = (db.getBinary as (id: Buffer, options: object) => Buffer | undefined).call(db, key, { transaction });
    return stored === undefined ? undefined : openRow(key, stored);
  });
  const range: Reader['range'] = (start, end, limit, direction = 'forward') => guard(() => {
    const rows: Row[] = [];
    const bounds = direction === 'forward'
      ? { start: start as never, end: end as never, limit, transaction }
      : { start: end as never, end: start as never, reverse: true, exclusiveStart: true, inclusiveEnd: true, limit, transaction };
    for (const { key, value } of db.getRange(bounds)) rows.push([Buffer.from(key as Buffer), Buffer.from(openRow(key as Buffer, value))]);
    return rows;
  });
  let open = true;
  return {
    reader: { get, range },
    close: () => {
      if (open) transaction.done();
      open = false;
    },
  };
}
