// The ranges that one owner holds of one file: what taking and giving up a range does to them. No state, no effects.
import type { ByteRange, LockMode } from './lock-engine.ts';

/** One lock of an owner, never changed. An owner's segments are sorted and do not overlap. */
export interface Segment extends ByteRange {
  readonly mode: LockMode;
  readonly handle: bigint;
  readonly pid: number;
}

/** Segments that go and segments that come, at the place `at` of the owner's list. Both empty: nothing changes. */
export interface SegmentChange {
  readonly at: number;
  readonly removed: readonly Segment[];
  readonly added: readonly Segment[];
}

const NO_CHANGE: SegmentChange = { at: 0, removed: [], added: [] };

/** Index of the first segment that ends at or behind `position`. */
export function indexFrom(held: readonly Segment[], position: bigint): number {
  let low = 0;
  let high = held.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (held[middle]!.last < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * `segment` takes the place of what is held in its range: upgrades, downgrades, splits. It grows over neighbours of
 * its mode; those taken through another open file stay apart, since they end with that one.
 */
export function put(held: readonly Segment[], segment: Segment): SegmentChange {
  let at = indexFrom(held, segment.first - 1n);
  const removed: Segment[] = [];
  const added: Segment[] = [];
  let { first, last } = segment;
  let behind: Segment | undefined;
  for (let index = at; index < held.length; index++) {
    const other = held[index]!;
    if (other.first > segment.last + 1n) break;
    if (other.mode === segment.mode && other.handle === segment.handle) {
      if (other.first <= segment.first && other.last >= segment.last) return NO_CHANGE;
      if (other.first < first) first = other.first;
      if (other.last > last) last = other.last;
    } else if (other.last < segment.first) {
      at = index + 1;
      continue;
    } else if (other.first > segment.last) {
      break;
    } else {
      if (other.first < segment.first) added.push({ ...other, last: segment.first - 1n });
      if (other.last > segment.last) behind = { ...other, first: segment.last + 1n };
    }
    removed.push(other);
  }
  added.push({ ...segment, first, last });
  if (behind !== undefined) added.push(behind);
  return { at, removed, added };
}

/** What is held in `range` is given up. */
export function cut(held: readonly Segment[], range: ByteRange): SegmentChange {
  const at = indexFrom(held, range.first);
  const removed: Segment[] = [];
  const added: Segment[] = [];
  for (let index = at; index < held.length; index++) {
    const other = held[index]!;
    if (other.first > range.last) break;
    removed.push(other);
    if (other.first < range.first) added.push({ ...other, last: range.first - 1n });
    if (other.last > range.last) added.push({ ...other, first: range.last + 1n });
  }
  return { at, removed, added };
}

/**
 * The first segment that overlaps `range` and, for `mode` shared, is exclusive: what stands against another owner's
 * lock of that mode.
 */
export function against(held: readonly Segment[], range: ByteRange, mode: LockMode): Segment | undefined {
  for (let index = indexFrom(held, range.first); index < held.length; index++) {
    const other = held[index]!;
    if (other.first > range.last) return undefined;
    if (mode === 'exclusive' || other.mode === 'exclusive') return other;
  }
  return undefined;
}

/** `segment` with the neighbours that it would be one lock with, had they been taken through one open file. */
export function joined(held: readonly Segment[], segment: Segment): Segment {
  let { first, last } = segment;
  const at = indexFrom(held, segment.first);
  for (let index = at - 1; index >= 0 && held[index]!.mode === segment.mode && held[index]!.last === first - 1n; index--) first = held[index]!.first;
  for (let index = at + 1; index < held.length && held[index]!.mode === segment.mode && held[index]!.first === last + 1n; index++) last = held[index]!.last;
  return { ...segment, first, last };
}
