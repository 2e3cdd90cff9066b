// fsck of the rows of keys: damage is found and repaired, and no value that may be wanted is forgotten.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { blockKey } from '../../src/base/ids.ts';
import { findBlockOwners } from '../../src/metadata/block-owners.ts';
import type { FindingKind } from '../../src/fsck/finding.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import type { Transaction } from '../../src/metadata/engine.ts';
import { KEY_AREAS, KEY_VERSION_LEASE, decodeKeyRecord, expiryRowKey, keyCountName, keyRange, keyRowKey } from '../../src/metadata/key-rows.ts';
import { BOOKKEEPING, PRESENT, SCHEMA_OF, decodeBlockRow, decodeNumber, encodeBlockRow, encodeNumber, keys } from '../../src/metadata/schema.ts';
import { describeRow, parseRow } from '../../src/dump/row-text.ts';
import { fsck, makeSample } from '../support/fsck-harness.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const AREA = KEY_AREAS.keys;
const LARGE = Buffer.alloc(2 ** 20 + 2 ** 18, 'large');
const LATER = Date.now() + 3_600_000;

let harness: Harness;
let space: LocalKeySpace;

function open(): void {
  const versions = new Versions(harness.engine, { leap: false });
  space = new LocalKeySpace(harness.context, { versions });
  const leases = new LocalKeySpace(harness.context, { versions, area: KEY_AREAS.leases });
  leases.transact((tx) => tx.set(Buffer.from('lease'), Buffer.alloc(0), { expiresMs: LATER }));
}

beforeEach(async () => {
  harness = await openHarness();
  await makeSample(harness);
  open();
  const large = await space.prepare(LARGE);
  space.transact((tx) => {
    tx.set(Buffer.alloc(0), Buffer.from('of the empty key'));
    tx.set(Buffer.from('small'), Buffer.from('value'));
    tx.set(Buffer.from('riding'), Buffer.alloc(4000, 'r'));
    tx.set(Buffer.from('large'), large);
    tx.set(Buffer.from('expires'), Buffer.from('soon'), { expiresMs: LATER });
  });
});
afterEach(async () => {
  await harness.end();
});

const damage = (work: (tx: Transaction) => void): void => harness.engine.transact(null, work);
const rowOf = (name: string): Buffer => keyRowKey(AREA, Buffer.from(name));
const blocksOf = (name: string) => decodeKeyRecord(harness.engine.reader.get(rowOf(name))!).blocks;
const kindsOf = (findings: readonly { kind: FindingKind }[]): FindingKind[] => findings.map(({ kind }) => kind).toSorted();

async function expectRepaired(...kinds: FindingKind[]): Promise<void> {
  expect(kindsOf((await fsck(harness)).findings)).toEqual(kinds.toSorted());
  expect((await fsck(harness, { repair: true })).left).toEqual([]);
  expect((await fsck(harness)).findings).toEqual([]);
}

test('nothing is found where nothing is wrong, whatever the size of its windows', async () => {
  for (const windowRows of [1, 2, 5, 1000]) expect((await fsck(harness, { windowRows })).findings).toEqual([]);
  expect((await fsck(harness)).sums.keys).toBe(5);
});

test('a volume with keys is of the schema that knows them, with files or without', async () => {
  expect(decodeNumber(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.schema))!)).toBe(SCHEMA_OF.keys);
});

test('blocks of keys are used, though no file names them', async () => {
  const id = blocksOf('large')[1]!.block;
  damage((tx) => tx.put(keys.garbage(id), PRESENT));
  await expectRepaired('garbageNeeded');
  damage((tx) => tx.put(keys.block(id), encodeBlockRow({ ...decodeBlockRow(tx.get(keys.block(id))!), references: 3, liveBytes: 1 })));
  await expectRepaired('blockCounts');
  damage((tx) => tx.delete(keys.block(id)));
  await expectRepaired('blockMissing');
  damage((tx) => tx.put(keys.block(id), encodeBlockRow({ ...decodeBlockRow(tx.get(keys.block(id))!), bytes: 10 })));
  await expectRepaired('blockBounds');
  expect((await space.load(space.get(Buffer.from('large'))!)).equals(LARGE)).toBe(true);
});

test('a block that no disk has is left alone, and the key is named', async () => {
  const id = blocksOf('large')[0]!.block;
  damage((tx) => tx.delete(keys.block(id)));
  harness.blocks.stored.delete(blockKey(id));
  const { left } = await fsck(harness, { repair: true });
  expect(left).toMatchObject([{ kind: 'blockMissing', examples: [{ detail: expect.stringContaining('the key "large"') }] }]);
});

