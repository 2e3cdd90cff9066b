// Random operations, each carried out on the reference and on a real directory.
import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, open, readdir, rename, rmdir, symlink, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Calls } from './calls.ts';
import { RangeOperations } from './range-operations.ts';
import type { ModelFile, ReferenceFileSystem } from './reference-file-system.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e', `long-${'n'.repeat(250)}`];
const FILE_BYTES_MAX = 400_000;
/** Around the sizes at which something changes in the file system. */
const EDGES = [0, 1, 511, 4096, 16_383, 16_384, 16_385, 65_536, 100_000, 131_072, 262_144];

/** Numbers that depend on nothing but the seed. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
  bytes(count: number): Buffer {
    const first = this.below(255) + 1;
    return Buffer.from(Uint8Array.from({ length: count }, (_, index) => (first + index * 7 + (index >> 8)) & 0xff));
  }
}

/** A step of a run: what a person reads when it fails, and both sides of it. */
export interface Step {
  readonly text: string;
  readonly onModel: () => unknown;
  readonly onDisk: () => Promise<unknown>;
}

/** A file that was opened and stays open, whatever happens to its names. */
interface Held {
  readonly handle: FileHandle;
  readonly file: ModelFile;
}

export class Operations {
  readonly #model: ReferenceFileSystem;
  readonly #directory: string;
  readonly #random: Random;
  readonly #ranges: RangeOperations;
  #held: Held | undefined;

  constructor(model: ReferenceFileSystem, directory: string, random: Random, calls: Calls) {
    this.#model = model;
    this.#directory = directory;
    this.#random = random;
    this.#ranges = new RangeOperations({ model, random, calls, file: () => this.#file(), on: (path) => this.#on(path), size: () => this.#size() });
  }

