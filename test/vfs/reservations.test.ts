// Space that fallocate sets aside: who may use it, what gives it back, and that the accounts are right after anything.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { totalReserved } from '../../src/metadata/reservations.ts';
import { BOOKKEEPING, SCHEMA_OF, SCHEMA_VERSION_FIRST, decodeNumber, keys } from '../../src/metadata/schema.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

describe('space set aside', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(() => harness.end());

  const create = async (name: string): Promise<InodeNumber> => (await harness.fs.create(ROOT_INODE, Buffer.from(name), { mode: 0o100644, exclusive: true, truncate: false }, harness.caller())).inode;
  const write = async (inode: InodeNumber, offset: number, bytes: number): Promise<void> => {
    await harness.fs.write(inode, offset, Buffer.alloc(bytes, 7), PLAIN_WRITE, harness.caller());
  };
  const fallocate = async (inode: InodeNumber, mode: Parameters<Harness['fs']['fallocate']>[1], offset: number, bytes: number): Promise<void> => harness.fs.fallocate(inode, mode, offset, bytes, harness.caller());
  const allocated = (inode: InodeNumber): number => harness.fs.getAttributes(inode).blocks * 512;
  const codeOf = (act: () => unknown): Promise<string> => Promise.resolve().then(act).then(() => 'done', (error: unknown) => (error instanceof FsError ? error.code : String(error)));
  const remove = async (name: string, inode: InodeNumber): Promise<void> => {
    harness.fs.unlink(ROOT_INODE, Buffer.from(name), harness.caller());
    harness.fs.forget(inode, 1);
    while (harness.engine.inodeCount > 1) await new Promise((resolve) => { setImmediate(resolve); });
  };

  it('is in st_blocks and off df, and a write into it changes neither', async () => {
    const file = await create('f');
    const before = (await harness.fs.statistics()).blocksAvailable;
    await fallocate(file, 'allocate', 0, 64 * MiB);
    expect(harness.fs.getAttributes(file)).toMatchObject({ size: 64 * MiB, blocks: (64 * MiB) / 512 });
    expect(before - (await harness.fs.statistics()).blocksAvailable).toBeGreaterThanOrEqual((64 * MiB) / 4096);
    await write(file, 5 * MiB, MiB);
    await write(file, 100, 300);
    expect(allocated(file)).toBe(64 * MiB);
    expect(harness.context.space.reservedBytes).toBe(63 * MiB - 300);
  });

  it('is refused when it is not there, and kept from others when it is', async () => {
    const [file, other] = [await create('f'), await create('other')];
    harness.blocks.availableBytes = 100 * MiB;
    expect(await codeOf(() => fallocate(file, 'allocate', 0, 200 * MiB))).toBe('ENOSPC');
    expect(harness.fs.getAttributes(file)).toMatchObject({ size: 0, blocks: 0 });
    await fallocate(file, 'allocate', 0, 50 * MiB);
    for (const bytes of [MiB, 100]) {
      harness.blocks.availableBytes = harness.context.space.reservedBytes;
      expect(await codeOf(() => write(other, 0, bytes))).toBe('ENOSPC');
      expect(await codeOf(() => write(file, 20 * bytes, bytes))).toBe('done');
    }
    expect(await codeOf(() => fallocate(other, 'keepSize', 0, MiB))).toBe('ENOSPC');
    expect(await codeOf(() => fallocate(file, 'keepSize', 0, 50 * MiB))).toBe('done');
  });

  it('does not take twice what is allocated already', async () => {
    const file = await create('f');
    await write(file, 0, 4 * MiB);
    await fallocate(file, 'allocate', 2 * MiB, 4 * MiB);
    expect(harness.context.space.reservedBytes).toBe(2 * MiB);
    await fallocate(file, 'keepSize', 0, 6 * MiB);
    expect(harness.context.space.reservedBytes).toBe(2 * MiB);
  });

  it('is given back by punching, truncating and removing', async () => {
    const file = await create('f');
    await fallocate(file, 'keepSize', 0, 32 * MiB);
    await write(file, 0, MiB);
    expect(harness.fs.getAttributes(file)).toMatchObject({ size: MiB, blocks: (32 * MiB) / 512 });
    await fallocate(file, 'punchHole', MiB / 2, 16 * MiB);
    expect(allocated(file)).toBe(16 * MiB);
    await harness.fs.setAttributes(file, { size: MiB }, harness.caller());
    expect(allocated(file)).toBe(MiB / 2);
    expect(harness.context.space.reservedBytes).toBe(0);
    await fallocate(file, 'keepSize', 8 * MiB, 8 * MiB);
    await harness.fs.setAttributes(file, { size: 12 * MiB }, harness.caller());
    expect(allocated(file)).toBe(8 * MiB + MiB / 2);
    await remove('f', file);
    expect(harness.context.space.reservedBytes).toBe(0);
    expect(totalReserved(harness.engine.reader)).toBe(0);
  });

  it('takes the place of data that is zeroed', async () => {
    const file = await create('f');
    await write(file, 0, 10 * MiB);
    await fallocate(file, 'zeroRange', MiB, 12 * MiB);
    expect(harness.fs.getAttributes(file)).toMatchObject({ size: 13 * MiB, blocks: (13 * MiB) / 512 });
    expect(harness.fs.seek(file, 0, 'hole')).toBe(MiB);
    expect(await codeOf(() => harness.fs.seek(file, MiB, 'data'))).toBe('ENXIO');
    expect(harness.context.space.reservedBytes).toBe(12 * MiB);
  });

  it('is remembered by a successor, and forgotten when it is used up', async () => {
    const file = await create('f');
    await fallocate(file, 'allocate', 0, 3 * MiB);
    harness = await harness.successor();
    expect(harness.context.space.reservedBytes).toBe(3 * MiB);
    for (let at = 0; at < 3; at++) await write(file, at * MiB, MiB);
    expect(harness.context.space.reservedBytes).toBe(0);
    expect(harness.engine.reader.get(keys.reservation(file))).toBeUndefined();
    expect(allocated(file)).toBe(3 * MiB);
  });

  it('makes the volume one of schema 2, which an older sdfs refuses, and a write does not', async () => {
    const schema = (): number => decodeNumber(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.schema)) as Buffer);
    const file = await create('f');
    await write(file, 0, 100);
    expect(schema()).toBe(SCHEMA_VERSION_FIRST);
    await fallocate(file, 'allocate', 0, MiB);
    expect(schema()).toBe(SCHEMA_OF.reservations);
  });

  it('is one row for a file of a petabyte', async () => {
    const file = await create('f');
    harness.blocks.availableBytes = 2 ** 52;
    await fallocate(file, 'allocate', 0, 2 ** 50);
    expect(harness.engine.reader.get(keys.reservation(file))?.length).toBe(32);
    await write(file, 2 ** 49, 5);
    expect(harness.context.space.reservedBytes).toBe(2 ** 50 - 5);
    await remove('f', file);
    expect(harness.context.space.reservedBytes).toBe(0);
  });

  it('has a limited number of ranges: then fallocate is refused, and punching keeps what it cannot split', async () => {
    const file = await create('f');
    for (let index = 0; index < LIMITS.reservationRangesMax; index++) await fallocate(file, 'keepSize', index * MiB, 8192);
    expect(await codeOf(() => fallocate(file, 'keepSize', 4096 * MiB, 1))).toBe('ENOSPC');
    await write(file, 0, 8192);
    const before = harness.context.space.reservedBytes;
    await fallocate(file, 'punchHole', 1000, 1000);
    expect(harness.context.space.reservedBytes).toBe(before + 1000);
  });

  it('is counted right after any sequence of operations', async () => {
    const seed = Number(process.env['SDFS_SEED'] ?? Date.now() % 1_000_000);
    console.info(`seed ${seed}`);
    let state = seed;
    const random = (below: number): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % below;
    const unit = 32 * KiB;
    const units = 256;
    const files = [await create('a'), await create('b')];
    const models = files.map(() => ({ size: 0, mapped: new Set<number>(), reserved: new Set<number>(), ranges: new Set<number>() }));
    for (let step = 0; step < 400; step++) {
      const which = random(2);
      const [file, model] = [files[which] as InodeNumber, models[which] as (typeof models)[0]];
      const from = random(units);
      const count = 1 + random(Math.min(units - from, 1 + random(64)));
      const all = Array.from({ length: count }, (_, index) => from + index);
      const range = [from * unit, count * unit] as const;
      const what = random(7);
      if (what === 0) {
        await write(file, range[0], Math.min(range[1], MiB));
        const touched = all.slice(0, Math.min(range[1], MiB) / unit);
        for (const each of touched) model.mapped.add(each);
        model.size = Math.max(model.size, (touched.at(-1) as number) + 1);
      } else if (what === 1 || what === 2) {
        await fallocate(file, what === 1 ? 'allocate' : 'keepSize', ...range);
        for (const each of all) model.ranges.add(each);
        if (what === 1) model.size = Math.max(model.size, from + count);
      } else if (what === 3) {
        await fallocate(file, 'punchHole', ...range);
        for (const each of all) for (const set of [model.ranges, model.mapped]) set.delete(each);
      } else if (what === 4) {
        await fallocate(file, 'zeroRangeKeepSize', ...range);
        for (const each of all) {
          model.ranges.add(each);
          model.mapped.delete(each);
        }
      } else if (what === 5) {
        await harness.fs.setAttributes(file, { size: range[0] }, harness.caller());
        for (const set of [model.ranges, model.mapped]) for (const each of set) if (each >= from && from <= model.size) set.delete(each);
        model.size = from;
      } else {
        const [other, source] = [files[1 - which] as InodeNumber, models[1 - which] as (typeof models)[0]];
        const copied = Math.min(count, source.size - from);
        if (copied <= 0) continue;
        expect(harness.fs.copyRange({ inode: other, offset: range[0] }, { inode: file, offset: range[0] }, range[1], harness.caller())).toBe(copied * unit);
        for (const each of all.slice(0, copied)) {
          if (source.mapped.has(each)) model.mapped.add(each);
          else model.mapped.delete(each);
        }
        model.size = Math.max(model.size, from + copied);
      }
      // Ranges that are used up are forgotten.
      for (const each of models) if ([...each.ranges].every((one) => each.mapped.has(one))) each.ranges.clear();
      const reserved = models.map((each) => [...each.ranges].filter((one) => !each.mapped.has(one)).length * unit);
      expect(files.map((each) => harness.fs.getAttributes(each)).map(({ size, blocks }) => [size, blocks * 512]), `step ${step}: ${what} [${from}, ${from + count}) of ${which}`)
        .toEqual(models.map((each, index) => [each.size * unit, each.mapped.size * unit + (reserved[index] as number)]));
      expect(harness.context.space.reservedBytes).toBe((reserved[0] as number) + (reserved[1] as number));
    }
    expect(totalReserved(harness.engine.reader)).toBe(harness.context.space.reservedBytes);
  });
});
