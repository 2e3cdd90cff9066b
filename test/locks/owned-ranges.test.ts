// The arithmetic of ranges against a model that knows nothing but bytes, and the table against a model of many owners.
import { describe, expect, it } from 'vitest';
import type { InodeNumber } from '../../src/base/ids.ts';
import { LAST_BYTE } from '../../src/locks/lock-engine.ts';
import type { LockMode } from '../../src/locks/lock-engine.ts';
import { LockTable } from '../../src/locks/lock-table.ts';
import { cut, joined, put } from '../../src/locks/owned-ranges.ts';
import type { Segment, SegmentChange } from '../../src/locks/owned-ranges.ts';
import { chances } from '../support/chances.ts';

const SEED = Number(process.env.SDFS_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const STEPS = 4000;
const BYTES = 24;

/** Whole numbers below a limit. */
function random(seed: number): (below: number) => number {
  const chance = chances(seed);
  return (below) => Math.floor(chance() * below);
}

const segment = (first: number, last: number, mode: LockMode = 'exclusive', handle = 1n): Segment => ({ first: BigInt(first), last: BigInt(last), mode, handle, pid: 1 });
const applied = (held: readonly Segment[], change: SegmentChange): Segment[] => held.toSpliced(change.at, change.removed.length, ...change.added);
const letter = ({ mode, handle }: Segment): string => `${mode === 'shared' ? 's' : 'x'}${handle}`;

/** One word a byte; the last stands for all bytes to the end of the largest file. Two where two segments have it. */
function bytesOf(held: readonly Segment[]): string {
  return wordsOf(Array.from({ length: BYTES }, (_, index) => {
    const byte = index === BYTES - 1 ? LAST_BYTE : BigInt(index);
    return held.filter((one) => one.first <= byte && byte <= one.last).map(letter).join('+') || '-';
  }));
}

function wordsOf(bytes: readonly string[]): string {
  return bytes.join(' ');
}

/** In order, apart from each other, and no two that could be one. */
function isTidy(held: readonly Segment[]): boolean {
  return held.every((one, index) => {
    const next = held[index + 1];
    if (one.first > one.last) return false;
    return next === undefined || one.last + (letter(one) === letter(next) ? 1n : 0n) < next.first;
  });
}

describe('the ranges of an owner', () => {
  it(`are those of a map of bytes, after each of ${STEPS} random changes (seed ${SEED})`, () => {
    const next = random(SEED);
    let held: Segment[] = [];
    const model = Array.from({ length: BYTES }, () => '-');
    for (let step = 0; step < STEPS; step++) {
      const first = next(BYTES - 1);
      const length = next(8);
      const last = first + length >= BYTES - 1 ? BYTES - 1 : first + length;
      const range = { ...segment(first, last, next(2) === 0 ? 'shared' : 'exclusive', BigInt(next(2) + 1)), ...(last === BYTES - 1 ? { last: LAST_BYTE } : {}) };
      const takes = next(3) > 0;
      held = applied(held, takes ? put(held, range) : cut(held, range));
      model.fill(takes ? letter(range) : '-', first, last + 1);
      expect(bytesOf(held)).toBe(wordsOf(model));
      expect(isTidy(held)).toBe(true);
    }
  });

  it('change nothing when what is asked for is held already', () => {
    const held = [segment(0, 10), segment(20, 30, 'shared')];
    expect(put(held, segment(2, 5))).toMatchObject({ removed: [], added: [] });
    expect(cut(held, { first: 11n, last: 19n })).toMatchObject({ removed: [], added: [] });
  });

  it('are shown as one lock where they were taken through several open files', () => {
    const held = [segment(0, 9), segment(10, 19, 'exclusive', 2n), segment(20, 29, 'shared')];
    expect(joined(held, held[1]!)).toMatchObject({ first: 0n, last: 19n });
  });
});

describe('the table of locks', () => {
  it(`finds what stands against a claim, and takes back what it is told to (seed ${SEED})`, () => {
    const next = random(SEED + 1);
    const inode = 1 as InodeNumber;
    const table = new LockTable();
    const model = new Map([1n, 2n, 3n].map((owner) => [owner, Array.from({ length: BYTES }, () => '-')]));
    for (let step = 0; step < STEPS; step++) {
      const owner = BigInt(next(3) + 1);
      const first = next(BYTES - 1);
      const last = Math.min(first + next(6), BYTES - 1);
      const claim = { kind: 'range' as const, owner, ...segment(first, last, next(2) === 0 ? 'shared' : 'exclusive'), ...(last === BYTES - 1 ? { last: LAST_BYTE } : {}) };
      const isTaken = [...model].some(([other, bytes]) => other !== owner && bytes.slice(first, last + 1).some((byte) => byte === 'x1' || (byte === 's1' && claim.mode === 'exclusive')));
      expect(table.isFree(inode, claim)).toBe(!isTaken);
      expect(table.firstAgainst(inode, claim) === undefined).toBe(!isTaken);
      const takes = !isTaken && next(2) === 0;
      const change = takes ? table.granting(inode, claim) : table.releasing(inode, claim, claim);
      table.apply(change);
      if (next(4) === 0) table.revert(change);
      else model.get(owner)!.fill(takes ? letter(claim) : '-', first, last + 1);
      for (const [other, bytes] of model) expect(bytesOf(table.of(inode, { kind: 'range', owner: other }))).toBe(wordsOf(bytes));
    }
    for (const owner of model.keys()) table.apply(table.releasing(inode, { kind: 'range', owner }, { first: 0n, last: LAST_BYTE }));
    expect(table.count).toBe(0);
  });
});