  next(): Step {
    const choices: readonly (readonly [weight: number, make: () => Step])[] = [
      [14, () => this.#create()], [20, () => this.#write()], [8, () => this.#append()], [8, () => this.#truncate()],
      [10, () => this.#rename()], [5, () => this.#link()], [8, () => this.#unlink()], [6, () => this.#makeDirectory()],
      [4, () => this.#removeDirectory()], [3, () => this.#symlink()], [8, () => this.#read()], [4, () => this.#list()],
      [8, () => this.#ranges.fallocate()], [5, () => this.#ranges.copyRange()], [5, () => this.#ranges.map()], [4, () => this.#ranges.direct()],
      [2, () => this.#ranges.appends()], [4, () => this.#copy()], [2, () => this.#chmod()], [6, () => this.#hold()],
    ];
    let die = this.#random.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, make] of choices) {
      if (die < weight) return make();
      die -= weight;
    }
    throw new Error('the weights do not add up');
  }

  /** Closes what is still open. */
  async end(): Promise<void> {
    await this.#held?.handle.close();
    this.#held = undefined;
  }

  /** Some path, of something or of nothing, in a directory that is there. */
  #path(): string {
    const directories = [...this.#model.walk()].filter(([path, node]) => node.kind === 'directory' && path.split('/').length < 4).map(([path]) => path);
    return join(this.#random.pick(directories), this.#random.pick(NAMES));
  }

  /** Most often a file that is there. */
  #file(): string {
    const files = [...this.#model.walk()].filter(([, node]) => node.kind === 'file').map(([path]) => path);
    return files.length === 0 || this.#random.below(10) === 0 ? this.#path() : this.#random.pick(files);
  }

  #size(): number {
    return this.#random.below(3) === 0 ? this.#random.pick(EDGES) : this.#random.below(this.#random.pick([100, 5000, 40_000, FILE_BYTES_MAX / 2]));
  }

  #on(path: string): string {
    return join(this.#directory, path);
  }

  async #withFile<T>(path: string, flags: number, use: (handle: FileHandle) => Promise<T>): Promise<T> {
    const handle = await open(this.#on(path), flags | constants.O_NOFOLLOW);
    try {
      return await use(handle);
    } finally {
      await handle.close();
    }
  }

  #create(): Step {
    const path = this.#path();
    const data = this.#random.bytes(this.#size());
    return {
      text: `create ${path} with ${data.length} bytes`,
      onModel: () => this.#model.write(this.#model.create(path), 0, data),
      onDisk: () => this.#withFile(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, (handle) => handle.writeFile(data)),
    };
  }

  #write(): Step {
    const path = this.#file();
    const [offset, data] = [this.#size(), this.#random.bytes(this.#size())];
    return {
      text: `write ${data.length} bytes to ${path} at ${offset}`,
      onModel: () => this.#model.write(this.#model.open(path), offset, data),
      onDisk: () => this.#withFile(path, constants.O_RDWR, (handle) => writeAll(handle, data, offset)),
    };
  }

  #append(): Step {
    const path = this.#file();
    const data = this.#random.bytes(Math.min(this.#size(), 5000));
    return {
      text: `append ${data.length} bytes to ${path}`,
      onModel: () => {
        const file = this.#model.open(path);
        this.#model.write(file, file.data.length, data);
      },
      onDisk: () => this.#withFile(path, constants.O_WRONLY | constants.O_APPEND, (handle) => writeAll(handle, data, null)),
    };
  }

  #truncate(): Step {
    const path = this.#file();
    const size = this.#size();
    return {
      text: `truncate ${path} to ${size}`,
      onModel: () => this.#model.truncate(this.#model.open(path), size),
      onDisk: () => this.#withFile(path, constants.O_WRONLY, (handle) => handle.truncate(size)),
    };
  }

  #rename(): Step {
    const [from, to] = [this.#random.below(2) === 0 ? this.#file() : this.#path(), this.#path()];
    return { text: `rename ${from} to ${to}`, onModel: () => this.#model.rename(from, to), onDisk: () => rename(this.#on(from), this.#on(to)) };
  }

  #link(): Step {
    const [from, to] = [this.#file(), this.#path()];
    return { text: `link ${from} to ${to}`, onModel: () => this.#model.link(from, to), onDisk: () => link(this.#on(from), this.#on(to)) };
  }

  #unlink(): Step {
    const path = this.#file();
    return { text: `unlink ${path}`, onModel: () => this.#model.unlink(path), onDisk: () => unlink(this.#on(path)) };
  }

  #makeDirectory(): Step {
    const path = this.#path();
    return { text: `mkdir ${path}`, onModel: () => this.#model.makeDirectory(path), onDisk: () => mkdir(this.#on(path)).then(() => undefined) };
  }

  #removeDirectory(): Step {
    const path = this.#path();
    return { text: `rmdir ${path}`, onModel: () => this.#model.removeDirectory(path), onDisk: () => rmdir(this.#on(path)) };
  }

  #symlink(): Step {
    const path = this.#path();
    const target = 't'.repeat(1 + this.#random.below(300));
    return { text: `symlink ${path}`, onModel: () => this.#model.makeLink(path, target), onDisk: () => symlink(target, this.#on(path)) };
  }

  #read(): Step {
    const path = this.#file();
    const [offset, bytes] = [this.#size(), this.#size() + 1];
    return {
      text: `read ${bytes} bytes of ${path} at ${offset}`,
      onModel: () => this.#model.open(path).data.subarray(offset, offset + bytes).toString('latin1'),
      onDisk: () => this.#withFile(path, constants.O_RDWR, async (handle) => {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, offset);
        return buffer.subarray(0, bytesRead).toString('latin1');
      }),
    };
  }

  #list(): Step {
    const directories = [...this.#model.walk()].filter(([, node]) => node.kind === 'directory');
    const [path, node] = this.#random.pick(directories);
    return {
      text: `list ${path || 'the root'}`,
      onModel: () => (node.kind === 'directory' ? [...node.entries.keys()].toSorted().join(' ') : ''),
      onDisk: async () => (await readdir(this.#on(path))).toSorted().join(' '),
    };
  }

  #copy(): Step {
    const [from, to] = [this.#file(), this.#path()];
    const isFile = (path: string): boolean => [...this.#model.walk()].some(([other, node]) => other === path && node.kind === 'file');
    const isFree = ![...this.#model.walk()].some(([other]) => other === to);
    if (!isFile(from) || !isFree) return this.#read();
    return {
      text: `copy ${from} to ${to}`,
      onModel: () => this.#model.write(this.#model.create(to), 0, Buffer.from(this.#model.open(from).data)),
      onDisk: async () => {
        await copyFile(this.#on(from), this.#on(to));
        await chmod(this.#on(to), 0o644);
      },
    };
  }

  #chmod(): Step {
    const path = this.#file();
    const mode = this.#random.pick([0o600, 0o644, 0o755, 0o4755, 0o000]);
    return {
      text: `chmod ${mode.toString(8)} ${path}`,
      onModel: () => {
        this.#model.open(path).mode = mode;
      },
      onDisk: () => this.#withFile(path, constants.O_RDWR, (handle) => handle.chmod(mode)),
    };
  }

  /** Opens a file and keeps it, or writes to the one that is kept, or closes it. */
  #hold(): Step {
    const held = this.#held;
    if (held === undefined) {
      const path = this.#file();
      return {
        text: `open ${path} and keep it open`,
        onModel: () => void this.#model.open(path),
        onDisk: async () => {
          const handle = await open(this.#on(path), constants.O_RDWR | constants.O_NOFOLLOW);
          this.#held = { handle, file: this.#model.open(path) };
        },
      };
    }
    if (this.#random.below(4) === 0) {
      return { text: 'close the file that was kept open', onModel: () => undefined, onDisk: () => this.end() };
    }
    const [offset, data] = [this.#size(), this.#random.bytes(this.#size())];
    return {
      text: `write ${data.length} bytes at ${offset} to the file that was kept open (${held.file.links} links)`,
      onModel: () => {
        this.#model.write(held.file, offset, data);
        return held.file.data.toString('latin1');
      },
      onDisk: async () => {
        await writeAll(held.handle, data, offset);
        const { size } = await held.handle.stat();
        const { buffer } = await held.handle.read(Buffer.alloc(size), 0, size, 0);
        return buffer.toString('latin1');
      },
    };
  }
}

/** Until all is written; at the end of the file when `offset` is null and the file was opened for appending. */
async function writeAll(handle: FileHandle, data: Buffer, offset: number | null): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await handle.write(data, done, data.length - done, offset === null ? null : offset + done);
    done += bytesWritten;
  }
}
