// The kinds of rows by the first byte of their keys, for what goes over all rows: fsck, dump and load.
//
//   f0 key   u8 version, value    a row that fsck set aside: it could not be decoded, or contradicted others. Never read
import { KEY_AREAS } from './key-rows.ts';
import { PRESENT, TYPE } from './schema.ts';

const TYPES = { ...TYPE, key: KEY_AREAS.keys.key, keyExpiry: KEY_AREAS.keys.expiry, lease: KEY_AREAS.leases.key, leaseExpiry: KEY_AREAS.leases.expiry } as const;

export type RowType = keyof typeof TYPES;

/** Held locks: locks/lock-rows.ts. */
export const LOCK_TYPE = 0x80;
export const SET_ASIDE_TYPE = 0xf0;

const NAMES = new Map<number, RowType>(Object.entries(TYPES).map(([name, number]) => [number, name as RowType]));

/** Undefined for locks, rows that were set aside, and what a newer sdfs may have. */
export function rowType(key: Buffer): RowType | undefined {
  return NAMES.get(key[0]!);
}

/** All rows of a kind, as a half-open range of keys. */
export function rangeOfType(type: RowType): readonly [start: Buffer, end: Buffer] {
  return [Buffer.of(TYPES[type]), Buffer.of(TYPES[type] + 1)];
}

export const SET_ASIDE_RANGE = [Buffer.of(SET_ASIDE_TYPE), Buffer.of(SET_ASIDE_TYPE + 1)] as const;

export function setAsideKey(key: Buffer): Buffer {
  return Buffer.concat([Buffer.of(SET_ASIDE_TYPE), key]);
}

/** Any bytes: that they cannot be decoded is why they are here. */
export function setAsideValue(value: Buffer): Buffer {
  return Buffer.concat([PRESENT, value]);
}
