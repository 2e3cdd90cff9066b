// Which sdfs can read a volume: the schema that it says it has, raised when something that an older one does not know is used.
import { FormatError } from '../base/errors.ts';
import type { Reader, Transaction } from './engine.ts';
import { BOOKKEEPING, SCHEMA_OF, SCHEMA_VERSION, decodeNumber, encodeNumber, keys } from './schema.ts';

/** From this transaction on, an sdfs that does not know `what` refuses the volume. */
export function raiseSchema(tx: Transaction, what: keyof typeof SCHEMA_OF): void {
  if ((schemaOf(tx) ?? 0) < SCHEMA_OF[what]) tx.put(keys.bookkeeping(BOOKKEEPING.schema), encodeNumber(SCHEMA_OF[what]));
}

/** Undefined for a volume in which there is nothing yet. */
export function schemaOf(reader: Pick<Reader, 'get'>): number | undefined {
  const row = reader.get(keys.bookkeeping(BOOKKEEPING.schema));
  return row === undefined ? undefined : decodeNumber(row);
}

/** Written by an sdfs that knows more than this one: not to be touched. A row that cannot be read says nothing. */
export function isNewer(reader: Pick<Reader, 'get'>): boolean {
  try {
    return (schemaOf(reader) ?? 0) > SCHEMA_VERSION;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}
