// The reference: what a file system does, in memory and as simply as it can be said. Errors are errno names.

export interface ModelFile {
  readonly kind: 'file';
  data: Buffer;
  mode: number;
  links: number;
}
export interface ModelDirectory {
  readonly kind: 'directory';
  readonly entries: Map<string, ModelNode>;
  mode: number;
}
export interface ModelLink {
  readonly kind: 'link';
  readonly target: string;
  links: number;
}
export type ModelNode = ModelFile | ModelDirectory | ModelLink;

/** Carries the errno name in `code`, as Node's errors do. */
export class ModelError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** Paths are relative, with slashes; '' is the root. Parents are never symbolic links. */
export class ReferenceFileSystem {
  readonly root: ModelDirectory = { kind: 'directory', entries: new Map(), mode: 0o755 };

  create(path: string): ModelFile {
    const { parent, name } = this.#parent(path);
    if (parent.entries.has(name)) throw new ModelError('EEXIST');
    const file: ModelFile = { kind: 'file', data: Buffer.alloc(0), mode: 0o644, links: 1 };
    parent.entries.set(name, file);
    return file;
  }

  /** For writing, without following links. */
  open(path: string): ModelFile {
    const node = this.lookup(path);
    if (node.kind === 'directory') throw new ModelError('EISDIR');
    if (node.kind === 'link') throw new ModelError('ELOOP');
    return node;
  }

  write(file: ModelFile, offset: number, data: Buffer): void {
    if (data.length === 0) return;
    if (offset + data.length > file.data.length) this.truncate(file, offset + data.length);
    data.copy(file.data, offset);
  }

  truncate(file: ModelFile, size: number): void {
    const resized = Buffer.alloc(size);
    file.data.copy(resized, 0, 0, size);
    file.data = resized;
  }

  punch(file: ModelFile, offset: number, bytes: number): void {
    file.data.fill(0, Math.min(offset, file.data.length), Math.min(offset + bytes, file.data.length));
  }

  makeDirectory(path: string): void {
    const { parent, name } = this.#parent(path);
    if (parent.entries.has(name)) throw new ModelError('EEXIST');
    parent.entries.set(name, { kind: 'directory', entries: new Map(), mode: 0o755 });
  }

  removeDirectory(path: string): void {
    const node = this.lookup(path);
    if (node.kind !== 'directory') throw new ModelError('ENOTDIR');
    if (node.entries.size > 0) throw new ModelError('ENOTEMPTY');
    this.#remove(path);
  }

  makeLink(path: string, target: string): void {
    const { parent, name } = this.#parent(path);
    if (parent.entries.has(name)) throw new ModelError('EEXIST');
    parent.entries.set(name, { kind: 'link', target, links: 1 });
  }

  link(from: string, to: string): void {
    const node = this.lookup(from);
    const { parent, name } = this.#parent(to);
    if (parent.entries.has(name)) throw new ModelError('EEXIST');
    if (node.kind === 'directory') throw new ModelError('EPERM');
    node.links++;
    parent.entries.set(name, node);
  }

  unlink(path: string): void {
    const node = this.lookup(path);
    if (node.kind === 'directory') throw new ModelError('EISDIR');
    node.links--;
    this.#remove(path);
  }

  /** The order of the checks is Linux's. rename(2). */
  rename(from: string, to: string): void {
    const source = this.#parent(from);
    const target = this.#parent(to);
    const node = this.lookup(from);
    if (to.startsWith(`${from}/`)) throw new ModelError('EINVAL');
    if (from.startsWith(`${to}/`)) throw new ModelError('ENOTEMPTY');
    const replaced = target.parent.entries.get(target.name);
    if (replaced === node) return;
    if (replaced !== undefined) {
      if (node.kind === 'directory' && replaced.kind !== 'directory') throw new ModelError('ENOTDIR');
      if (node.kind !== 'directory' && replaced.kind === 'directory') throw new ModelError('EISDIR');
      if (replaced.kind === 'directory') {
        if (replaced.entries.size > 0) throw new ModelError('ENOTEMPTY');
      } else replaced.links--;
    }
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, node);
  }

  lookup(path: string): ModelNode {
    if (path === '') return this.root;
    const { parent, name } = this.#parent(path);
    const node = parent.entries.get(name);
    if (node === undefined) throw new ModelError('ENOENT');
    return node;
  }

  /** All paths with their nodes, parents first. */
  *walk(path = '', node: ModelNode = this.root): Generator<readonly [path: string, node: ModelNode]> {
    yield [path, node];
    if (node.kind !== 'directory') return;
    for (const [name, child] of node.entries) yield* this.walk(path === '' ? name : `${path}/${name}`, child);
  }

  #remove(path: string): void {
    const { parent, name } = this.#parent(path);
    parent.entries.delete(name);
  }

  #parent(path: string): { parent: ModelDirectory; name: string } {
    const cut = path.lastIndexOf('/');
    const parent = cut < 0 ? this.root : this.lookup(path.slice(0, cut));
    if (parent.kind !== 'directory') throw new ModelError('ENOTDIR');
    return { parent, name: path.slice(cut + 1) };
  }
}
