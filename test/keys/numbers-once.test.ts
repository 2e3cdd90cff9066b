// Versions, block ids and inode numbers are given out once: whatever becomes of the record that leases them.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { BlockId, DriverEpoch } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { Allocator } from '../../src/metadata/allocator.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';
import { openHarness } from '../support/vfs-harness.ts';

const asRoot = process.getuid?.() === 0;
const key = (text: string) => Buffer.from(text);
/** One segment of the journal fits, and no second one. */
const JOURNAL_BYTES = LIMITS.logSegmentBytes + 2 ** 20;
const VALUE = Buffer.alloc(LIMITS.rowValueBytesMax + 1, 'v');

/** What gives out numbers, as one number each. */
const GIVERS: readonly { readonly what: string; readonly open: (engine: LmdbEngine) => () => number }[] = [
  { what: 'a version', open: (engine) => { const versions = new Versions(engine, { leap: false }); return () => versions.next(); } },
  { what: 'a block id', open: (engine) => { const allocator = new Allocator(engine, { newBlockEpoch: false }); return () => numberOf(allocator.block()); } },
  { what: 'an inode number', open: (engine) => { const allocator = new Allocator(engine, { newBlockEpoch: false }); return () => allocator.inode(); } },
];

function numberOf({ hi, lo }: BlockId): number {
  return hi * 2 ** 32 + lo;
}

/** Records of less and less bytes until the journal takes none. */
function fillJournal(engine: LmdbEngine): void {
  for (let bytes = 2 ** 20; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    for (;;) {
      try {
        engine.transact(null, (tx) => tx.put(Buffer.of(0x90), Buffer.alloc(bytes)));
      } catch {
        break;
      }
    }
  }
}

describe.skipIf(!asRoot)('a lease for which the journal has no room', () => {
  test.each(GIVERS)('gives nobody $what that a successor gives out again', async ({ open }) => {
    const directory = mkdtempSync(join(tmpdir(), 'sdfs-once-'));
    const journalDirectory = join(directory, 'journal');
    mkdirSync(journalDirectory);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${JOURNAL_BYTES}`, 'tmpfs', journalDirectory]);
    onTestFinished(() => {
      execFileSync('umount', ['-l', journalDirectory]);
      rmSync(directory, { recursive: true });
    });
    const engineOf = (epoch: number) => LmdbEngine.open({ directory, journalDirectory, epoch: epoch as DriverEpoch }, () => {});
    const engine = await engineOf(1);
    const next = open(engine);
    fillJournal(engine);
    expect(next).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect(next).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    execFileSync('mount', ['-o', `remount,size=${3 * JOURNAL_BYTES}`, journalDirectory]);
    const given = [next(), next()];
    await engine.abandon();
    const successor = await engineOf(2);
    expect(open(successor)()).toBeGreaterThan(Math.max(...given));
    await successor.abandon();
  });
});

test('versions that leaped after a power cut do not come again, though nobody used one before the next opening', async () => {
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  expect(() => new Versions(harness.engine, { leap: true })).not.toThrow();
  harness = await harness.successor();
  const first = new Versions(harness.engine, { leap: false }).next();
  expect(first).toBeGreaterThan(2 ** 31);
  harness = await harness.successor();
  expect(new Versions(harness.engine, { leap: true }).next()).toBeGreaterThan(first + 2 ** 31);
});

test('the record of a lease comes before that of the group that uses it, and a process that dies between them leaves numbers unused', async () => {
  let harness = await openHarness();
  onTestFinished(() => harness.end());
  const spaceOf = () => new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  const space = spaceOf();
  const before = harness.engine.lastSequence;
  const given: number[] = [];
  space.group(() => { given.push(space.transact((tx) => tx.set(key('a'), VALUE))); });
  // Version, block, group.
  expect(harness.engine.lastSequence - before).toBe(3);
  const { engine } = harness;
  const dying = engine.transact.bind(engine);
  const late = new LocalKeySpace(harness.context, { versions: new Versions(engine, { leap: false }) });
  let abandoned: Promise<void> | undefined;
  expect(() => late.group(() => {
    given.push(late.transact((tx) => tx.set(key('b'), VALUE)));
    abandoned = engine.abandon();
  })).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
  await abandoned;
  expect(() => dying(null, (tx) => tx.put(Buffer.of(0x90), Buffer.of(1)))).toThrow('no more changes');
  harness = await harness.successor();
  const next = spaceOf();
  expect([next.get(key('a'))?.version, next.get(key('b'))]).toEqual([given[0], undefined]);
  expect(next.transact((tx) => tx.set(key('b'), VALUE))).toBeGreaterThan(Math.max(...given));
  const blocks = ['a', 'b'].map((name) => (next.get(key(name)) as unknown as { blocks: { block: BlockId }[] }).blocks.map(({ block }) => numberOf(block)));
  expect(new Set(blocks.flat()).size).toBe(2);
});

test('a group that fails behind a lease leaves nothing, and its numbers unused', async () => {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const space = new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  let failed = 0;
  expect(() => space.group(() => {
    failed = space.transact((tx) => tx.set(key('a'), VALUE));
    throw new Error('no');
  })).toThrow('no');
  expect([space.get(key('a')), space.count, harness.context.pending.bytes]).toEqual([undefined, 0, 0]);
  expect(space.transact((tx) => tx.set(key('a'), VALUE))).toBeGreaterThan(failed);
});
