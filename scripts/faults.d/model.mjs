// A writer's history: steps made from a seed alone, one system call each, and the tree that they leave behind. Whoever
// knows the seed and a number of steps knows every byte that has to be there.
//
// A writer works alone in its directory, so its calls are in one order. After a fault the directory must look as it did
// after some step that is not before the last one that was promised, and not behind the last one that was begun.

const KIB = 1024;
const FILES_MAX = 120;
const DIRECTORIES_MAX = 12;
const FILE_BYTES_MAX = 2048 * KIB;
const TREE_BYTES_MAX = 16_384 * KIB;
/** One request of the kernel, whatever its alignment: so that a write is there whole or not at all. */
const WRITE_BYTES_MAX = 256 * KIB;
export const SHARED_RECORD_BYTES = 64;

/** mulberry32: small, seeded, good enough to choose with. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Bytes to write from: every step takes a piece from a place of its own. */
const POOL = (() => {
  const next = random(20_260);
  const pool = Buffer.allocUnsafe(4096 * KIB);
  for (let at = 0; at < pool.length; at += 4) pool.writeUInt32LE(Math.floor(next() * 2 ** 32), at);
  return pool;
})();

function content(seed, step, bytes) {
  const at = Math.floor(random(seed ^ Math.imul(step, 0x9e3779b1))() * (POOL.length - bytes));
  return POOL.subarray(at, at + bytes);
}

export class History {
  #seed;
  /** Steps taken. */
  count = 0;
  /** path → { type, inode } where inode is shared by hard links: { bytes: Buffer } or { target } or nothing. */
  tree = new Map();
  sharedRecords = 0;
  #bytes = 0;

  constructor(seed) {
    this.#seed = seed;
  }

  /** The next step, from the tree as it is: { kind, ... }. Does not change anything. */
  next() {
    const step = this.count + 1;
    const chance = random(this.#seed + Math.imul(step, 0x85ebca6b));
    chance();
    const pick = (list) => list[Math.floor(chance() * list.length)];
    const files = [...this.tree].filter(([, node]) => node.type === 'file').map(([path]) => path);
    const directories = ['', ...[...this.tree].filter(([, node]) => node.type === 'directory').map(([path]) => path)];
    const fresh = () => {
      const parent = pick(directories);
      return `${parent === '' ? '' : `${parent}/`}${pick(['a', 'b', 'c', 'file', 'ü', 'x'.repeat(100)])}${step}`;
    };
    const size = () => Math.max(1, Math.floor(2 ** (chance() * Math.log2(WRITE_BYTES_MAX))));
    const roll = chance();
    if (roll < 0.2) return { kind: 'sync', path: files.length > 0 && chance() < 0.7 ? pick(files) : pick(directories) };
    if (roll < 0.28) return { kind: 'shared', step };
    if (files.length === 0 || (roll < 0.42 && files.length < FILES_MAX)) return { kind: 'create', path: fresh() };
    const path = pick(files);
    const { bytes } = this.tree.get(path).inode;
    if (roll < 0.72) {
      const data = content(this.#seed, step, size());
      const append = chance() < 0.5;
      const gap = chance() < 0.1 ? Math.floor(chance() * 100 * KIB) : 0;
      const offset = append ? bytes.length : Math.floor(chance() * bytes.length) + gap;
      if (offset + data.length > FILE_BYTES_MAX || this.#bytes + data.length + gap > TREE_BYTES_MAX) return { kind: 'truncate', path, size: 0 };
      return append && gap === 0 ? { kind: 'append', path, data } : { kind: 'write', path, offset, data };
    }
    if (roll < 0.77) return { kind: 'truncate', path, size: Math.floor(chance() * (bytes.length + 10 * KIB)) };
    if (roll < 0.84) {
      const target = chance() < 0.4 ? pick(files) : fresh();
      // Two names of one inode: rename(2) does nothing then.
      return this.tree.get(target)?.inode === this.tree.get(path).inode ? { kind: 'sync', path } : { kind: 'rename', path, target };
    }
    if (roll < 0.87) return { kind: 'link', path, target: fresh() };
    if (roll < 0.89) return { kind: 'symlink', path: fresh(), target: pick(files) };
    if (roll < 0.92 && directories.length < DIRECTORIES_MAX) return { kind: 'mkdir', path: fresh() };
    if (roll < 0.94) {
      const empty = directories.filter((directory) => directory !== '' && ![...this.tree.keys()].some((name) => name.startsWith(`${directory}/`)));
      if (empty.length > 0) return { kind: 'rmdir', path: pick(empty) };
    }
    const links = [...this.tree].filter(([, node]) => node.type === 'link').map(([name]) => name);
    return { kind: 'unlink', path: links.length > 10 ? pick(links) : path };
  }

  /** Takes a step that `next` gave. */
  take(step) {
    this.count++;
    const { tree } = this;
    const node = tree.get(step.path);
    switch (step.kind) {
      case 'sync': return;
      case 'shared': this.sharedRecords++; return;
      case 'create': tree.set(step.path, { type: 'file', inode: { bytes: Buffer.alloc(0) } }); return;
      case 'append': return this.#write(node.inode, node.inode.bytes.length, step.data);
      case 'write': return this.#write(node.inode, step.offset, step.data);
      case 'truncate': return this.#truncate(node.inode, step.size);
      case 'rename': tree.delete(step.path); tree.set(step.target, node); return this.#recount();
      case 'link': tree.set(step.target, node); return;
      case 'symlink': tree.set(step.path, { type: 'link', inode: { target: step.target } }); return;
      case 'mkdir': tree.set(step.path, { type: 'directory', inode: {} }); return;
      case 'rmdir': tree.delete(step.path); return;
      case 'unlink': tree.delete(step.path); return this.#recount();
      default: throw new Error(`no step is called ${step.kind}`);
    }
  }

  /** Leaves out a step that was refused with an error that the fault allows. */
  skip() {
    this.count++;
  }

  #write(inode, offset, data) {
    const before = inode.bytes;
    const after = Buffer.alloc(Math.max(before.length, offset + data.length));
    before.copy(after);
    data.copy(after, offset);
    inode.bytes = after;
    this.#bytes += after.length - before.length;
  }

  #truncate(inode, size) {
    const after = Buffer.alloc(size);
    inode.bytes.copy(after);
    this.#bytes += size - inode.bytes.length;
    inode.bytes = after;
  }

  #recount() {
    const inodes = new Set([...this.tree.values()].map(({ inode }) => inode));
    this.#bytes = 0;
    for (const { bytes } of inodes) this.#bytes += bytes?.length ?? 0;
  }
}

/** A record of the file that all writers append to: whose it is, which, and a pattern that tells a torn one. */
export function sharedRecord(writer, number) {
  const text = `${writer} ${number} `;
  return Buffer.from(`${text}${'=+'.repeat(SHARED_RECORD_BYTES)}`.slice(0, SHARED_RECORD_BYTES - 1).concat('\n'));
}
