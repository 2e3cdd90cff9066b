// The rows of the keys: each decodable, with a row by time where it expires, counted, and older than the versions to come.
import { KEY_AREAS, expiryRange, expiryRowKey, keyCountName, keyOfKeyRow, keyRange } from '../metadata/key-rows.ts';
import type { KeyArea } from '../metadata/key-rows.ts';
import type { Row } from '../metadata/engine.ts';
import { PRESENT, keys } from '../metadata/schema.ts';
import { setAside } from './checker.ts';
import type { Checker } from './checker.ts';
import { readExpiryRow, readKeyRow, readNumber } from './decode.ts';
import { guarded } from './finding.ts';

/** The largest version that there is; 0 without keys. */
export async function checkKeys(checker: Checker): Promise<{ keys: number; versionMax: number }> {
  checker.begin('keys');
  const sums = { keys: 0, versionMax: 0 };
  for (const area of Object.values(KEY_AREAS)) {
    let count = 0;
    await checker.cursor(keyRange(area), { keyBytesMin: 1 }).each((row) => {
      checker.step();
      count++;
      sums.versionMax = Math.max(sums.versionMax, checkKey(checker, area, row));
    });
    await checker.cursor(expiryRange(area)).each((row) => checkExpiry(checker, area, row));
    checkCount(checker, area, count);
    if (area === KEY_AREAS.keys) sums.keys = count;
  }
  await checker.flush();
  return sums;
}

function checkKey(checker: Checker, area: KeyArea, row: Row): number {
  const record = readKeyRow(row);
  const name = keyOfKeyRow(row[0]);
  if (record === undefined) {
    checker.report({ kind: 'undecodable', subject: {}, detail: `the row of the key ${show(name)}`, repair: setAside(row) });
    return 0;
  }
  if (record.expiresMs === 0) return record.version;
  const byTime = expiryRowKey(area, record.expiresMs, name);
  if (checker.reader.get(byTime) === undefined) {
    checker.report({
      kind: 'keyExpiry', subject: {}, detail: `the key ${show(name)} is not in the order of expiry, at ${new Date(record.expiresMs).toISOString()}`,
      repair: guarded([row, [byTime, undefined]], (tx) => tx.put(byTime, PRESENT)),
    });
  }
  return record.version;
}

function checkExpiry(checker: Checker, area: KeyArea, row: Row): void {
  const expiry = readExpiryRow(row);
  if (expiry === undefined) return checker.report({ kind: 'undecodable', subject: {}, detail: `a row ${row[0].toString('hex')} in the order of expiry`, repair: setAside(row) });
  const key = Buffer.concat([Buffer.of(area.key), expiry.key]);
  const value = checker.reader.get(key);
  // What cannot be read has been reported, and keeps its row until it is set aside.
  if (value !== undefined && (readKeyRow([key, value])?.expiresMs ?? expiry.expiresMs) === expiry.expiresMs) return undefined;
  return checker.report({
    kind: 'keyExpiry', subject: {}, detail: `the key ${show(expiry.key)} is in the order of expiry, and ${value === undefined ? 'is not there' : 'goes at another time'}`,
    repair: guarded([row, [key, value]], (tx) => tx.delete(row[0])),
  });
}

function checkCount(checker: Checker, area: KeyArea, found: number): void {
  const value = checker.reader.get(keys.bookkeeping(keyCountName(area)));
  const counted = value === undefined ? 0 : readNumber(value) ?? 0;
  if (counted === found) return;
  checker.report({
    kind: 'keyCount', subject: {}, detail: `${counted} ${area === KEY_AREAS.keys ? 'keys' : 'leases'} are counted, and there are ${found}`,
    repair: ({ correctKeyCount }) => {
      correctKeyCount(area, found - counted);
      return true;
    },
  });
}

function show(name: Buffer): string {
  const text = name.toString();
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 61)}...` : text);
}
