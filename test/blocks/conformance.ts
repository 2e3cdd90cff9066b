// What every block engine promises; run on each of them.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { BlockEngine } from '../../src/blocks/block-engine.ts';
import { blockId, bytesOf } from '../support/block-data.ts';

export interface EngineUnderTest {
  readonly engine: BlockEngine;
  close(): Promise<void>;
  /** Ends every process of the engine without warning and starts it over: what was acknowledged must survive. */
  crash?(): Promise<BlockEngine>;
}

const MAX = LIMITS.blockBytesMax;

async function read(engine: BlockEngine, number: number, offset: number, bytes: number): Promise<Buffer> {
  return Buffer.concat(await engine.get(blockId(number), offset, bytes));
}

export function describeBlockEngine(name: string, open: () => Promise<EngineUnderTest>): void {
  describe(`block engine ${name}`, () => {
    let under: EngineUnderTest;
    let engine: BlockEngine;

    beforeEach(async () => {
      under = await open();
      engine = under.engine;
    });
    afterEach(() => under.close());

    it.each([1, 511, 4096, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000, MAX])('gives back a block of %i bytes', async (bytes) => {
      const data = bytesOf(bytes, bytes);
      await engine.put(blockId(1), [data]);
      expect((await read(engine, 1, 0, bytes)).equals(data)).toBe(true);
    });

    it('does not care how the bytes of a put are split', async () => {
      const data = bytesOf(3, 70_000);
      await engine.put(blockId(1), [data.subarray(0, 1), data.subarray(1, 20_000), new Uint8Array(0), data.subarray(20_000)]);
      expect((await read(engine, 1, 0, data.length)).equals(data)).toBe(true);
    });

    it('reads any range of a block', async () => {
      const data = bytesOf(4, 100_000);
      await engine.put(blockId(1), [data]);
      const piece = LIMITS.checksumBytes;
      for (const [offset, bytes] of [[0, 1], [99_999, 1], [piece - 1, 2], [piece, piece], [1, 99_999], [3 * piece + 7, 5000], [2 * piece, 1]] as const) {
        expect((await read(engine, 1, offset, bytes)).equals(data.subarray(offset, offset + bytes))).toBe(true);
      }
    });

    it('keeps many blocks apart', async () => {
      const blocks = Array.from({ length: 300 }, (_, number) => ({ id: blockId(number), data: [bytesOf(number, 1 + ((number * 977) % 9000))] }));
      await engine.putMany(blocks);
      await Promise.all(blocks.map(async ({ data }, number) => expect((await read(engine, number, 0, data[0]!.length)).equals(data[0]!)).toBe(true)));
    });

    it('takes large blocks by the dozen', async () => {
      const data = bytesOf(9, MAX);
      await engine.putMany(Array.from({ length: 12 }, (_, number) => ({ id: blockId(number), data: [data] })));
      for (let number = 0; number < 12; number++) expect((await read(engine, number, MAX - 10, 10)).equals(data.subarray(MAX - 10))).toBe(true);
    });

    it('may put the same block again', async () => {
      const data = bytesOf(5, 5000);
      await engine.put(blockId(1), [data]);
      await engine.put(blockId(1), [data]);
      expect((await read(engine, 1, 0, 5000)).equals(data)).toBe(true);
    });

    it('tells ids apart that differ in one half only', async () => {
      const ids = [{ hi: 1, lo: 2 }, { hi: 2, lo: 1 }, { hi: 0xffffffff, lo: 0 }, { hi: 0, lo: 0xffffffff }, { hi: 0xffffffff, lo: 0xffffffff }];
      await Promise.all(ids.map((id, at) => engine.put(id, [bytesOf(at, 100)])));
      for (const [at, id] of ids.entries()) expect(Buffer.concat(await engine.get(id, 0, 100)).equals(bytesOf(at, 100))).toBe(true);
    });

    it('answers EIO for a block that is not there, was deleted, or is shorter than asked', async () => {
      await expect(engine.get(blockId(1), 0, 10)).rejects.toMatchObject({ code: 'EIO' });
      await engine.put(blockId(1), [bytesOf(1, 100)]);
      await expect(engine.get(blockId(1), 50, 51)).rejects.toMatchObject({ code: 'EIO' });
      await engine.delete([blockId(1), blockId(77)]);
      await expect(engine.get(blockId(1), 0, 10)).rejects.toMatchObject({ code: 'EIO' });
      expect((await engine.locate(blockId(1))).filter(({ state }) => state !== 'missing')).toEqual([]);
    });

    it('deletes only what it is told to', async () => {
      await engine.putMany([1, 2, 3].map((number) => ({ id: blockId(number), data: [bytesOf(number, 50)] })));
      await engine.delete([blockId(2)]);
      expect((await read(engine, 1, 0, 50)).equals(bytesOf(1, 50))).toBe(true);
      expect((await read(engine, 3, 0, 50)).equals(bytesOf(3, 50))).toBe(true);
      for (const { state } of await engine.locate(blockId(3))) expect(state).toBe('good');
    });

    it('knows whether there is something to sync', async () => {
      await engine.sync();
      expect(engine.dirty).toBe(false);
      await engine.put(blockId(1), [bytesOf(1, 50)]);
      expect(engine.dirty).toBe(true);
      await Promise.all([engine.sync(), engine.sync(), engine.sync()]);
      expect(engine.dirty).toBe(false);
    });

    it('has space', () => {
      const { totalBytes, availableBytes } = engine.statistics();
      expect(availableBytes).toBeGreaterThan(0);
      expect(totalBytes).toBeGreaterThanOrEqual(availableBytes);
    });

    it('keeps what it acknowledged over a crash of all its processes', async ({ skip }) => {
      if (under.crash === undefined) skip('this engine has no processes of its own');
      const blocks = Array.from({ length: 50 }, (_, number) => ({ id: blockId(number), data: [bytesOf(number, 20_000)] }));
      await engine.putMany(blocks);
      engine = await under.crash!();
      for (const [number, { data }] of blocks.entries()) expect((await read(engine, number, 0, 20_000)).equals(data[0]!)).toBe(true);
    });
  });
}
