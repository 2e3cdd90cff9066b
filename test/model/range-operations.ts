// Random operations on ranges of files: space, zeros, copies, mappings, direct and concurrent writes.
import type { Calls } from './calls.ts';
import type { Random, Step } from './operations.ts';
import { ModelError } from './reference-file-system.ts';
import type { ReferenceFileSystem } from './reference-file-system.ts';

const MODES = { allocate: 0, keepSize: 1, punch: 3, zero: 16, zeroKeepSize: 17 } as const;
/** Larger ones would make the walks slow. */
const APPENDED_BYTES_MAX = 3000;

export interface RangeOperationsParts {
  readonly model: ReferenceFileSystem;
  readonly random: Random;
  readonly calls: Calls;
  /** A path, most often of a file that is there; and where it is on the disk. */
  readonly file: () => string;
  readonly on: (path: string) => string;
  readonly size: () => number;
}

export class RangeOperations {
  readonly #parts: RangeOperationsParts;

  constructor(parts: RangeOperationsParts) {
    this.#parts = parts;
  }

  fallocate(): Step {
    const { model, random, calls, file, on, size } = this.#parts;
    const path = file();
    const mode = random.pick(['allocate', 'keepSize', 'punch', 'punch', 'zero', 'zeroKeepSize'] as const);
    const [offset, bytes] = [size(), size() + 1];
    return {
      text: `fallocate ${mode}, ${bytes} bytes of ${path} at ${offset}`,
      onModel: () => {
        const found = model.open(path);
        if (mode === 'punch' || mode === 'zero' || mode === 'zeroKeepSize') model.punch(found, offset, bytes);
        if ((mode === 'allocate' || mode === 'zero') && offset + bytes > found.data.length) model.truncate(found, offset + bytes);
      },
      onDisk: () => calls.make('fallocate', { path: on(path), mode: MODES[mode], offset, bytes }),
    };
  }

  copyRange(): Step {
    const { model, random, calls, file, on, size } = this.#parts;
    const source = file();
    const target = random.below(4) === 0 ? source : file();
    const [sourceOffset, targetOffset, bytes] = [size(), size(), size() + 1];
    return {
      text: `copy ${bytes} bytes of ${source} at ${sourceOffset} to ${target} at ${targetOffset}`,
      onModel: () => {
        const [from, to] = [model.open(source), model.open(target)];
        const data = Buffer.from(from.data.subarray(sourceOffset, sourceOffset + bytes));
        if (data.length > 0 && from === to && sourceOffset < targetOffset + data.length && targetOffset < sourceOffset + data.length) throw new ModelError('EINVAL');
        model.write(to, targetOffset, data);
        return data.length;
      },
      onDisk: () => calls.make('copy', { source: on(source), target: on(target), sourceOffset, targetOffset, bytes }),
    };
  }

  map(): Step {
    const { model, random, calls, file, on, size } = this.#parts;
    const path = file();
    const [offset, data, sync] = [size(), random.bytes(size()), random.below(2) === 0];
    return {
      text: `write ${data.length} bytes through a mapping of ${path} at ${offset}${sync ? ', with msync' : ''}`,
      onModel: () => {
        const found = model.open(path);
        const fitting = data.subarray(0, Math.max(0, found.data.length - offset));
        model.write(found, offset, fitting);
        return fitting.length;
      },
      onDisk: () => calls.make('map', { path: on(path), offset, data: data.toString('base64'), sync }),
    };
  }

  /** Half of them aligned, as programs do it that know local disks. */
  direct(): Step {
    const { model, random, calls, file, on, size } = this.#parts;
    const path = file();
    const [anyOffset, anyData, aligned] = [size(), random.bytes(size()), random.below(2) === 0];
    const offset = aligned ? Math.floor(anyOffset / 4096) * 4096 : anyOffset;
    const data = aligned ? anyData.subarray(0, Math.floor(anyData.length / 4096) * 4096) : anyData;
    return {
      text: `write ${data.length} bytes with O_DIRECT to ${path} at ${offset}`,
      onModel: () => {
        model.write(model.open(path), offset, data);
        return data.length;
      },
      onDisk: () => calls.make('direct', { path: on(path), offset, data: data.toString('base64') }),
    };
  }

  /** All processes append the same bytes: the outcome is one, whoever comes first. */
  appends(): Step {
    const { model, random, calls, file, on } = this.#parts;
    const path = file();
    const [data, processes, count] = [random.bytes(1 + random.below(APPENDED_BYTES_MAX)), 2 + random.below(3), 1 + random.below(5)];
    return {
      text: `${processes} processes append ${data.length} bytes to ${path}, ${count} times each`,
      onModel: () => {
        const found = model.open(path);
        model.write(found, found.data.length, Buffer.concat(Array.from({ length: processes * count }, () => data)));
        return 0;
      },
      onDisk: () => calls.make('appends', { path: on(path), data: data.toString('base64'), processes, count }),
    };
  }
}
