// Bytes and blocks for tests: they look random and are the same in every run.
import { blockChecksums } from '../../src/blocks/checksum.ts';
import { verifyPieces } from '../../src/blocks/checksum.ts';
import type { BlockId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import type { ReplicatedBlockStore } from '../../src/kv/block-store.ts';

export function bytesOf(seed: number, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  let state = (seed * 2 + 1) >>> 0;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}

export function blockId(number: number): BlockId {
  return { hi: 1 << 16, lo: number };
}

export function blockOf(number: number, bytes = 1000): BlockPut {
  const id = blockId(number);
  const data = [bytesOf(number, bytes)];
  return { id, checksums: blockChecksums(id, data), data };
}

/** The whole block, verified. */
export async function readWhole(store: ReplicatedBlockStore, block: BlockPut): Promise<Buffer> {
  const bytes = block.data.reduce((sum, piece) => sum + piece.length, 0);
  return (await store.get({ id: block.id, firstPiece: 0, pieceCount: Math.ceil(bytes / LIMITS.checksumBytes) }, verifyPieces)).data;
}
