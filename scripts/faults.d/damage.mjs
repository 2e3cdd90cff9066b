// Damages to a file, chosen by chance: bits, ranges, its length, bytes of another file, an older self. Each says what it did.
import fs from 'node:fs';

const PAGE_BYTES = 4096;

/**
 * A random damage to `file`. `foreign` is the same file of another volume, `former` an older state of this one; both
 * may be missing. Undefined where nothing was changed.
 */
export function damageFile(file, { chance, foreign, former }) {
  const before = fs.readFileSync(file);
  const kinds = Object.keys(DAMAGES).filter((kind) => (kind !== 'splice' && kind !== 'swap files' || fs.existsSync(foreign)) && (kind !== 'older' || fs.existsSync(former)));
  const kind = kinds[Math.floor(chance() * kinds.length)];
  const after = DAMAGES[kind](Buffer.from(before), { chance, foreign, former });
  if (after === null) fs.rmSync(file);
  else if (after.equals(before)) return undefined;
  else writeInPlace(file, after);
  return kind;
}

/** Holes stay holes: pages of zeroes that were none before are the damage, and are written. */
function writeInPlace(file, bytes) {
  const fd = fs.openSync(file, 'r+');
  fs.writeSync(fd, bytes, 0, bytes.length, 0);
  fs.ftruncateSync(fd, bytes.length);
  fs.closeSync(fd);
}

/** Half of the time where there is something: most of a preallocated file is zeroes. */
function place(bytes, chance, length = 1) {
  const end = Math.max(0, bytes.length - length);
  if (chance() < 0.3) return Math.floor(chance() * Math.min(end + 1, PAGE_BYTES * 4));
  let at = Math.floor(chance() * (end + 1));
  if (chance() < 0.2) return at;
  for (let attempt = 0; attempt < 64; attempt++) {
    if (bytes[at] !== 0) return at;
    at = Math.floor(chance() * (end + 1));
  }
  return at;
}

const some = (chance, most) => Math.max(1, Math.floor(2 ** (chance() * Math.log2(most))));

const DAMAGES = {
  bits(bytes, { chance }) {
    if (bytes.length === 0) return bytes;
    for (let count = some(chance, 64); count > 0; count--) bytes[place(bytes, chance)] ^= 1 << Math.floor(chance() * 8);
    return bytes;
  },
  bytes(bytes, { chance }) {
    if (bytes.length === 0) return bytes;
    const length = Math.min(bytes.length, some(chance, 65_536));
    const at = place(bytes, chance, length);
    for (let index = at; index < at + length; index++) bytes[index] = Math.floor(chance() * 256);
    return bytes;
  },
  zeroes(bytes, { chance }) {
    const length = Math.min(bytes.length, some(chance, 1_048_576));
    const at = place(bytes, chance, length);
    return bytes.fill(0, at, at + length);
  },
  'zero pages'(bytes, { chance }) {
    const at = Math.floor(place(bytes, chance) / PAGE_BYTES) * PAGE_BYTES;
    return bytes.fill(0, at, Math.min(bytes.length, at + PAGE_BYTES * some(chance, 16)));
  },
  shorter: (bytes, { chance }) => bytes.subarray(0, Math.floor(chance() * bytes.length)),
  longer: (bytes, { chance }) => Buffer.concat([bytes, Buffer.from(Array.from({ length: some(chance, 65_536) }, () => Math.floor(chance() * 256)))]),
  swap(bytes, { chance }) {
    const length = chance() < 0.5 ? PAGE_BYTES : some(chance, 65_536);
    if (bytes.length < 2 * length) return bytes;
    const align = (at) => (length === PAGE_BYTES ? Math.floor(at / PAGE_BYTES) * PAGE_BYTES : at);
    const one = align(place(bytes, chance, length));
    const other = align(place(bytes, chance, length));
    if (Math.abs(one - other) < length || Math.max(one, other) + length > bytes.length) return bytes;
    const held = Buffer.from(bytes.subarray(one, one + length));
    bytes.copyWithin(one, other, other + length);
    held.copy(bytes, other);
    return bytes;
  },
  splice(bytes, { chance, foreign }) {
    const from = fs.readFileSync(foreign);
    const length = Math.min(from.length, bytes.length, some(chance, 262_144));
    const at = Math.floor((chance() * (Math.min(from.length, bytes.length) - length + 1)) / PAGE_BYTES) * PAGE_BYTES;
    from.copy(bytes, at, at, at + length);
    return bytes;
  },
  'swap files': (_bytes, { foreign }) => fs.readFileSync(foreign),
  older: (_bytes, { former }) => fs.readFileSync(former),
  empty: () => Buffer.alloc(0),
  gone: () => null,
};
