// Extents against a model: every byte of a file maps to the byte of the block that was written there last.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockKey } from '../../src/base/ids.ts';
import type { BlockId, InodeNumber } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { BlockReferences, mappings, replaceRange } from '../../src/metadata/extents.ts';
import { decodeBlockRow, keys } from '../../src/metadata/schema.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const INODE = 77 as InodeNumber;
const UNIT = 64 * 1024;
const UNITS = 4 * (LIMITS.fileChunkBytes / UNIT);

function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('extents', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(() => harness.end());

  it('map every byte to what was written there last, and count references to every block', () => {
    const seed = Number(process.env['SDFS_SEED'] ?? Date.now() % 1_000_000);
    console.info(`seed ${seed}`);
    const random = randomFrom(seed);
    // The model: for each 64 KiB unit of the file, block and offset, or undefined for a hole.
    const model: ({ block: string; offset: number } | undefined)[] = Array.from({ length: UNITS });
    let allocated = 0;
    let next = 1;
    const known: BlockId[] = [];
    for (let step = 0; step < 300; step++) {
      const from = random(UNITS);
      const count = 1 + random(Math.min(UNITS - from, 20));
      const holes = random(4) === 0;
      harness.engine.transact(null, (tx) => {
        const references = new BlockReferences();
        const pieces = [];
        for (let at = from; !holes && at < from + count; ) {
          const stop = Math.min(from + count, (Math.floor((at * UNIT) / LIMITS.fileChunkBytes) + 1) * (LIMITS.fileChunkBytes / UNIT));
          const block = { hi: 0, lo: next++ };
          known.push(block);
          references.create(block, (stop - at) * UNIT);
          pieces.push({ offset: at * UNIT, bytes: (stop - at) * UNIT, block, blockOffset: 0 });
          for (let unit = at; unit < stop; unit++) model[unit] = { block: blockKey(block), offset: (unit - at) * UNIT };
          at = stop;
        }
        if (holes) model.fill(undefined, from, from + count);
        allocated += replaceRange(tx, references, INODE, { offset: from * UNIT, bytes: count * UNIT }, pieces);
        references.apply(tx, { isUnseen: () => true });
      });
    }
    const found: typeof model = Array.from({ length: UNITS });
    for (const piece of mappings(harness.engine.reader, INODE, 0, UNITS * UNIT)) {
      for (let at = 0; at < piece.bytes; at += UNIT) found[(piece.offset + at) / UNIT] = { block: blockKey(piece.block), offset: piece.blockOffset + at };
    }
    expect(found).toEqual(model);
    expect(allocated).toBe(model.filter((unit) => unit !== undefined).length * UNIT);
    for (const block of known) {
      const live = model.filter((unit) => unit?.block === blockKey(block)).length * UNIT;
      const row = harness.engine.reader.get(keys.block(block));
      expect(row === undefined ? 0 : decodeBlockRow(row).liveBytes).toBe(live);
    }
  });
});
