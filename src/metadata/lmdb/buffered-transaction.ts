// A transaction that is being made: its changes, before any of them takes effect.
import type { BlockId, InodeNumber } from '../../base/ids.ts';
import type { Operation, Reader, Row, Transaction } from '../engine.ts';
import { isInodeKey } from '../schema.ts';

/** Collects a transaction's changes, so that a throw leaves nothing behind and one record holds them all. */
export class BufferedTransaction implements Transaction {
  readonly operations: Operation[] = [];
  resultInode: InodeNumber | 0 = 0;
  inodeDelta = 0;
  readonly #reader: Reader;
  /** Index into `operations` by key: the last word on a row counts. Made by the first `get` behind a change, which many transactions never do. */
  #byKey: Map<string, number> | undefined;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  get(key: Buffer): Buffer | undefined {
    if (this.operations.length > 0) {
      const index = this.#index().get(key.toString('latin1'));
      if (index !== undefined) {
        const operation = this.operations[index];
        return operation?.kind === 'put' ? operation.value : undefined;
      }
    }
    return this.#reader.get(key);
  }

  range(start: Buffer, end: Buffer, limit: number, direction?: 'forward' | 'backward'): Row[] {
    return this.#reader.range(start, end, limit, direction);
  }

  put(key: Buffer, value: Buffer): void {
    this.#set(key, { kind: 'put', key, value });
  }

  delete(key: Buffer): void {
    this.#set(key, { kind: 'delete', key });
  }

  data(id: BlockId, data: Buffer): void {
    this.operations.push({ kind: 'data', id, data });
  }

  result(inode: InodeNumber): void {
    this.resultInode = inode;
  }

  #set(key: Buffer, operation: Operation): void {
    // The count of inodes needs to know what was there before.
    if (this.#byKey === undefined && !isInodeKey(key)) {
      this.operations.push(operation);
      return;
    }
    const byKey = this.#index();
    const name = key.toString('latin1');
    const index = byKey.get(name);
    const before = index === undefined ? undefined : this.operations[index];
    if (isInodeKey(key) && (operation.kind === 'delete' || index === undefined || before?.kind === 'delete')) {
      const existed = before === undefined ? this.#reader.get(key) !== undefined : before.kind === 'put';
      if (operation.kind === 'put' && !existed) this.inodeDelta++;
      else if (operation.kind === 'delete' && existed) this.inodeDelta--;
    }
    if (index === undefined) byKey.set(name, this.operations.push(operation) - 1);
    else this.operations[index] = operation;
  }

  /** A row that was changed more than once before this is in `operations` more than once: they are carried out in order. */
  #index(): Map<string, number> {
    if (this.#byKey !== undefined) return this.#byKey;
    const byKey = (this.#byKey = new Map<string, number>());
    for (const [index, operation] of this.operations.entries()) if (operation.kind !== 'data') byKey.set(operation.key.toString('latin1'), index);
    return byKey;
  }
}
