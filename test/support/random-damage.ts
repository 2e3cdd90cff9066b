// Random damage to bytes, from a seed that is printed: bits, ranges, length, order, and bytes of something else of its kind.

/** Of all tests with random damage; a finding is seen again with the same seed. */
export const DAMAGE_SEED = Number(process.env['SDFS_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
/** Damages for each format. */
export const DAMAGES = Number(process.env['SDFS_TEST_DAMAGES'] ?? 300);

/** A copy of `bytes` with one to three damages. `other`: a good one of the same format. */
export function damaged(bytes: Buffer, chance: () => number, other: Buffer): Buffer {
  let out: Buffer = Buffer.from(bytes);
  for (let times = 1 + Math.floor(chance() * 3); times > 0; times--) out = once(out, chance, other);
  return out;
}

function once(bytes: Buffer, chance: () => number, other: Buffer): Buffer {
  const below = (end: number): number => Math.floor(chance() * end);
  const at = below(bytes.length);
  const length = Math.min(bytes.length - at, 1 + below(chance() < 0.5 ? 8 : 4096));
  switch (below(8)) {
    case 0:
      for (let count = 1 + below(8); count > 0 && bytes.length > 0; count--) bytes[below(bytes.length)]! ^= 1 << below(8);
      return bytes;
    case 1: return bytes.fill(0, at, at + length);
    case 2: return bytes.fill(0xff, at, at + length);
    case 3: return bytes.subarray(0, at);
    case 4: return Buffer.concat([bytes, Buffer.from(Array.from({ length: 1 + below(64) }, () => below(256)))]);
    case 5: {
      const to = below(bytes.length - length + 1);
      const held = Buffer.from(bytes.subarray(at, at + length));
      bytes.copyWithin(at, to, to + length);
      held.copy(bytes, to);
      return bytes;
    }
    case 6:
      if (at < other.length) other.copy(bytes, at, at, at + length);
      return bytes;
    default:
      for (let index = at; index < at + length; index++) bytes[index] = below(256);
      return bytes;
  }
}
