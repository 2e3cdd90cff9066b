// The bookkeeping rows, made fit before anything believes them: one that cannot be read would keep the driver from starting,
// and with it fsck; a lease below numbers that are in use would give them out twice.
//
// What cannot be read is set aside byte for byte. Numbers in its place are such as nobody can have used; what they skip is
// not missed.
import { ROOT_INODE } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { BLOCK_EPOCH_LEAP, INODE_LEAP } from '../metadata/allocator.ts';
import type { MetadataEngine, Reader, Transaction } from '../metadata/engine.ts';
import { KEY_AREAS, KEY_VERSION_LEASE, decodeKeyHead, keyCountName, keyRange } from '../metadata/key-rows.ts';
import { pagesOf } from '../metadata/look-through.ts';
import { rangeOfType, setAsideKey, setAsideValue } from '../metadata/row-types.ts';
import { BOOKKEEPING, SCHEMA_VERSION, blockOfKey, decodeBytes, decodeNumber, encodeNumber, keys, numberOfKey } from '../metadata/schema.ts';

const COUNTER_HI_BITS = 16;
const NUMBER_BYTES = 16;

/** Names of the rows that were not as they should be; they are now. */
export function mendBookkeeping(engine: MetadataEngine, logger: Logger): string[] {
  const { reader } = engine;
  const unreadable = new Set(namesOf().filter((name) => !isReadable(reader, name)));
  const low = lowLeases(reader, unreadable);
  const mended = [...new Set([...unreadable, ...low.keys()])];
  if (mended.length === 0) return mended;
  engine.transact(null, (tx) => {
    for (const name of unreadable) takeAway(tx, name);
    for (const [name, number] of low) tx.put(keys.bookkeeping(name), encodeNumber(number));
    if (unreadable.has(BOOKKEEPING.schema)) tx.put(keys.bookkeeping(BOOKKEEPING.schema), encodeNumber(SCHEMA_VERSION));
    // Whatever damaged these may have damaged rows that name blocks.
    tx.put(keys.bookkeeping(BOOKKEEPING.garbageHold), encodeNumber(Date.now()));
  });
  logger.error({ rows: mended }, 'bookkeeping of the metadata was damaged and is made anew; unknown blocks are kept: run "sdfs fsck"');
  return mended;
}

function namesOf(): string[] {
  return [...Object.values(BOOKKEEPING), KEY_VERSION_LEASE, ...Object.values(KEY_AREAS).map(keyCountName)];
}

function isReadable(reader: Reader, name: string): boolean {
  const value = reader.get(keys.bookkeeping(name));
  if (value === undefined) return true;
  try {
    if (name === BOOKKEEPING.scrub) return typeof JSON.parse(decodeBytes(value).toString()) === 'object';
    return value.length === NUMBER_BYTES && Number.isSafeInteger(decodeNumber(value));
  } catch {
    return false;
  }
}

/** Leases with the numbers that they should have. */
function lowLeases(reader: Reader, unreadable: ReadonlySet<string>): Map<string, number> {
  const low = new Map<string, number>();
  const numberOf = (name: string): number | undefined => {
    const value = unreadable.has(name) ? undefined : reader.get(keys.bookkeeping(name));
    return value === undefined ? undefined : decodeNumber(value);
  };
  const inode = lastKey(reader, 'inode');
  const inodeMax = inode === undefined ? ROOT_INODE : numberOfKey(inode);
  if ((numberOf(BOOKKEEPING.inodeLease) ?? ROOT_INODE + 1) <= inodeMax || unreadable.has(BOOKKEEPING.inodeLease)) low.set(BOOKKEEPING.inodeLease, inodeMax + 1 + INODE_LEAP);
  const block = lastKey(reader, 'block');
  const { hi, lo } = block === undefined ? { hi: 0, lo: 0 } : blockOfKey(block);
  const epoch = numberOf(BOOKKEEPING.blockEpoch) ?? 0;
  const epochMax = hi >>> COUNTER_HI_BITS;
  const counterMax = (hi & 0xffff) * 0x1_0000_0000 + lo;
  const isLow = epoch < epochMax || (epoch === epochMax && (numberOf(BOOKKEEPING.blockLease) ?? 1) <= counterMax);
  if (isLow || unreadable.has(BOOKKEEPING.blockEpoch) || unreadable.has(BOOKKEEPING.blockLease)) low.set(BOOKKEEPING.blockEpoch, Math.max(epoch, epochMax) + BLOCK_EPOCH_LEAP);
  if (unreadable.has(KEY_VERSION_LEASE)) low.set(KEY_VERSION_LEASE, highestVersion(reader) + 1);
  return low;
}

function lastKey(reader: Reader, type: 'inode' | 'block'): Buffer | undefined {
  const key = reader.range(...rangeOfType(type), 1, 'backward')[0]?.[0];
  // One that is no key of its kind is fsck's to deal with.
  return key === undefined || key.length !== 9 ? undefined : key;
}

function highestVersion(reader: Reader): number {
  let highest = 0;
  for (const area of Object.values(KEY_AREAS)) {
    for (const rows of pagesOf(reader, keyRange(area))) {
      for (const [, value] of rows) {
        try {
          highest = Math.max(highest, decodeKeyHead(value).version);
        } catch {
          // A row that cannot be read has no version.
        }
      }
    }
  }
  return highest;
}

function takeAway(tx: Transaction, name: string): void {
  const key = keys.bookkeeping(name);
  const value = tx.get(key);
  if (value === undefined) return;
  tx.put(setAsideKey(key), setAsideValue(Buffer.from(value)));
  tx.delete(key);
}
