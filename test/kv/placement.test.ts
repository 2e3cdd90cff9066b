// Placement: shares, stability, devices.
import { describe, expect, it } from 'vitest';
import { Placement } from '../../src/kv/placement.ts';
import { testUuid } from '../support/memory-worker.ts';

const BLOCKS = 20_000;

function placementOf(weights: readonly number[], devices: readonly (number | undefined)[] = weights.map((_, index) => index)): Placement {
  return new Placement(weights.map((weight, index) => ({ disk: testUuid(index), weight, device: devices[index] })));
}

function firsts(placement: Placement): number[] {
  const counts = Array.from({ length: placement.diskCount }, () => 0);
  for (let lo = 0; lo < BLOCKS; lo++) counts[placement.rank({ hi: 7 << 16, lo })[0]!]!++;
  return counts;
}

describe('placement', () => {
  it('ranks every disk exactly once, the same each time', () => {
    const placement = placementOf([1, 2, 3, 4, 5]);
    const other = placementOf([1, 2, 3, 4, 5]);
    for (let lo = 0; lo < 500; lo++) {
      const order = placement.rank({ hi: 1, lo });
      expect(order.toSorted()).toEqual([0, 1, 2, 3, 4]);
      expect(other.rank({ hi: 1, lo })).toEqual(order);
    }
  });

  it('is the same for ever: a change would lose every block', () => {
    const placement = placementOf([1, 1, 2, 1]);
    const orders = [0, 1, 2, 3, 0xffffffff].map((lo) => placement.rank({ hi: 0x10000, lo }).join(''));
    expect(orders).toMatchInlineSnapshot(`
      [
        "3021",
        "3021",
        "2310",
        "1230",
        "0213",
      ]
    `);
  });

  it('gives each disk the share that its weight asks for', () => {
    const weights = [1, 2, 4, 1];
    firsts(placementOf(weights)).forEach((count, index) => {
      const wanted = (weights[index]! / 8) * BLOCKS;
      expect(Math.abs(count - wanted)).toBeLessThan(5 * Math.sqrt(wanted));
    });
  });

  it('moves only what a new disk wins', () => {
    const before = placementOf([1, 1, 1]);
    const after = placementOf([1, 1, 1, 1]);
    for (let lo = 0; lo < 2_000; lo++) {
      const id = { hi: 3, lo };
      expect(after.rank(id).filter((index) => index !== 3)).toEqual(before.rank(id));
    }
  });

  it('puts the copies on different devices while there are any', () => {
    const placement = placementOf([1, 1, 1, 1, 1], [10, 10, 10, 20, 20]);
    const device = [10, 10, 10, 20, 20];
    for (let lo = 0; lo < 2_000; lo++) {
      const order = placement.rank({ hi: 0, lo });
      expect(new Set(order.slice(0, 2).map((index) => device[index])).size).toBe(2);
      expect(order.toSorted()).toEqual([0, 1, 2, 3, 4]);
    }
  });

  it('does not mind directories that all lie on one device', () => {
    const one = placementOf([1, 1, 1], [5, 5, 5]);
    const many = placementOf([1, 1, 1]);
    for (let lo = 0; lo < 200; lo++) expect(one.rank({ hi: 0, lo })).toEqual(many.rank({ hi: 0, lo }));
  });

  it('refuses a weight that is no share', () => {
    expect(() => placementOf([1, -1])).toThrow(/weight/);
    expect(() => placementOf([0, 0])).toThrow(/weight/);
    expect(() => placementOf([1, Number.NaN])).toThrow(/weight/);
  });
});
