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
  /** Index into `operations` by key: the last word on a row counts. */
  readonly #byKey = new Map<string, number>();

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  get(key: Buffer): Buffer | undefined {
    if (this.operations.length > 0) {
      const index = this.#byKey.get(key.toString('latin1'));
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
    const name = key.toString('latin1');
    const index = this.#byKey.get(name);
    const before = index === undefined ? undefined : this.operations[index];
    if (isInodeKey(key) && (operation.kind === 'delete' || index === undefined || before?.kind === 'delete')) {
      const existed = before === undefined ? this.#reader.get(key) !== undefined : before.kind === 'put';
      if (operation.kind === 'put' && !existed) this.inodeDelta++;
      else if (operation.kind === 'delete' && existed) this.inodeDelta--;
    }
    if (index === undefined) this.#byKey.set(name, this.operations.push(operation) - 1);
    else this.operations[index] = operation;
  }
}
