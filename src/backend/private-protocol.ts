// What our own client and server say to each other, over the Redis protocol, beside its commands.
//
//   SDFS.HELLO <protocol version>            in order; *2 sdfs <version>, or an error for a newer one than the server's
//   SDFS.<NAME> <id> <arguments…>            answered as  *2 :<id> <answer>  when it is done, in whatever order
//
// Numbers are decimal text, absent ones the empty string; keys and values are bytes. What the names want and answer:
//
//   GET      keys…                                         array of  nil | *3 value version expiresMs
//   HAS      key                                           :0 | :1
//   LENGTH   key                                           nil | *3 bytes version expiresMs
//   READ     key version offset bytes                      bytes of that version; CHANGED when there is another
//   STAGE    stage bytes                                   a piece of a value, gathered under a number of the client's choice
//   STAGED   stage                                         :bytes, when it is where it is to lie
//   DISCARD  stage                                         +OK
//   COMMIT   sync, and for each change  kind key value-or-stage is-stage expiresMs condition      *2n  version found …
//   PAGE     has-start start has-end end reverse limit values                *2  more  *4n  key value version expiresMs …
//   ACQUIRE  name ttlMs waitMs                             nil | *2 token expiresMs
//   RENEW    name token ttlMs                              nil | *2 token expiresMs
//   RELEASE  name token                                    :0 | :1
//   STATS                                                  JSON of StoreStatistics
//   SHARDS   JSON of a ShardChange                         :shard
//   SYNC                                                   +OK
//
// Errors are lines:  -SDFS <code> <message>  and  -SDFS CONFLICT <version found> <key in base64> <message>  and
// -SDFS DAMAGED <key in base64> <message>; an empty key is a "-". -SDFS REOPENED is a ReopenedError: send it again.
import { ConflictError, DamagedKeyError, ReopenedError, StoreError } from '../keys/errors.ts';
import type { StoreErrorCode } from '../keys/errors.ts';

export const PRIVATE_PROTOCOL_VERSION = 1;
/** Bytes of a value that is staged or read in pieces; a message is hardly larger. */
export const PIECE_BYTES = 1024 * 1024;
/** Words of each change in COMMIT. */
export const CHANGE_WORDS = 6;
/** A condition that the key is not there; else it is the version, or empty. */
export const IF_ABSENT = 'absent';

export function encodeError(error: unknown): string {
  if (error instanceof ConflictError) return `SDFS CONFLICT ${error.version ?? '-'} ${error.key.toString('base64') || '-'} ${error.message}`;
  if (error instanceof ReopenedError) return `SDFS REOPENED ${error.message}`;
  if (error instanceof DamagedKeyError) return `SDFS DAMAGED ${error.key.toString('base64') || '-'} ${error.message}`;
  if (error instanceof StoreError) return `SDFS ${error.code} ${error.message}`;
  return `SDFS UNAVAILABLE ${error instanceof Error ? error.message : String(error)}`;
}

/** The error as the server had it, for its line. */
export function decodeError(line: string): StoreError {
  const keyOf = (text: string): Buffer => (text === '-' ? Buffer.alloc(0) : Buffer.from(text, 'base64'));
  const conflict = /^SDFS CONFLICT (-|\d+) (\S+) (.*)$/.exec(line);
  if (conflict !== null) {
    const [, version, key, message] = conflict;
    return new ConflictError(keyOf(key!), { wanted: /: wanted (.*), found /.exec(message!)?.[1] ?? 'something else', version: version === '-' ? undefined : Number(version) });
  }
  if (line.startsWith('SDFS REOPENED ')) return new ReopenedError();
  const damaged = /^SDFS DAMAGED (\S+) (.*)$/.exec(line);
  if (damaged !== null) return new DamagedKeyError(keyOf(damaged[1]!), /cannot be read \((.*)\): run /.exec(damaged[2]!)?.[1] ?? damaged[2]!);
  const found = /^SDFS ([A-Z_]+) (.*)$/.exec(line);
  if (found !== null) return new StoreError(found[1] as StoreErrorCode, found[2]!);
  return new StoreError('UNAVAILABLE', `the store answered: ${line}`);
}
