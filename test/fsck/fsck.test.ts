// fsck: each kind of damage is found, named by its path, repaired without losing what might be wanted, and then gone.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlockId, InodeNumber } from '../../src/base/ids.ts';
import { runFsck } from '../../src/fsck/fsck.ts';
import type { FindingKind } from '../../src/fsck/finding.ts';
import type { Transaction } from '../../src/metadata/engine.ts';
import { LOCK_TYPE, SET_ASIDE_RANGE } from '../../src/metadata/row-types.ts';
import { BOOKKEEPING, PRESENT, decodeBlockRow, decodeEntry, decodeExtents, decodeInode, encodeBlockRow, encodeEntry, encodeExtents, encodeInode, encodeListing, encodeNumber, encodeReservation, keys } from '../../src/metadata/schema.ts';
import type { Inode } from '../../src/metadata/schema.ts';
import { ROOT, fsck, fsckTools, makeSample } from '../support/fsck-harness.ts';
import type { Sample } from '../support/fsck-harness.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const name = (text: string): Buffer => Buffer.from(text);

describe('fsck', () => {
  let harness: Harness;
  let sample: Sample;

  beforeEach(async () => {
    harness = await openHarness();
    sample = await makeSample(harness);
  });
  afterEach(async () => {
    await harness.end();
  });

  const damage = (work: (tx: Transaction) => void): void => harness.engine.transact(null, work);
  const changeInode = (tx: Transaction, number: InodeNumber, change: (inode: Inode) => void): void => {
    const inode = decodeInode(number, tx.get(keys.inode(number))!);
    change(inode);
    tx.put(keys.inode(number), encodeInode(inode));
  };
  const extentsOf = (number: InodeNumber, chunk = 0) => decodeExtents(harness.engine.reader.get(keys.extents(number, chunk)));
  const read = async (number: InodeNumber, bytes: number): Promise<Buffer> => Buffer.concat(((await harness.fs.read(number, 0, bytes)) as readonly Uint8Array[]));
  const kindsOf = (findings: readonly { kind: FindingKind }[]): FindingKind[] => findings.map(({ kind }) => kind).toSorted();
  const child = (parent: InodeNumber, text: string): InodeNumber | undefined => {
    const row = harness.engine.reader.get(keys.entry(parent, name(text)));
    return row === undefined ? undefined : decodeEntry(row).inode;
  };

  /** Found as these kinds (at least the first), repaired, and then there is nothing. */
  const expectRepaired = async (...kinds: FindingKind[]): Promise<void> => {
    const before = await fsck(harness);
    expect(kindsOf(before.findings)).toEqual(expect.arrayContaining(kinds));
    const repaired = await fsck(harness, { repair: true });
    expect(repaired.left).toEqual([]);
    expect((await fsck(harness)).findings).toEqual([]);
  };

  it('finds nothing in a file system that is whole, whatever the size of its windows', async () => {
    for (const windowRows of [1, 2, 5, 1000]) expect((await fsck(harness, { windowRows })).findings).toEqual([]);
    const { sums } = await fsck(harness);
    expect(sums).toMatchObject({ inodes: 8, setAside: 0 });
  });

  it('sets bookkeeping and held locks that cannot be read aside', async () => {
    damage((tx) => {
      tx.put(keys.bookkeeping(BOOKKEEPING.inodeLease), name('7'));
      tx.put(keys.bookkeeping(BOOKKEEPING.lockMount), Buffer.alloc(16, 0xff));
      tx.put(Buffer.concat([Buffer.of(LOCK_TYPE), Buffer.alloc(20)]), PRESENT);
    });
    await expectRepaired('undecodable');
    expect((await fsck(harness)).sums.setAside).toBe(3);
  });

  it('looks at one moment while programs go on', async () => {
    let turns = 0;
    const report = await runFsck({
      engine: harness.engine, tools: fsckTools(harness), reservedBytes: () => harness.context.space.reservedBytes, onProgress: () => {},
      pause: async () => {
        const text = name(`new${turns++}`);
        const { inode } = await harness.fs.create(sample.directory, text, { mode: 0o600, exclusive: true, truncate: false }, harness.caller());
        await harness.fs.write(inode, 0, Buffer.from('x'), PLAIN_WRITE, harness.caller());
        if (turns % 2 === 0) harness.fs.unlink(sample.directory, text, harness.caller());
      },
    }, { repair: false, examplesMax: 5, windowRows: 2 });
    expect(turns).toBeGreaterThan(10);
    expect(report.findings).toEqual([]);
    expect((await fsck(harness)).findings.filter(({ kind }) => kind !== 'unnamed')).toEqual([]);
  });

  it('repairs counts by their difference, so that what programs do meanwhile is counted too', async () => {
    damage((tx) => changeInode(tx, sample.directory, (inode) => { inode.size += 5; }));
    let made = 0;
    const report = await runFsck({
      engine: harness.engine, tools: { ...fsckTools(harness), exclusive: false }, reservedBytes: () => harness.context.space.reservedBytes, onProgress: () => {},
      pause: async () => {
        if (made < 7) await harness.fs.create(sample.directory, name(`new${made++}`), { mode: 0o600, exclusive: true, truncate: false }, harness.caller());
      },
    }, { repair: true, examplesMax: 5 });
    expect(report.left).toEqual([]);
    expect(decodeInode(sample.directory, harness.engine.reader.get(keys.inode(sample.directory))!).size).toBe(3 + made);
  });

  it('names files by their paths', async () => {
    damage((tx) => changeInode(tx, sample.small, (inode) => { inode.allocatedBytes = 99; }));
    const { findings } = await fsck(harness);
    expect(findings).toMatchObject([{ kind: 'allocatedBytes', count: 1, examples: [{ paths: ['/dir/small'] }] }]);
  });

  it('sets wrong counts right', async () => {
    damage((tx) => {
      changeInode(tx, sample.directory, (inode) => { inode.size = 17; inode.nextCookie = 3; });
      changeInode(tx, sample.inner, (inode) => { inode.links = 9; });
      changeInode(tx, sample.twice, (inode) => { inode.links = 1; });
      changeInode(tx, sample.large, (inode) => { inode.allocatedBytes -= 5; });
      changeInode(tx, sample.link, (inode) => { inode.size = 1; });
      changeInode(tx, sample.aside, (inode) => { inode.flags = 0; });
    });
    await expectRepaired('directorySize', 'nextCookie', 'linkCount', 'allocatedBytes', 'linkTarget', 'attributeFlags');
    expect(decodeInode(sample.twice, harness.engine.reader.get(keys.inode(sample.twice))!).links).toBe(2);
  });

  it('lists names that listings leave out, and forgets listed names that are none', async () => {
    const entry = decodeEntry(harness.engine.reader.get(keys.entry(sample.directory, name('small')))!);
    damage((tx) => {
      tx.delete(keys.listing(sample.directory, entry.cookie));
      tx.put(keys.listing(sample.directory, 77), encodeListing({ inode: 999 as InodeNumber, type: 8, name: name('ghost') }));
    });
    await expectRepaired('nameUnlisted', 'nameListedOnly');
    expect(child(sample.directory, 'small')).toBe(sample.small);
    expect(child(sample.directory, 'ghost')).toBeUndefined();
  });

  it('makes a name anew from its listing', async () => {
    damage((tx) => tx.delete(keys.entry(sample.directory, name('small'))));
    await expectRepaired('nameListedOnly');
    expect(child(sample.directory, 'small')).toBe(sample.small);
  });

  it('believes the name where the listing says something else, and the inode where the name has another type', async () => {
    const entry = decodeEntry(harness.engine.reader.get(keys.entry(sample.directory, name('small')))!);
    const also = decodeEntry(harness.engine.reader.get(keys.entry(ROOT, name('large')))!);
    damage((tx) => {
      tx.put(keys.listing(sample.directory, entry.cookie), encodeListing({ inode: sample.large, type: 8, name: name('small') }));
      tx.put(keys.entry(ROOT, name('large')), encodeEntry({ ...also, type: 4 }));
    });
    await expectRepaired('nameMismatch', 'nameType');
  });

  it('takes names away that name nothing', async () => {
    damage((tx) => {
      tx.put(keys.entry(ROOT, name('gone')), encodeEntry({ inode: 5000 as InodeNumber, type: 8, cookie: 500 }));
      tx.put(keys.listing(ROOT, 500), encodeListing({ inode: 5000 as InodeNumber, type: 8, name: name('gone') }));
      changeInode(tx, ROOT, (inode) => { inode.size++; inode.nextCookie = 501; });
    });
    await expectRepaired('nameDangling');
    expect(child(ROOT, 'gone')).toBeUndefined();
  });

  it('brings files and directories without a name to lost+found, by their numbers', async () => {
    const large = decodeEntry(harness.engine.reader.get(keys.entry(ROOT, name('large')))!);
    const inner = decodeEntry(harness.engine.reader.get(keys.entry(sample.directory, name('inner')))!);
    damage((tx) => {
      tx.delete(keys.entry(ROOT, name('large')));
      tx.delete(keys.listing(ROOT, large.cookie));
      tx.delete(keys.entry(sample.directory, name('inner')));
      tx.delete(keys.listing(sample.directory, inner.cookie));
    });
    await expectRepaired('unnamed', 'directorySize');
    const found = child(ROOT, 'lost+found')!;
    expect(child(found, String(sample.large))).toBe(sample.large);
    expect(child(found, String(sample.inner))).toBe(sample.inner);
    expect(await read(sample.large, 10)).toEqual(Buffer.alloc(10, 1));
  });

  it('takes a directory out of a circle', async () => {
    const dir = decodeEntry(harness.engine.reader.get(keys.entry(ROOT, name('dir')))!);
    damage((tx) => {
      // dir moves into its own child.
      tx.delete(keys.entry(ROOT, name('dir')));
      tx.delete(keys.listing(ROOT, dir.cookie));
      tx.put(keys.entry(sample.inner, name('dir')), encodeEntry({ ...dir, cookie: 3 }));
      tx.put(keys.listing(sample.inner, 3), encodeListing({ inode: sample.directory, type: 4, name: name('dir') }));
      changeInode(tx, sample.directory, (inode) => { inode.parent = sample.inner; });
      changeInode(tx, sample.inner, (inode) => { inode.size = 1; inode.links = 3; inode.nextCookie = 4; });
      changeInode(tx, ROOT, (inode) => { inode.size--; inode.links--; });
    });
    await expectRepaired('circle');
    expect(child(sample.directory, 'small')).toBe(sample.small);
  });

  it('gives a directory one name and the right parent', async () => {
    const inner = decodeEntry(harness.engine.reader.get(keys.entry(sample.directory, name('inner')))!);
    damage((tx) => {
      tx.put(keys.entry(ROOT, name('second')), encodeEntry({ ...inner, cookie: 900 }));
      tx.put(keys.listing(ROOT, 900), encodeListing({ inode: sample.inner, type: 4, name: name('second') }));
      changeInode(tx, ROOT, (inode) => { inode.size++; inode.links++; inode.nextCookie = 901; });
      changeInode(tx, sample.directory, (inode) => { inode.parent = sample.large; });
    });
    await expectRepaired('directoryNames', 'parent');
    expect(child(ROOT, 'second')).toBeUndefined();
    expect(child(sample.directory, 'inner')).toBe(sample.inner);
  });

  it('keeps files that would be freed though they have names, and forgets orphans that do not exist', async () => {
    damage((tx) => {
      tx.put(keys.orphan(sample.small), PRESENT);
      tx.put(keys.orphan(7777 as InodeNumber), PRESENT);
    });
    await expectRepaired('orphanNamed', 'orphanDangling');
  });

  it('sets aside what cannot be read, and remakes files from what is left of them', async () => {
    damage((tx) => tx.put(keys.inode(sample.large), Buffer.from('not an inode')));
    await expectRepaired('undecodable');
    expect(child(ROOT, 'large')).toBe(sample.large);
    expect(await read(sample.large, 10)).toEqual(Buffer.alloc(10, 1));
    const aside = harness.engine.reader.range(...SET_ASIDE_RANGE, 10);
    expect(aside.map(([, value]) => value.subarray(1).toString())).toEqual(['not an inode']);
    expect((await fsck(harness)).sums.setAside).toBe(1);
  });

  it('remakes files and directories whose inode is gone', async () => {
    damage((tx) => {
      tx.delete(keys.inode(sample.large));
      tx.delete(keys.inode(sample.directory));
    });
    await expectRepaired('inodeLost', 'nameDangling');
    expect(await read(sample.large, 10)).toEqual(Buffer.alloc(10, 1));
    expect(child(sample.directory, 'small')).toBe(sample.small);
  });

  it('makes the root anew, with all that was in it', async () => {
    damage((tx) => tx.delete(keys.inode(ROOT)));
    await expectRepaired('rootMissing');
    expect(child(ROOT, 'large')).toBe(sample.large);
  });

  it('straightens extents that contradict each other, and keeps the row that did', async () => {
    const [extent] = extentsOf(sample.large);
    damage((tx) => tx.put(keys.extents(sample.large, 0), encodeExtents([extent!, { ...extent!, start: 5, bytes: 10 }])));
    await expectRepaired('extents', 'blockCounts');
    expect(extentsOf(sample.large)).toEqual([extent]);
  });

  it('makes a file as long as its data', async () => {
    damage((tx) => changeInode(tx, sample.large, (inode) => { inode.size = 5; }));
    await expectRepaired('behindEnd');
    expect(decodeInode(sample.large, harness.engine.reader.get(keys.inode(sample.large))!).size).toBe(3 * 2 ** 20);
  });

  it('sets aside rows that an inode of that type cannot have', async () => {
    damage((tx) => {
      tx.put(keys.linkTarget(sample.small), Buffer.concat([PRESENT, name('x')]));
      tx.put(keys.entry(sample.small, name('child')), encodeEntry({ inode: sample.large, type: 8, cookie: 3 }));
    });
    await expectRepaired('strayRow');
  });

  it('sets the accounts of space that is set aside right, the one of the volume too', async () => {
    damage((tx) => {
      const ranges = [{ start: 0, end: 4 * 2 ** 20 }];
      tx.put(keys.reservation(sample.aside), encodeReservation({ reservedBytes: 12, ranges }));
      changeInode(tx, sample.aside, (inode) => { inode.reservedBytes = 13; });
    });
    harness.context.space.reservedBytes = 4711;
    await expectRepaired('reservation');
    expect(decodeInode(sample.aside, harness.engine.reader.get(keys.inode(sample.aside))!).reservedBytes).toBe(3.5 * 2 ** 20);
    expect(harness.context.space.reservedBytes).toBe(3.5 * 2 ** 20);
  });

  it('knows blocks again that lie on a disk, and names the files of those that do not', async () => {
    const [one] = extentsOf(sample.large, 0);
    const [two] = extentsOf(sample.large, 1);
    damage((tx) => {
      tx.delete(keys.block(one!.block));
      tx.delete(keys.block(two!.block));
      tx.put(keys.garbage(one!.block), PRESENT);
    });
    harness.blocks.stored.delete([...harness.blocks.stored.keys()].find((key) => harness.blocks.stored.get(key)![0] === 2)!);
    const report = await fsck(harness, { repair: true });
    expect(report.left).toMatchObject([{ kind: 'blockMissing', count: 1, examples: [{ paths: ['/large'] }] }]);
    expect(decodeBlockRow(harness.engine.reader.get(keys.block(one!.block))!)).toEqual({ bytes: 2 ** 20, references: 1, liveBytes: 2 ** 20 });
    expect(await read(sample.large, 10)).toEqual(Buffer.alloc(10, 1));
    // So that the end of the test finds what it needs.
    damage((tx) => tx.put(keys.block(two!.block), encodeBlockRow({ bytes: 2 ** 20, references: 1, liveBytes: 2 ** 20 })));
  });

  it('sets counts and lengths of blocks right, and forgets blocks that nothing names, without deleting them', async () => {
    const unused: BlockId = { hi: 0, lo: 4000 };
    const [one] = extentsOf(sample.large, 0);
    const [two] = extentsOf(sample.large, 1);
    damage((tx) => {
      tx.put(keys.block(unused), encodeBlockRow({ bytes: 100, references: 1, liveBytes: 100 }));
      tx.put(keys.block(one!.block), encodeBlockRow({ bytes: 2 ** 20, references: 3, liveBytes: 7 }));
      tx.put(keys.block(two!.block), encodeBlockRow({ bytes: 10, references: 1, liveBytes: 2 ** 20 }));
      tx.put(keys.garbage(two!.block), PRESENT);
    });
    await expectRepaired('blockCounts', 'blockUnused', 'blockBounds', 'garbageNeeded');
    expect(harness.engine.reader.get(keys.block(unused))).toBeUndefined();
    expect(harness.engine.reader.get(keys.garbage(unused))).toBeUndefined();
    expect(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.garbageHold))).toBeDefined();
  });

  it('counts files anew, and raises leases that numbers have passed', async () => {
    harness.engine.correctInodeCount(10);
    damage((tx) => {
      tx.put(keys.bookkeeping(BOOKKEEPING.inodeLease), encodeNumber(3));
      tx.put(keys.bookkeeping(BOOKKEEPING.blockLease), encodeNumber(2));
    });
    await expectRepaired('inodeCount', 'lease');
  });

  it('keeps the bytes of a file whose extents are lost: no block goes before gc is asked for', async () => {
    const stored = harness.blocks.stored.size;
    damage((tx) => tx.delete(keys.extents(sample.large, 0)));
    await expectRepaired('allocatedBytes', 'blockUnused');
    await harness.context.durability.reclaim();
    expect(harness.blocks.stored.size).toBe(stored);
    expect(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.garbageHold))).toBeDefined();
  });

  it('says how many, and names some', async () => {
    damage((tx) => {
      for (let at = 0; at < 50; at++) tx.put(keys.orphan((9000 + at) as InodeNumber), PRESENT);
    });
    const { findings } = await fsck(harness, { examplesMax: 3 });
    expect(findings).toMatchObject([{ kind: 'orphanDangling', count: 50 }]);
    expect(findings[0]!.examples).toHaveLength(3);
    await expectRepaired('orphanDangling');
  });
});
