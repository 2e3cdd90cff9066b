// Which disks hold a block: weighted rendezvous hashing of the block id over the disks, computed, never stored.
//
// Each disk scores -weight / ln(u), u in (0,1) from a hash of block id and disk uuid; the highest scores hold the
// copies. Adding a disk moves only what the new disk wins; a weight is a disk's share exactly.
//   Rendezvous: Thaler, Ravishankar: Using name-based mappings to increase hit rates, IEEE/ACM ToN 6(1), 1998.
//   Logarithmic weights: Schindelhauer, Schomaker: Weighted distributed hash tables, SPAA 2005.
//   Hash: MurmurHash3_x86_32 (Austin Appleby, public domain) of the id's two words, twice with different seeds,
//   which gives the 53 bits that a JS number holds without BigInt.
import { assert } from '../base/assert.ts';
import type { BlockId, Uuid } from '../base/ids.ts';

export interface PlacementDisk {
  readonly disk: Uuid;
  /** Share relative to the other disks. 0: nothing belongs there (the disk is being emptied), and it ranks behind the others. */
  readonly weight: number;
  /** st_dev; undefined while unknown, which counts as a device of its own. */
  readonly device: number | undefined;
}

/** Immutable. Changes of disks, weights or devices make a new one. */
export class Placement {
  readonly #seeds: Int32Array;
  readonly #weights: Float64Array;
  /** Device of each disk, numbered from 0; undefined where spreading over devices cannot change an order. */
  readonly #devices: Int32Array | undefined;
  /** Scratch, valid only within one call of rank(). */
  readonly #scores: Float64Array;

  constructor(disks: readonly PlacementDisk[]) {
    assert(disks.some(({ weight }) => weight > 0), 'a placement has at least one disk with a weight');
    this.#seeds = new Int32Array(disks.length * 2);
    this.#weights = new Float64Array(disks.length);
    this.#scores = new Float64Array(disks.length);
    disks.forEach(({ disk, weight }, index) => {
      assert(weight >= 0 && Number.isFinite(weight), `the weight of disk ${disk} is a number from 0`);
      const words = uuidWords(disk);
      this.#seeds[index * 2] = murmur3(words[0], words[1], words[2]);
      this.#seeds[index * 2 + 1] = murmur3(words[2], words[3], ~words[0]);
      this.#weights[index] = weight;
    });
    this.#devices = numberDevices(disks);
  }

  get diskCount(): number {
    return this.#weights.length;
  }

  /**
   * All disks (as indexes), best first. The first R are where R copies belong: they are on different devices as
   * far as there are devices, and the same holds for every stretch further on.
   */
  rank(id: BlockId): number[] {
    const count = this.#weights.length;
    const scores = this.#scores;
    const order: number[] = [];
    for (let index = 0; index < count; index++) {
      const score = this.#score(index, id);
      let at = order.length;
      while (at > 0 && scores[order[at - 1]!]! < score) at--;
      scores[index] = score;
      order.splice(at, 0, index);
    }
    if (this.#devices === undefined) return order;
    const targets = order.filter((index) => this.#weights[index]! > 0);
    const spreaded = spread(targets, this.#devices);
    return targets.length === count ? spreaded : [...spreaded, ...order.filter((index) => this.#weights[index] === 0)];
  }

  #score(index: number, id: BlockId): number {
    const high = murmur3(id.hi, id.lo, this.#seeds[index * 2]!) >>> 0;
    const low = murmur3(id.hi, id.lo, this.#seeds[index * 2 + 1]!) >>> 11;
    // 53 bits and a half: never 0, never 1, so the logarithm is finite and below 0.
    const uniform = (high * 0x20_0000 + low + 0.5) / 2 ** 53;
    return -this.#weights[index]! / Math.log(uniform);
  }
}

/** The id that stands for a whole volume where something is placed that is not a block, such as its metadata log. */
export function placementIdOf(uuid: Uuid): BlockId {
  const words = uuidWords(uuid);
  return { hi: (words[0] ^ words[2]) >>> 0, lo: (words[1] ^ words[3]) >>> 0 };
}

/** Takes from `order` round after round, each device at most once a round. */
function spread(order: readonly number[], devices: Int32Array): number[] {
  const out: number[] = [];
  let left = order;
  while (left.length > 0) {
    const later: number[] = [];
    const seen = new Set<number>();
    for (const index of left) {
      const device = devices[index]!;
      if (seen.has(device)) {
        later.push(index);
      } else {
        seen.add(device);
        out.push(index);
      }
    }
    left = later;
  }
  return out;
}

function numberDevices(disks: readonly PlacementDisk[]): Int32Array | undefined {
  const numbers = new Map<number, number>();
  let next = 0;
  const devices = Int32Array.from(disks, ({ device }) => {
    if (device === undefined) return next++;
    const known = numbers.get(device);
    if (known !== undefined) return known;
    numbers.set(device, next);
    return next++;
  });
  return next === 1 || next === disks.length ? undefined : devices;
}

function uuidWords(uuid: Uuid): [number, number, number, number] {
  const digits = uuid.replaceAll('-', '');
  assert(/^[0-9a-f]{32}$/i.test(digits), `a uuid has 32 hex digits: ${uuid}`);
  const word = (at: number) => Number.parseInt(digits.slice(at, at + 8), 16) | 0;
  return [word(0), word(8), word(16), word(24)];
}

/** MurmurHash3_x86_32 of two 32-bit words. */
function murmur3(first: number, second: number, seed: number): number {
  let hash = round(round(seed, first), second) ^ 8;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function round(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
  const next = hash ^ mixed;
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0;
}
