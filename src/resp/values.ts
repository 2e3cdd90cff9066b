// Reading and changing values: at once where they are in memory, else as the rest of the command.
import { LIMITS } from '../base/limits.ts';
import { StoreError } from '../keys/errors.ts';
import type { KeyEntry, KeySpace, KeyTransaction, PreparedValue } from '../keys/key-space.ts';
import { withPrepared } from '../keys/prepared.ts';
import { later } from './command.ts';
import type { CommandContext, Later } from './command.ts';
import type { ReplyWriter } from './reply-writer.ts';

/** The value that is to be there; `undefined`: it stays as it is, `null`: the key goes. */
export interface Update<T> {
  readonly value: Buffer | null | undefined;
  readonly expiresMs: number;
  readonly result: T;
}

/** What a command makes of the value that is there. Runs again when the value was changed meanwhile. */
export type Change<T> = (old: Buffer | undefined, entry: KeyEntry | undefined) => Update<T>;

/** What is answered for a key: the value, or `undefined`, as `write` has it. */
export function readValue(keys: KeySpace, key: Buffer, reply: ReplyWriter, write: (reply: ReplyWriter, value: Buffer | undefined) => void): Later | void {
  const entry = keys.get(key);
  if (entry === undefined) return write(reply, undefined);
  if (isLoadedAtOnce(entry)) {
    const value = keys.load(entry);
    if (Buffer.isBuffer(value)) return write(reply, value);
    // It may never be looked at, when the group fails.
    value.catch(() => {});
    return later(() => value.catch((error: unknown) => loadAgain(keys, key, error)).then((loaded) => (to) => write(to, loaded)), entry.bytes);
  }
  return later(async () => {
    const value = await loadEntry(keys, key, entry);
    return (to) => write(to, value);
  }, entry.bytes);
}

/** A load that is under way when its group fails is lost: large ones are begun afterwards. */
function isLoadedAtOnce(entry: KeyEntry): boolean {
  return entry.bytes <= LIMITS.inlineBytesMax;
}

/** The value of `entry`, or, when the key was changed while it was read, the one that it has then. */
export async function loadEntry(keys: KeySpace, key: Buffer, entry: KeyEntry | undefined): Promise<Buffer | undefined> {
  if (entry === undefined) return undefined;
  try {
    return await keys.load(entry);
  } catch (error) {
    return loadAgain(keys, key, error);
  }
}

async function loadAgain(keys: KeySpace, key: Buffer, first: unknown): Promise<Buffer | undefined> {
  let error = first;
  for (let attempt = 1; attempt < LIMITS.valueReadsMax && error instanceof StoreError && error.code === 'CHANGED'; attempt++) {
    const entry = keys.get(key);
    if (entry === undefined) return undefined;
    try {
      return await keys.load(entry);
    } catch (again) {
      error = again;
    }
  }
  throw error;
}

/** Replaces a value by what `change` makes of it; nobody else changes it between. */
export function updateValue<T>(context: CommandContext, key: Buffer, reply: ReplyWriter, { change, write }: { change: Change<T>; write: (reply: ReplyWriter, result: T) => void }): Later | void {
  const { keys } = context;
  const outcome = keys.transact((transaction) => {
    const entry = transaction.get(key);
    const old = entry === undefined ? undefined : isLoadedAtOnce(entry) ? keys.load(entry) : NOT_LOADED;
    if (old === NOT_LOADED || old instanceof Promise) {
      if (old instanceof Promise) old.catch(() => {});
      return NOT_LOADED;
    }
    const update = change(old as Buffer | undefined, entry);
    if (isLarge(update.value)) return NOT_LOADED;
    return applyUpdate(transaction, key, update, update.value);
  });
  if (outcome !== NOT_LOADED) return write(reply, outcome as T);
  return later(() => updateLater(context, key, change).then((result) => (to) => write(to, result)));
}

const NOT_LOADED = Symbol('not loaded');
const CHANGED = Symbol('changed');

async function updateLater<T>({ keys, commits }: CommandContext, key: Buffer, change: Change<T>): Promise<T> {
  for (;;) {
    const seen = keys.get(key);
    let old: Buffer | undefined;
    try {
      old = seen === undefined ? undefined : await keys.load(seen);
    } catch (error) {
      if (error instanceof StoreError && error.code === 'CHANGED') continue;
      throw error;
    }
    const update = change(old, seen);
    const commit = (value: Buffer | PreparedValue | null | undefined): Promise<T | typeof CHANGED> => commits.add((transaction) => {
      const entry = transaction.get(key);
      if (entry?.version !== seen?.version || entry?.expiresMs !== seen?.expiresMs) return CHANGED;
      return applyUpdate(transaction, key, update, value);
    });
    const outcome = isLarge(update.value) ? await withPrepared(keys, [update.value], ([prepared]) => commit(prepared)) : await commit(update.value);
    if (outcome !== CHANGED) return outcome as T;
  }
}

function applyUpdate<T>(transaction: KeyTransaction, key: Buffer, update: Update<T>, value: Buffer | PreparedValue | null | undefined): T {
  if (value === null) transaction.delete(key);
  else if (value !== undefined) transaction.set(key, value, { expiresMs: update.expiresMs });
  else transaction.expire(key, update.expiresMs);
  return update.result;
}

function isLarge(value: Buffer | null | undefined): value is Buffer {
  return value !== null && value !== undefined && value.length > LIMITS.inlineBytesMax;
}

/** Of nothing, for a reply that says so. */
export function writeBulkOrNil(reply: ReplyWriter, value: Buffer | undefined): void {
  if (value === undefined) reply.nil();
  else reply.bulk(value);
}
