// POSIX semantics on inode numbers, without a kernel.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InodeNumber } from '../../src/base/ids.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { mappings } from '../../src/metadata/extents.ts';
import { FsError } from '../../src/base/errors.ts';
import { getInode, putInode } from '../../src/vfs/context.ts';
import type { Attributes, Caller, DirectoryEntry } from '../../src/vfs/filesystem.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const name = (text: string): Buffer => Buffer.from(text);

describe('the local file system', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(() => harness.end());

  const createAs = (text: string, parent: InodeNumber, caller: Caller): Attributes =>
    harness.fs.create(parent, name(text), { mode: 0o100644, exclusive: true, truncate: false }, caller) as Attributes;
  const create = (text: string, parent = ROOT_INODE): InodeNumber => createAs(text, parent, harness.caller()).inode;
  const makeDirectory = (text: string, parent = ROOT_INODE): InodeNumber => harness.fs.makeDirectory(parent, name(text), 0o755, harness.caller()).inode;
  const write = async (inode: InodeNumber, offset: number, data: Buffer): Promise<number> => harness.fs.write(inode, offset, data, PLAIN_WRITE, harness.caller());
  const read = async (inode: InodeNumber, offset: number, bytes: number): Promise<Buffer> => Buffer.concat(await harness.fs.read(inode, offset, bytes));
  const list = (inode: InodeNumber, cookie = 0): DirectoryEntry[] => {
    const entries: DirectoryEntry[] = [];
    harness.fs.readDirectory(inode, cookie, { attributes: true }, (entry) => entries.push({ ...entry, name: Buffer.from(entry.name) }) > 0);
    return entries;
  };
  const codeOf = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return error instanceof FsError ? error.code : String(error);
    }
    return 'none';
  };

  it('reads what was written, over holes, small and large, and to the end only', async () => {
    const file = create('f');
    const large = Buffer.alloc(3 * 1024 * 1024 + 17, 5);
    await write(file, 100, large);
    await write(file, 5_000_000, Buffer.from('tail'));
    await write(file, 2_000_000, Buffer.from('middle'));
    const all = await read(file, 0, 10_000_000);
    const wanted = Buffer.concat([Buffer.alloc(100), large, Buffer.alloc(5_000_000 - 100 - large.length), Buffer.from('tail')]);
    wanted.set(Buffer.from('middle'), 2_000_000);
    expect(all.equals(wanted)).toBe(true);
    expect(await read(file, 5_000_004, 10)).toHaveLength(0);
    expect(harness.fs.getAttributes(file).size).toBe(5_000_004);
  });

  it('gives EMLINK for one link too many, and lets directories have more', () => {
    const file = create('f');
    const inner = makeDirectory('d');
    harness.engine.transact(null, (tx) => {
      putInode(tx, { ...getInode(tx, file), links: LIMITS.linksMax });
      putInode(tx, { ...getInode(tx, inner), links: LIMITS.linksMax });
    });
    expect(codeOf(() => harness.fs.link(file, ROOT_INODE, name('g'), harness.caller()))).toBe('EMLINK');
    makeDirectory('below', inner);
    expect(harness.fs.getAttributes(inner).links).toBe(LIMITS.linksMax + 1);
  });

  it('shows zeros, never old bytes, behind a truncation that is grown again', async () => {
    const file = create('f');
    await write(file, 0, Buffer.alloc(10_000, 7));
    harness.fs.setAttributes(file, { size: 100 }, harness.caller());
    harness.fs.setAttributes(file, { size: 10_000 }, harness.caller());
    expect((await read(file, 0, 20_000)).equals(Buffer.concat([Buffer.alloc(100, 7), Buffer.alloc(9_900)]))).toBe(true);
  });

  it('reads right while files chopped into thousands of extents are rewritten', async () => {
    const file = create('f');
    const wanted = Buffer.alloc(2 * 1024 * 1024, 1);
    await write(file, 0, wanted);
    for (let index = 0; index < 5000; index++) {
      const at = (index * 7919 * 13) % (wanted.length - 50);
      wanted.fill(index & 0xff, at, at + 50);
      await write(file, at, wanted.subarray(at, at + 50));
      if (index % 1000 === 999) await harness.context.compactor.run();
    }
    await harness.context.compactor.run();
    expect((await read(file, 0, wanted.length)).equals(wanted)).toBe(true);
    for (const chunk of [0, 1]) {
      const piecesOfChunk = mappings(harness.engine.reader, file, chunk * 1024 * 1024, 1024 * 1024);
      expect(piecesOfChunk.length).toBeLessThanOrEqual(LIMITS.chunkExtentsMax);
    }
    harness.fs.unlink(ROOT_INODE, name('f'), harness.caller());
    harness.fs.forget(file, 1);
    await harness.context.durability.stop();
    expect(harness.blocks.stored.size).toBe(0);
  });

  it('shrinks, punches and frees files of thousands of chunks in bounded steps', async () => {
    const file = create('f');
    const chunk = 1024 * 1024;
    for (let index = 0; index < 1500; index++) await write(file, index * chunk * 2 + 5, Buffer.from('data'));
    expect(harness.fs.getAttributes(file).blocks).toBeGreaterThan(0);
    await harness.fs.fallocate(file, 'punchHole', 1, 1400 * chunk * 2, harness.caller());
    expect(harness.fs.seek(file, 0, 'data')).toBe(1400 * chunk * 2 + 5);
    await harness.fs.setAttributes(file, { size: 1450 * chunk * 2 }, harness.caller());
    await harness.fs.setAttributes(file, { size: 3000 * chunk }, harness.caller());
    expect(codeOf(() => harness.fs.seek(file, 1450 * chunk * 2, 'data'))).toBe('ENXIO');
    for (let index = 0; index < 1500; index++) await write(file, index * chunk * 2 + 5, Buffer.from('data'));
    harness.fs.unlink(ROOT_INODE, name('f'), harness.caller());
    harness.fs.forget(file, 1);
    while (harness.engine.inodeCount > 1) await new Promise((resolve) => { setImmediate(resolve); });
    expect(harness.context.pending.bytes).toBe(0);
  });

  it('frees, punches and copies files of tens of thousands of extents in records that fit', async () => {
    const chunk = 1024 * 1024;
    const make = async (text: string): Promise<InodeNumber> => {
      const file = create(text);
      for (let at = 0; at < 60; at++) for (let piece = 0; piece < 400; piece++) await write(file, at * chunk + piece * 2000, Buffer.from('data'));
      return file;
    };
    const file = await make('f');
    const copied = harness.fs.copyRange({ inode: file, offset: 0 }, { inode: create('copy'), offset: 0 }, 60 * chunk, harness.caller());
    expect(copied).toBeGreaterThan(0);
    expect(copied).toBeLessThan(60 * chunk);
    await harness.fs.fallocate(file, 'punchHole', 0, 60 * chunk, harness.caller());
    expect(codeOf(() => harness.fs.seek(file, 0, 'data'))).toBe('ENXIO');
    const other = await make('g');
    harness.fs.unlink(ROOT_INODE, name('g'), harness.caller());
    harness.fs.forget(other, 1);
    while (harness.engine.inodeCount > 3) await new Promise((resolve) => { setImmediate(resolve); });
    expect(codeOf(() => harness.fs.getAttributes(other))).toBe('ESTALE');
  });

  it('finds data and holes', async () => {
    const file = create('f');
    await write(file, 1_000_000, Buffer.alloc(100_000, 1));
    harness.fs.setAttributes(file, { size: 3_000_000 }, harness.caller());
    expect(harness.fs.seek(file, 0, 'data')).toBe(1_000_000);
    expect(harness.fs.seek(file, 1_050_000, 'data')).toBe(1_050_000);
    expect(harness.fs.seek(file, 1_000_000, 'hole')).toBe(1_100_000);
    expect(harness.fs.seek(file, 0, 'hole')).toBe(0);
    expect(codeOf(() => harness.fs.seek(file, 1_200_000, 'data'))).toBe('ENXIO');
    expect(codeOf(() => harness.fs.seek(file, 3_000_000, 'hole'))).toBe('ENXIO');
    harness.fs.fallocate(file, 'punchHole', 1_010_000, 10_000, harness.caller());
    expect(harness.fs.seek(file, 1_000_000, 'hole')).toBe(1_010_000);
    expect(harness.fs.seek(file, 1_010_000, 'data')).toBe(1_020_000);
  });

  it('copies a range by sharing its blocks, and keeps both sides right when one is changed', async () => {
    const source = create('s');
    const target = create('t');
    await write(source, 0, Buffer.alloc(2_500_000, 3));
    expect(harness.fs.copyRange({ inode: source, offset: 0 }, { inode: target, offset: 700_000 }, 2_500_000, harness.caller())).toBe(2_500_000);
    const stored = harness.blocks.stored.size;
    await write(source, 1_000_000, Buffer.alloc(4096, 9));
    expect(harness.blocks.stored.size).toBe(stored);
    expect((await read(target, 700_000, 2_500_000)).equals(Buffer.alloc(2_500_000, 3))).toBe(true);
    harness.fs.unlink(ROOT_INODE, name('s'), harness.caller());
    harness.fs.forget(source, 1);
    await harness.context.durability.stop();
    expect((await read(target, 700_000, 2_500_000)).equals(Buffer.alloc(2_500_000, 3))).toBe(true);
  });

  it('keeps link counts, directory sizes and times as POSIX says', () => {
    const directory = makeDirectory('d');
    expect(harness.fs.getAttributes(ROOT_INODE).links).toBe(3);
    const inner = makeDirectory('inner', directory);
    expect(harness.fs.getAttributes(directory).links).toBe(3);
    harness.fs.rename({ parent: directory, name: name('inner') }, { parent: ROOT_INODE, name: name('moved') }, 'replace', harness.caller());
    expect(harness.fs.getAttributes(directory).links).toBe(2);
    expect(harness.fs.getAttributes(ROOT_INODE).links).toBe(4);
    expect(harness.fs.lookup(inner, name('..')).inode).toBe(ROOT_INODE);
    const file = create('f', inner);
    harness.fs.link(file, ROOT_INODE, name('hard'), harness.caller());
    expect(harness.fs.getAttributes(file).links).toBe(2);
    expect(codeOf(() => harness.fs.removeDirectory(ROOT_INODE, name('moved'), harness.caller()))).toBe('ENOTEMPTY');
    harness.fs.unlink(inner, name('f'), harness.caller());
    harness.fs.removeDirectory(ROOT_INODE, name('moved'), harness.caller());
    expect(harness.fs.getAttributes(ROOT_INODE).links).toBe(3);
    expect(codeOf(() => create('late', inner))).toBe('ENOENT');
  });

  it('renames with all of rename2: replace, no-replace, exchange, whiteout', () => {
    const one = create('one');
    const two = create('two');
    expect(codeOf(() => harness.fs.rename({ parent: ROOT_INODE, name: name('one') }, { parent: ROOT_INODE, name: name('two') }, 'noReplace', harness.caller()))).toBe('EEXIST');
    harness.fs.rename({ parent: ROOT_INODE, name: name('one') }, { parent: ROOT_INODE, name: name('two') }, 'exchange', harness.caller());
    expect(harness.fs.lookup(ROOT_INODE, name('one')).inode).toBe(two);
    harness.fs.rename({ parent: ROOT_INODE, name: name('one') }, { parent: ROOT_INODE, name: name('two') }, 'whiteout', harness.caller());
    expect(harness.fs.lookup(ROOT_INODE, name('two')).inode).toBe(two);
    expect(harness.fs.lookup(ROOT_INODE, name('one'))).toMatchObject({ mode: 0o020000, device: 0 });
    expect(harness.context.orphans.has(one)).toBe(true);
    expect(list(ROOT_INODE).map((entry) => entry.name.toString()).toSorted()).toEqual(['.', '..', 'one', 'two']);
  });

  it('lists every entry exactly once, from any cookie, while others come and go', () => {
    for (let index = 0; index < 600; index++) create(`file ${index}`);
    const entries = list(ROOT_INODE);
    expect(entries).toHaveLength(602);
    const half = entries[300] as DirectoryEntry;
    harness.fs.unlink(ROOT_INODE, (entries[10] as DirectoryEntry).name, harness.caller());
    harness.fs.unlink(ROOT_INODE, half.name, harness.caller());
    create('new');
    const rest = list(ROOT_INODE, half.cookie).map((entry) => entry.name.toString());
    expect(rest).toEqual([...entries.slice(301).map((entry) => entry.name.toString()), 'new']);
  });

  it('keeps an unlinked file until the kernel forgets it, then frees every block', async () => {
    const file = create('f');
    await write(file, 0, Buffer.alloc(2 * 1024 * 1024, 1));
    harness.fs.unlink(ROOT_INODE, name('f'), harness.caller());
    expect((await read(file, 0, 10)).equals(Buffer.alloc(10, 1))).toBe(true);
    expect(harness.fs.getAttributes(file).links).toBe(0);
    harness.fs.forget(file, 1);
    expect(codeOf(() => harness.fs.getAttributes(file))).toBe('ESTALE');
    await harness.context.durability.stop();
    expect(harness.blocks.stored.size).toBe(0);
    expect(harness.engine.inodeCount).toBe(1);
  });

  it('gives files of a set-group-ID directory its group, and directories the bit as well', () => {
    const directory = makeDirectory('d');
    harness.fs.setAttributes(directory, { mode: 0o2775, gid: 50 }, harness.caller());
    const caller = harness.caller({ uid: 7, gid: 8 });
    expect(createAs('f', directory, caller)).toMatchObject({ uid: 7, gid: 50 });
    expect(harness.fs.makeDirectory(directory, name('sub'), 0o755, harness.caller({ uid: 7, gid: 8 }))).toMatchObject({ gid: 50, mode: 0o042755 });
  });

  it('clears set-id bits and capabilities where Linux does', async () => {
    const file = create('f');
    harness.fs.setAttributes(file, { mode: 0o6755 }, harness.caller());
    harness.fs.setXattr(file, name('security.capability'), Buffer.from('x'), { mode: 'set', killSetgid: false }, harness.caller());
    await harness.fs.write(file, 0, Buffer.from('data'), { ...PLAIN_WRITE, killPrivileges: true }, harness.caller({ uid: 5 }));
    expect(harness.fs.getAttributes(file).mode).toBe(0o100755);
    expect(codeOf(() => harness.fs.getXattr(file, name('security.capability')))).toBe('ENODATA');
  });

  it('refuses names over 255 bytes, and takes any other bytes', () => {
    expect(codeOf(() => create('x'.repeat(256)))).toBe('ENAMETOOLONG');
    const odd = Buffer.from([0xff, 0xfe, 0x0a, 0x80, ...Buffer.alloc(251, 0x7f)]);
    const made = harness.fs.makeNode(ROOT_INODE, odd, { mode: 0o100600, device: 0 }, harness.caller());
    expect(harness.fs.lookup(ROOT_INODE, odd).inode).toBe(made.inode);
    expect(list(ROOT_INODE).some((entry) => entry.name.equals(odd))).toBe(true);
  });

  it('has a successor that sees all that was acknowledged, and does nothing twice', async () => {
    const caller = harness.caller();
    const made = createAs('f', ROOT_INODE, caller);
    await write(made.inode, 0, Buffer.from('small data'));
    await write(made.inode, 1 << 20, Buffer.alloc(100_000, 4));
    harness.fs.unlink(ROOT_INODE, name('f'), harness.caller());
    const again = harness.caller();
    createAs('g', ROOT_INODE, again);
    harness = await harness.successor();
    harness.fs.recoverOrphans({ free: false });
    expect((await read(made.inode, 0, 10)).toString()).toBe('small data');
    expect((await read(made.inode, 1 << 20, 200_000)).equals(Buffer.alloc(100_000, 4))).toBe(true);
    const replayed = createAs('g', ROOT_INODE, { ...again, resent: true });
    expect(replayed.inode).toBe(harness.fs.lookup(ROOT_INODE, name('g')).inode);
    expect(codeOf(() => createAs('g', ROOT_INODE, harness.caller()))).toBe('EEXIST');
    harness.fs.forget(made.inode, 1);
    expect(harness.engine.inodeCount).toBe(2);
  });

  it('refuses a write before it is acknowledged when it could not be kept', async () => {
    const file = create('f');
    harness.blocks.availableBytes = 4000;
    await expect(write(file, 0, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'ENOSPC' });
    harness.fs.unlink(ROOT_INODE, name('f'), harness.caller());
  });

  it('writes access times late, as relatime', async () => {
    const file = create('f');
    await write(file, 0, Buffer.from('x'));
    const before = harness.fs.getAttributes(file).accessed;
    await new Promise((resolve) => { setTimeout(resolve, 5); });
    await read(file, 0, 1);
    const after = harness.fs.getAttributes(file).accessed;
    expect(after).not.toEqual(before);
    await read(file, 0, 1);
    expect(harness.fs.getAttributes(file).accessed).toEqual(after);
  });
});
