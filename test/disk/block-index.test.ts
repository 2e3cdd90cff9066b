// The index of a disk's blocks, where LMDB gives up a sound transaction.
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { BlockIndex } from '../../src/disk/block-index.ts';
import { blockId, makeDisk } from '../support/temporary-disk.ts';

let parent: string;
let index: BlockIndex;

beforeEach(() => {
  const made = makeDisk();
  parent = made.parent;
  index = BlockIndex.open(join(made.directory, 'index'), { trusted: true });
});
afterEach(async () => {
  await index.close();
  fs.rmSync(parent, { recursive: true });
});

/** Puts a block, and has LMDB's error for the first so many times. */
function puttingAfter(failures: number): () => void {
  let runs = 0;
  return () => {
    index.put(blockId(7), { segment: 1, offset: 4096, blockBytes: 100 }, Uint32Array.of(9));
    if (++runs <= failures) throw Object.assign(new Error('MDB_BAD_TXN: Transaction must abort'), { code: -30782 });
  };
}

test('a transaction that LMDB gives up for nothing is done at the next attempt, and the index counts as sound', async () => {
  index.transactAgain(puttingAfter(2));
  expect([index.get(blockId(7)), index.blockCount]).toEqual([{ segment: 1, offset: 4096, blockBytes: 100 }, 1]);
});

test('one that is given up again and again, or that must not be run twice, is taken for damage', () => {
  expect(() => index.transactAgain(puttingAfter(3))).toThrow(AssertionError);
  expect(() => index.transact(puttingAfter(1))).toThrow(AssertionError);
  expect(index.get(blockId(7))).toBeUndefined();
});
