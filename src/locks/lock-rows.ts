// Held locks as rows of the metadata: in the journal when they are granted, gone when the mount is another one.
//
//   key    0 u8 type 80 (metadata/schema.ts)  1 u64 inode  9 u8 kind: 0 fcntl, 1 flock  10 u64 owner  18 u64 first byte
//   value  0 u8 version  1 u8 exclusive  4 u32 pid  8 u64 last byte  16 u64 handle
//
// Keys are big-endian, values little-endian, as in the schema. The bookkeeping row 'lock-mount' names the mount.
import { FormatError } from '../base/errors.ts';
import type { DriverEpoch, InodeNumber } from '../base/ids.ts';
import type { MetadataEngine, Transaction } from '../metadata/engine.ts';
import { LOCK_TYPE } from '../metadata/row-types.ts';
import { BOOKKEEPING, decodeNumber, encodeNumber, keys, numberOfKey } from '../metadata/schema.ts';
import type { LockClaim } from './lock-engine.ts';
import type { LockChange } from './lock-table.ts';
import type { LockStore } from './machine-locks.ts';
import type { Segment } from './owned-ranges.ts';

const ROW_VERSION = 1;
const KEY_BYTES = 26;
const VALUE_BYTES = 24;
const ALL = [Buffer.of(LOCK_TYPE), Buffer.of(LOCK_TYPE + 1)] as const;
/** Rows that one transaction deletes, so that it fits in a log record. */
const DELETES_MAX = 8192;

/** The locks of the mount that began with driver `mountEpoch`; those of a former mount died with its kernel's files. */
export function lockRows(engine: MetadataEngine, mountEpoch: DriverEpoch): LockStore {
  return {
    *load() {
      const of = engine.reader.get(keys.bookkeeping(BOOKKEEPING.lockMount));
      if (of === undefined || decodeNumber(of) !== mountEpoch) beginMount(engine, mountEpoch);
      // One that cannot be read is nobody's: fsck finds it.
      for (const [key, value] of engine.reader.range(...ALL, Number.MAX_SAFE_INTEGER)) if (key.length === KEY_BYTES && value.length === VALUE_BYTES && value[0] === ROW_VERSION) yield { inode: numberOfKey(key) as InodeNumber, claim: decode(key, value) };
    },
    save(changes) {
      engine.transact(null, (tx) => {
        for (const change of changes) saveChange(tx, change);
      });
    },
  };
}

function beginMount(engine: MetadataEngine, mountEpoch: DriverEpoch): void {
  for (let rows = engine.reader.range(...ALL, DELETES_MAX); rows.length > 0; rows = engine.reader.range(...ALL, DELETES_MAX)) {
    engine.transact(null, (tx) => {
      for (const [key] of rows) tx.delete(key);
    });
  }
  engine.transact(null, (tx) => tx.put(keys.bookkeeping(BOOKKEEPING.lockMount), encodeNumber(mountEpoch)));
}

function saveChange(tx: Transaction, change: LockChange): void {
  for (const { first } of change.removed) tx.delete(keyOf(change, first));
  for (const segment of change.added) tx.put(keyOf(change, segment.first), valueOf(segment));
}

function keyOf({ inode, kind, owner }: LockChange, first: bigint): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES);
  key[0] = LOCK_TYPE;
  key.writeBigUInt64BE(BigInt(inode), 1);
  key[9] = kind === 'file' ? 1 : 0;
  key.writeBigUInt64BE(owner, 10);
  key.writeBigUInt64BE(first, 18);
  return key;
}

function valueOf({ mode, pid, last, handle }: Segment): Buffer {
  const value = Buffer.alloc(VALUE_BYTES);
  value[0] = ROW_VERSION;
  value[1] = mode === 'exclusive' ? 1 : 0;
  value.writeUInt32LE(pid, 4);
  value.writeBigUInt64LE(last, 8);
  value.writeBigUInt64LE(handle, 16);
  return value;
}

function decode(key: Buffer, value: Buffer): LockClaim {
  if (value[0] !== ROW_VERSION) throw new FormatError('lock', { wanted: `version ${ROW_VERSION}`, found: `version ${value[0]}` });
  return {
    kind: key[9] === 1 ? 'file' : 'range',
    owner: key.readBigUInt64BE(10),
    first: key.readBigUInt64BE(18),
    mode: value[1] === 1 ? 'exclusive' : 'shared',
    pid: value.readUInt32LE(4),
    last: value.readBigUInt64LE(8),
    handle: value.readBigUInt64LE(16),
  };
}
