// The whole check of the metadata, on the rows of one moment, in bounded memory.
import { ROOT_INODE } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import type { MetadataView } from '../metadata/engine.ts';
import { KEY_AREAS, KEY_VERSION_LEASE, keyCountName } from '../metadata/key-rows.ts';
import { LOCK_TYPE, SET_ASIDE_RANGE, SET_ASIDE_TYPE, rangeOfType, rowType } from '../metadata/row-types.ts';
import { BOOKKEEPING, encodeNumber, keys } from '../metadata/schema.ts';
import { checkBlocks } from './check-blocks.ts';
import { checkInodes } from './check-inodes.ts';
import { checkKeys } from './check-keys.ts';
import { checkNames } from './check-names.ts';
import { checkTree } from './check-tree.ts';
import { Checker, setAside } from './checker.ts';
import type { CheckOptions } from './checker.ts';
import { isLock, readNumber } from './decode.ts';
import { guarded } from './finding.ts';
import { remakeInode } from './remake-inode.ts';

const COUNTER_HI_BITS = 16;
const KEY_TYPES = 256;

export interface CheckSums {
  readonly inodes: number;
  readonly blocks: number;
  readonly keys: number;
  readonly reservedBytes: number;
  /** Rows that repairs have set aside so far. */
  readonly setAside: number;
}

/** `reservedBytes`: what the file system has counted at the moment of the view; undefined where nobody counts. */
export async function checkMetadata(view: MetadataView, options: CheckOptions & { readonly reservedBytes?: number | undefined }): Promise<CheckSums> {
  const checker = new Checker(view, options);
  checkRoot(checker);
  checkTypes(checker);
  const { inodes, reservedBytes, inodeMax } = await checkInodes(checker);
  if (inodes !== view.inodeCount) {
    const delta = inodes - view.inodeCount;
    checker.report({
      kind: 'inodeCount', subject: {}, detail: `${view.inodeCount} are counted, and there are ${inodes}`,
      repair: ({ correctInodeCount }) => {
        correctInodeCount(delta);
        return true;
      },
    });
  }
  if (options.reservedBytes !== undefined && options.reservedBytes !== reservedBytes) {
    const delta = reservedBytes - options.reservedBytes;
    checker.report({
      kind: 'reservation', subject: {}, detail: `${options.reservedBytes} bytes are counted as set aside in the volume, and files have ${reservedBytes}`,
      repair: ({ reserved }) => {
        reserved(delta);
        return true;
      },
    });
  }
  await checkNames(checker);
  await checkTree(checker);
  const { blocks, blockMax } = await checkBlocks(checker);
  const { keys: keyCount, versionMax } = await checkKeys(checker);
  await checkBookkeeping(checker);
  checkLeases(checker, { inodeMax, blockMax, versionMax });
  await checker.flush();
  let asideCount = 0;
  await checker.cursor(SET_ASIDE_RANGE, { keyBytesMin: 1 }).each(() => { asideCount++; });
  return { inodes, blocks, keys: keyCount, reservedBytes, setAside: asideCount };
}

function checkRoot(checker: Checker): void {
  const key = keys.inode(ROOT_INODE);
  if (checker.reader.get(key) !== undefined || checker.view.sequence === 0) return;
  checker.report({ kind: 'rootMissing', subject: { inode: ROOT_INODE }, detail: 'inode 1', repair: guarded([[key, undefined]], (tx) => remakeInode(tx, ROOT_INODE, 4)) });
}

/** Jumps from kind to kind. */
function checkTypes(checker: Checker): void {
  for (let type = 1; type < KEY_TYPES; type++) {
    const [row] = checker.reader.range(Buffer.of(type), type + 1 < KEY_TYPES ? Buffer.of(type + 1) : Buffer.alloc(300, 0xff), 1);
    if (row === undefined || rowType(row[0]) !== undefined || type === LOCK_TYPE || type === SET_ASIDE_TYPE) continue;
    checker.report({ kind: 'unknownRows', subject: {}, detail: `rows of kind ${type.toString(16)}` });
  }
}

/** Of the volume as a whole, and held locks. What is set aside of the former is made anew when the volume is opened again. */
async function checkBookkeeping(checker: Checker): Promise<void> {
  const numbers = new Set<string>([...Object.values(BOOKKEEPING), KEY_VERSION_LEASE, ...Object.values(KEY_AREAS).map(keyCountName)]);
  await checker.cursor(rangeOfType('bookkeeping'), { keyBytesMin: 1 }).each((row) => {
    const name = row[0].subarray(1).toString();
    // Of these what they hold is not a number, or does not matter.
    if (name === BOOKKEEPING.scrub || name === BOOKKEEPING.garbageHold || !numbers.has(name) || readNumber(row[1]) !== undefined) return;
    checker.report({ kind: 'undecodable', subject: {}, detail: `the bookkeeping row ${name}`, repair: setAside(row) });
  });
  await checker.cursor([Buffer.of(LOCK_TYPE), Buffer.of(LOCK_TYPE + 1)], { keyBytesMin: 1 }).each((row) => {
    if (!isLock(row)) checker.report({ kind: 'undecodable', subject: {}, detail: 'a held lock', repair: setAside(row) });
  });
  await checker.flush();
}

function checkLeases(checker: Checker, { inodeMax, blockMax, versionMax }: { readonly inodeMax: number; readonly blockMax: BlockId | undefined; readonly versionMax: number }): void {
  const check = (name: string, lowest: number, most: number): void => {
    const key = keys.bookkeeping(name);
    const value = checker.reader.get(key);
    const lease = value === undefined ? lowest : readNumber(value);
    if (lease === undefined || lease > most) return;
    checker.report({
      kind: 'lease', subject: {}, detail: `${name} says that numbers below ${lease} may be in use, and ${most} is`,
      // The driver has the old number in its memory.
      repair: (tools) => tools.exclusive && guarded([[key, value]], (tx) => tx.put(key, encodeNumber(most + 1)))(tools),
    });
  };
  check(BOOKKEEPING.inodeLease, ROOT_INODE + 1, inodeMax);
  check(KEY_VERSION_LEASE, 1, versionMax);
  const value = checker.reader.get(keys.bookkeeping(BOOKKEEPING.blockEpoch));
  const epoch = value === undefined ? 0 : readNumber(value);
  if (epoch === undefined) return;
  if (blockMax === undefined || blockMax.hi >>> COUNTER_HI_BITS < epoch) return;
  const counter = (blockMax.hi & 0xffff) * 0x1_0000_0000 + blockMax.lo;
  if (blockMax.hi >>> COUNTER_HI_BITS === epoch) check(BOOKKEEPING.blockLease, 1, counter);
  else check(BOOKKEEPING.blockEpoch, 0, blockMax.hi >>> COUNTER_HI_BITS);
}

