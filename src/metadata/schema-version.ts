// Which sdfs can read a volume: the schema that it says it has, raised when something that an older one does not know is used.
import type { Transaction } from './engine.ts';
import { BOOKKEEPING, SCHEMA_VERSION, decodeNumber, encodeNumber, keys } from './schema.ts';

/** From this transaction on, an sdfs that knows older schemas alone refuses the volume. */
export function raiseSchema(tx: Transaction): void {
  const row = keys.bookkeeping(BOOKKEEPING.schema);
  const schema = tx.get(row);
  if (schema === undefined || decodeNumber(schema) < SCHEMA_VERSION) tx.put(row, encodeNumber(SCHEMA_VERSION));
}
