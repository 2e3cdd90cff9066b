// The memory of requests in work: what is held stays, what is released is used again, and there is a bound.
import { describe, expect, it } from 'vitest';
import { RequestArena } from '../../src/kernel/request-arena.ts';
import type { Held } from '../../src/kernel/request-arena.ts';

const arena = () => new RequestArena({ slabBytes: 256, slabsMax: 2, requestBytesMax: 100 });

/** Fills and holds a request of `bytes`, and returns the view that its handler has. */
function read(from: RequestArena, bytes: number, fill: number): { view: Buffer; held: Held } {
  const space = from.space();
  if (space === undefined) throw new Error('no space');
  expect(space.length).toBeGreaterThanOrEqual(100);
  const view = space.subarray(0, bytes);
  view.fill(fill);
  return { view, held: from.hold(bytes) };
}

describe('the request arena', () => {
  it('gives the same room again for requests that are answered at once', () => {
    const requests = arena();
    expect(requests.space()).toBe(requests.space());
  });

  it('leaves held requests alone while others come', () => {
    const requests = arena();
    const held = [1, 2, 3].map((fill) => read(requests, 33, fill));
    requests.space()!.fill(9);
    expect(held.map(({ view }) => [...new Set(view)])).toEqual([[1], [2], [3]]);
  });

  it('has no room when all slabs are taken, and has it again when one is free', () => {
    const requests = arena();
    const held = [1, 2, 3, 4].map((fill) => read(requests, 100, fill).held);
    expect(requests.space()).toBeUndefined();
    requests.release(held[0]!);
    expect(requests.space()).toBeUndefined();
    requests.release(held[1]!);
    expect(requests.space()).toHaveLength(256);
  });

  it('starts a slab again when the last of its requests is released', () => {
    const requests = arena();
    const first = read(requests, 50, 1);
    expect(requests.space()).toHaveLength(256 - 56);
    requests.release(first.held);
    expect(requests.space()).toHaveLength(256);
  });

  it('refuses a release too many, and to hold what it did not hand out', () => {
    const requests = arena();
    expect(() => requests.hold(1)).toThrow('read into the space');
    const { held } = read(requests, 50, 1);
    requests.release(held);
    expect(() => requests.release(held)).toThrow('released once');
  });
});
