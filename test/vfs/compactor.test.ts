// Files chopped into very many pieces: what a row of extents may come to, and that nothing of the bytes changes.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { chunksFrom } from '../../src/metadata/extents.ts';
import { totalReserved } from '../../src/metadata/reservations.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const COUNT = LIMITS.chunkExtentsHard + 300;
const STRIDE = 100;

describe('a file in very many pieces', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(async () => {
    harness.blocks.failure = undefined;
    await harness.end();
  });

  const create = async (name: string): Promise<InodeNumber> => (await harness.fs.create(ROOT_INODE, Buffer.from(name), { mode: 0o100644, exclusive: true, truncate: false }, harness.caller())).inode;
  const write = async (inode: InodeNumber, offset: number, bytes: Buffer): Promise<number> => harness.fs.write(inode, offset, bytes, PLAIN_WRITE, harness.caller());
  const read = async (inode: InodeNumber, bytes: number): Promise<Buffer> => Buffer.concat(await harness.fs.read(inode, 0, bytes));
  const mostExtents = (inode: InodeNumber): number => Math.max(...chunksFrom(harness.engine.reader, inode, 0, 100).map(({ extents }) => extents));
  const blocksOf = (inode: InodeNumber): number => (harness.fs.getAttributes(inode) as { blocks: number }).blocks;

  it('written a byte here and a byte there, keeps its rows of extents bounded', async () => {
    const file = await create('f');
    const wanted = Buffer.alloc(COUNT * STRIDE);
    for (let index = 0; index < COUNT; index++) {
      wanted[index * STRIDE] = 7;
      await write(file, index * STRIDE, Buffer.of(7));
    }
    expect(mostExtents(file)).toBeLessThanOrEqual(LIMITS.chunkExtentsHard);
    await harness.context.compactor.run();
    expect(mostExtents(file)).toBeLessThan(5);
    expect((await read(file, wanted.length)).equals(wanted.subarray(0, wanted.length - STRIDE + 1))).toBe(true);
  });

  it.each(['punched', 'copied'] as const)('%s a byte here and a byte there, keeps them bounded too', async (how) => {
    const [file, source] = [await create('f'), await create('source')];
    const wanted = Buffer.alloc(COUNT * STRIDE, 3);
    await write(file, 0, wanted);
    await write(source, 0, Buffer.from('abc'));
    for (let index = 0; index < COUNT; index++) {
      wanted[index * STRIDE] = how === 'punched' ? 0 : 0x62;
      if (how === 'punched') await harness.fs.fallocate(file, 'punchHole', index * STRIDE, 1, harness.caller());
      else await harness.fs.copyRange({ inode: source, offset: 1 }, { inode: file, offset: index * STRIDE }, 1, harness.caller());
    }
    expect(mostExtents(file)).toBeLessThanOrEqual(LIMITS.chunkExtentsHard + 2);
    expect((await read(file, wanted.length)).equals(wanted)).toBe(true);
  });

  it('keeps its holes of whole pages, and those of a file in few pieces to the byte', async () => {
    const [many, few] = [await create('many'), await create('few')];
    for (let index = 0; index < 300; index++) await write(many, index * STRIDE, Buffer.of(7));
    await write(many, 900_000, Buffer.of(7));
    for (let index = 0; index < 100; index++) await write(few, index * STRIDE, Buffer.of(7));
    await harness.context.compactor.run();
    expect(harness.fs.seek(many, 0, 'hole')).toBe(299 * STRIDE + 1);
    expect(harness.fs.seek(many, 299 * STRIDE + 1, 'data')).toBe(900_000);
    expect(harness.fs.seek(few, 0, 'hole')).toBe(1);
    expect(mostExtents(few)).toBe(100);
  });

  it('uses what was set aside in the holes that become zeros', async () => {
    const file = await create('f');
    const bytes = 300 * STRIDE;
    await harness.fs.fallocate(file, 'allocate', 0, bytes, harness.caller());
    for (let index = 0; index < 300; index++) await write(file, index * STRIDE, Buffer.of(7));
    const before = blocksOf(file);
    await harness.context.compactor.run();
    expect(mostExtents(file)).toBe(1);
    expect(blocksOf(file)).toBe(before);
    expect(harness.context.space.reservedBytes).toBe(STRIDE - 1);
    expect(totalReserved(harness.engine.reader)).toBe(STRIDE - 1);
  });

  it('is written all the same when the rewriting fails', async () => {
    const file = await create('f');
    const put = harness.blocks.put.bind(harness.blocks);
    harness.blocks.put = async () => { throw new FsError('ENOSPC', 'all disks are full'); };
    for (let index = 0; index < COUNT; index++) await write(file, index * STRIDE, Buffer.of(7));
    expect((await read(file, 1))[0]).toBe(7);
    harness.blocks.put = put;
    await write(file, 1, Buffer.of(8));
    await write(file, 2, Buffer.of(9));
    expect(mostExtents(file)).toBeLessThanOrEqual(LIMITS.chunkExtentsHard);
  });
});