test('a row that cannot be read is set aside, and its blocks stay', async () => {
  const row = harness.engine.reader.get(rowOf('large'))!;
  const kept = Buffer.concat([row.subarray(0, -3)]);
  damage((tx) => tx.put(rowOf('large'), kept));
  expect(kindsOf((await fsck(harness)).findings)).toEqual(expect.arrayContaining(['undecodable']));
  const { left, sums } = await fsck(harness, { repair: true });
  expect([left, sums.setAside]).toEqual([[], 1]);
  expect(harness.engine.reader.range(Buffer.of(0x50), Buffer.of(0x51), 1000).length).toBeGreaterThan(2);
  expect(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.garbageHold))).toBeDefined();
  expect((await fsck(harness)).findings).toEqual([]);
});

test('the row of an empty key is no short row, and is set aside once', async () => {
  damage((tx) => tx.put(rowOf(''), Buffer.from('rubbish')));
  const { sums } = await fsck(harness, { repair: true });
  expect(sums.setAside).toBe(1);
  expect((await fsck(harness, { repair: true })).sums.setAside).toBe(1);
});

test('the order of expiry follows the keys', async () => {
  damage((tx) => tx.delete(expiryRowKey(AREA, LATER, Buffer.from('expires'))));
  await expectRepaired('keyExpiry');
  expect(harness.engine.reader.get(expiryRowKey(AREA, LATER, Buffer.from('expires')))).toBeDefined();
  damage((tx) => {
    tx.put(expiryRowKey(AREA, LATER - 5, Buffer.from('expires')), PRESENT);
    tx.put(expiryRowKey(AREA, LATER, Buffer.from('small')), PRESENT);
    tx.put(expiryRowKey(AREA, LATER, Buffer.from('nobody')), PRESENT);
    tx.put(expiryRowKey(KEY_AREAS.leases, LATER, Buffer.from('nobody')), PRESENT);
  });
  await expectRepaired('keyExpiry');
  expect(space.get(Buffer.from('expires'))).toMatchObject({ expiresMs: LATER });
  damage((tx) => tx.put(Buffer.concat([Buffer.of(AREA.expiry), Buffer.from('short')]), PRESENT));
  await expectRepaired('undecodable');
});

test('keys are counted, and versions are not given out twice', async () => {
  damage((tx) => tx.put(keys.bookkeeping(keyCountName(AREA)), encodeNumber(77)));
  await expectRepaired('keyCount');
  expect(decodeNumber(harness.engine.reader.get(keys.bookkeeping(keyCountName(AREA)))!)).toBe(5);
  damage((tx) => tx.put(keys.bookkeeping(KEY_VERSION_LEASE), encodeNumber(2)));
  await expectRepaired('lease');
});

test('the count of a space that is open is put right for those who ask it', () => {
  space.correctCount(3);
  expect(space.count).toBe(8);
  space.correctCount(-3);
  expect(decodeNumber(harness.engine.reader.get(keys.bookkeeping(keyCountName(AREA)))!)).toBe(5);
});

test('keys are named as the owners of their blocks, with the bytes that lie there', async () => {
  const [, second] = blocksOf('large');
  const [riding] = blocksOf('riding');
  expect(await findBlockOwners(harness.engine.reader, [second!.block, riding!.block])).toEqual([
    { inode: 0, key: 'large', paths: [], ranges: [{ offset: 2 ** 20, bytes: 2 ** 18 }] },
    { inode: 0, key: 'riding', paths: [], ranges: [{ offset: 0, bytes: 4000 }] },
  ]);
});

test('rows of keys and leases are readable in a dump, and come back as they were', () => {
  for (const area of Object.values(KEY_AREAS)) {
    const rows = [...harness.engine.reader.range(...keyRange(area), 100), ...harness.engine.reader.range(Buffer.of(area.expiry), Buffer.of(area.expiry + 1), 100)];
    expect(rows.length).toBeGreaterThan(1);
    for (const row of rows) {
      const described = describeRow(row);
      expect(described['row']).not.toBe('raw');
      expect(parseRow(JSON.parse(JSON.stringify(described)) as typeof described)).toEqual(row);
    }
  }
  expect(describeRow([rowOf('small'), harness.engine.reader.get(rowOf('small'))!])).toMatchObject({ row: 'key', key: 'small', value: 'value' });
});
