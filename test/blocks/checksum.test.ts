// Checksums of blocks: over bytes and place, however the bytes are split.
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { blockChecksums, ChecksumMismatchError, verifyPieces } from '../../src/blocks/checksum.ts';

const PIECE = 16 * 1024;
const id = { hi: 0x20001, lo: 0xfffffff0 };

function pattern(bytes: number, seed = 1): Buffer {
  const out = Buffer.alloc(bytes);
  for (let at = 0, state = seed; at < bytes; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    out[at] = state >>> 16;
  }
  return out;
}

function whole(data: Buffer): { range: { id: typeof id; firstPiece: number; pieceCount: number }; pieces: { blockBytes: number; checksums: Uint32Array; data: Buffer } } {
  const checksums = blockChecksums(id, [data]);
  return { range: { id, firstPiece: 0, pieceCount: checksums.length }, pieces: { blockBytes: data.length, checksums, data: Buffer.from(data) } };
}

describe('block checksums', () => {
  it('are CRC-32 over id, piece number and bytes, as the format says', () => {
    const data = pattern(PIECE + 5);
    const place = (piece: number) => {
      const bytes = Buffer.alloc(12);
      bytes.writeUInt32LE(id.hi, 0);
      bytes.writeUInt32LE(id.lo, 4);
      bytes.writeUInt32LE(piece, 8);
      return bytes;
    };
    expect([...blockChecksums(id, [data])]).toEqual([crc32(Buffer.concat([place(0), data.subarray(0, PIECE)])), crc32(Buffer.concat([place(1), data.subarray(PIECE)]))]);
  });

  it.each([1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 77])('of %i bytes do not depend on how the bytes are split', (bytes) => {
    const data = pattern(bytes);
    const wanted = blockChecksums(id, [data]);
    for (const step of [13, 1000, PIECE - 1, PIECE, PIECE + 1]) {
      const parts: Uint8Array[] = [new Uint8Array(0)];
      for (let at = 0; at < bytes; at += step) parts.push(data.subarray(at, at + step));
      expect(blockChecksums(id, parts)).toEqual(wanted);
    }
  });

  it('refuse an empty block and one that is too large', () => {
    expect(() => blockChecksums(id, [])).toThrow(/1 to/);
    expect(() => blockChecksums(id, [Buffer.alloc(1024 * 1024 + 1)])).toThrow(/1 to/);
  });
});

describe('verification', () => {
  it('accepts what was put, whole and in part', () => {
    const data = pattern(3 * PIECE + 9);
    const { range, pieces } = whole(data);
    expect(verifyPieces(range, pieces)).toBeUndefined();
    const part = { blockBytes: data.length, checksums: pieces.checksums.slice(2), data: data.subarray(2 * PIECE) };
    expect(verifyPieces({ id, firstPiece: 2, pieceCount: 2 }, part)).toBeUndefined();
  });

  it('notices any flipped bit and says in which piece', () => {
    const data = pattern(2 * PIECE + 9);
    for (const at of [0, PIECE - 1, PIECE, 2 * PIECE + 8]) {
      const { range, pieces } = whole(data);
      pieces.data[at]! ^= 0x10;
      const mismatch = verifyPieces(range, pieces);
      expect(mismatch).toBeInstanceOf(ChecksumMismatchError);
      expect(mismatch?.piece).toBe(Math.floor(at / PIECE));
    }
  });

  it('notices another block, another piece, and a wrong number of pieces or bytes', () => {
    const { range, pieces } = whole(pattern(2 * PIECE));
    expect(verifyPieces({ ...range, id: { hi: id.hi, lo: id.lo + 1 } }, pieces)).toBeDefined();
    const second = { blockBytes: 2 * PIECE, checksums: pieces.checksums.slice(0, 1), data: pieces.data.subarray(0, PIECE) };
    expect(verifyPieces({ id, firstPiece: 1, pieceCount: 1 }, second)).toBeDefined();
    expect(verifyPieces({ ...range, pieceCount: 1 }, pieces)).toBeDefined();
    expect(verifyPieces(range, { ...pieces, data: pieces.data.subarray(1) })).toBeDefined();
    expect(verifyPieces(range, { ...pieces, blockBytes: PIECE })).toBeDefined();
    expect(verifyPieces({ id, firstPiece: 5, pieceCount: 1 }, { ...pieces, checksums: pieces.checksums.slice(1), data: Buffer.alloc(0) })).toBeDefined();
  });
});
