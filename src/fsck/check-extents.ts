// The extents of one file, chunk by chunk: in order, apart, within bounds; and the sums that its inode should have.
import { LIMITS } from '../base/limits.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { setAsideKey, setAsideValue } from '../metadata/row-types.ts';
import { encodeExtents, keys, secondOfKey } from '../metadata/schema.ts';
import type { Extent, Inode, Reservation } from '../metadata/schema.ts';
import type { Checker } from './checker.ts';
import { readExtents } from './decode.ts';
import { guarded, holdGarbage } from './finding.ts';

const CHUNK = LIMITS.fileChunkBytes;

export class ExtentSums {
  readonly reservation: Reservation | undefined;
  mappedBytes = 0;
  /** Where the last extent ends. */
  endBytes = 0;
  readonly #checker: Checker;
  readonly #number: InodeNumber;
  /** Bytes that extents map inside the ranges that are set aside. */
  #usedBytes = 0;

  constructor(checker: Checker, number: InodeNumber, reservation: Reservation | undefined) {
    this.#checker = checker;
    this.#number = number;
    this.reservation = reservation;
  }

  /** What should be set aside: the ranges, less what is used of them. */
  get wantedReserved(): number {
    let bytes = -this.#usedBytes;
    for (const { start, end } of this.reservation?.ranges ?? []) bytes += end - start;
    return bytes;
  }

  take(row: Row, inode: Inode | undefined): void {
    const extents = readExtents(row);
    if (extents === undefined) return this.#checker.reportRow('undecodable', row, `the extents of inode ${this.#number}`);
    const chunk = secondOfKey(row[0]);
    const good = withoutContradictions(extents);
    if (good !== undefined) this.#reportContradiction(row, chunk, good);
    // A file without its inode row is looked at when it has one again.
    if (inode === undefined) return undefined;
    for (const { start, bytes } of extents) {
      const from = chunk * CHUNK + start;
      this.mappedBytes += bytes;
      this.endBytes = Math.max(this.endBytes, from + bytes);
      for (const range of this.reservation?.ranges ?? []) this.#usedBytes += Math.max(0, Math.min(range.end, from + bytes) - Math.max(range.start, from));
    }
    return undefined;
  }

  #reportContradiction(row: Row, chunk: number, good: readonly Extent[]): void {
    const [key, value] = row;
    this.#checker.report({
      kind: 'extents', subject: { inode: this.#number }, detail: `inode ${this.#number}: the extents of chunk ${chunk} overlap, are out of order or out of bounds`,
      repair: guarded([[key, value]], (tx) => {
        holdGarbage(tx);
        tx.put(setAsideKey(key), setAsideValue(value));
        if (good.length > 0) tx.put(keys.extents(this.#number, chunk), encodeExtents(good));
        else tx.delete(key);
      }),
    });
  }
}

/** The extents in order, each cut where the one before ends; undefined when they are that already. */
function withoutContradictions(extents: readonly Extent[]): Extent[] | undefined {
  let end = 0;
  let right = true;
  for (const { start, bytes } of extents) {
    if (start < end || bytes === 0 || start + bytes > CHUNK) right = false;
    end = start + bytes;
  }
  if (right) return undefined;
  const good: Extent[] = [];
  end = 0;
  for (const extent of extents.toSorted((one, other) => one.start - other.start)) {
    const from = Math.max(extent.start, end);
    const to = Math.min(extent.start + extent.bytes, CHUNK);
    if (from >= to) continue;
    good.push({ start: from, bytes: to - from, block: extent.block, blockOffset: extent.blockOffset + (from - extent.start) });
    end = to;
  }
  return good;
}
