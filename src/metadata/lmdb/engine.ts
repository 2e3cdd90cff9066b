// Metadata in LMDB, with a redo journal before it: the driver's own, rebuildable copy of all rows.
//
// A change is acknowledged by one write of its record into the journal (page cache: it survives the process). The
// rows go into an LMDB write transaction that stays open over many changes, so that reads see them at once, and is
// committed in the background; a successor replays what the last commit missed. Measured against a commit for each
// change: docs/ARCHITECTURE.md.
import { mkdirSync, openSync, fdatasyncSync, closeSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ABORT, open } from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { assert } from '../../base/assert.ts';
import { LIMITS } from '../../base/limits.ts';
import { FormatError, FsError } from '../../base/errors.ts';
import type { BlockId, DriverEpoch, InodeNumber, Sequence } from '../../base/ids.ts';
import { LogFile } from '../../log/log-file.ts';
import { decodeOperations, decodeRecord, encodeRecord } from '../../log/record.ts';
import type { Operation } from '../../log/record.ts';
import type { Cause, MetadataEngine, MetadataView, Reader, Row, Transaction } from '../engine.ts';
import { BufferedTransaction } from './buffered-transaction.ts';
import { openRow, sealRow, verifyRows } from './checked-rows.ts';
import { APPLIED_SEQUENCE, INODE_COUNT, ownNumber, putOwn, rowCount, upgradeRows } from './own-rows.ts';
import { DatabaseDamagedError, JournalLostError } from './database-errors.ts';
import type { LmdbEngineOptions, ReplayedData } from './options.ts';
import { RequestResults } from './request-results.ts';
import { lmdbView } from './view.ts';
import { isInodeKey, keys } from '../schema.ts';

export class LmdbEngine implements MetadataEngine {
  readonly #directory: string;
  readonly journalDirectory: string;
  readonly #epoch: DriverEpoch;
  readonly #batchOperationsMax: number;
  readonly #onFailure: ((error: Error) => void) | undefined;
  readonly #reserveSpace: () => boolean;
  readonly #db: RootDatabase<Buffer, Buffer>;
  readonly #journal: LogFile;
  readonly #results: RequestResults;
  /** Ends the open LMDB write transaction; undefined when none is open. */
  #finish: ((result?: never) => void) | undefined;
  #operationsInBatch = 0;
  #full = false;
  #sequence: Sequence;
  #appliedSequence: Sequence;
  #inodeCount: number;
  /** Set when the journal could not be written: nothing more is acknowledged. */
  #failed: Error | undefined;

  private constructor(options: LmdbEngineOptions, db: RootDatabase<Buffer, Buffer>, journal: LogFile) {
    this.#directory = options.directory;
    this.journalDirectory = options.journalDirectory ?? join(options.directory, 'journal');
    this.#epoch = options.epoch;
    this.#results = new RequestResults(options.mountEpoch ?? options.epoch);
    this.#batchOperationsMax = options.batchOperationsMax ?? 4096;
    this.#onFailure = options.onFailure;
    this.#reserveSpace = options.reserveSpace ?? (() => true);
    this.#db = db;
    this.#journal = journal;
    this.#appliedSequence = (ownNumber(db, APPLIED_SEQUENCE) ?? 0) as Sequence;
    this.#inodeCount = ownNumber(db, INODE_COUNT) ?? 0;
    this.#sequence = this.#appliedSequence;
  }

  /**
   * Opens or makes the database in `directory` and replays its journal; `onData` gets every small datum found in it.
   * The caller knows that the directory is to be trusted (same boot, or closed cleanly); else it calls `eraseDatabase` first.
   */
  static async open(options: LmdbEngineOptions, onData: (data: ReplayedData) => void): Promise<LmdbEngine> {
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const db = open<Buffer, Buffer>({
      path: join(options.directory, 'rows'),
      noSync: true,
      overlappingSync: false,
      keyEncoding: 'binary',
      encoding: 'binary',
      compression: false,
      mapSize: 2 ** 40,
      commitDelay: 0,
    });
    db.readerCheck();
    upgradeRows(db);
    const journal = LogFile.open(options.journalDirectory ?? join(options.directory, 'journal'), { segmentBytes: LIMITS.logSegmentBytes });
    const engine = new LmdbEngine(options, db, journal);
    if (journal.lastSequence < engine.#appliedSequence) {
      // A clean end takes the journal away. Otherwise it is never behind the rows, unless somebody removed it.
      if (options.closedCleanly !== true) {
        await engine.abandon();
        throw new JournalLostError(`the rows are those of record ${engine.#appliedSequence}, the journal ends at ${journal.lastSequence}`);
      }
      await journal.reset(engine.#appliedSequence);
    }
    if (journal.lastSequence > 0 && journal.firstSequence > engine.#appliedSequence + 1) {
      await engine.abandon();
      throw new JournalLostError(`the rows are those of record ${engine.#appliedSequence}, the journal begins at ${journal.firstSequence}`);
    }
    engine.#replay(onData);
    return engine;
  }

  get lastSequence(): Sequence {
    return this.#sequence;
  }

  /** Everything up to here is committed to LMDB (process-proof; the journal is not needed for it). */
  get appliedSequence(): Sequence {
    return this.#appliedSequence;
  }

  get inodeCount(): number {
    return this.#inodeCount;
  }

  /** Of the last commit. */
  get rowCount(): number {
    return rowCount(this.#db);
  }

  correctInodeCount(delta: number): void {
    this.#begin();
    this.#inodeCount += delta;
    this.commitBatch();
  }

  async view(): Promise<MetadataView> {
    this.commitBatch();
    const inodeCount = this.#inodeCount;
    const sequence = this.#appliedSequence;
    const isLast = (): boolean => (ownNumber(this.#db, APPLIED_SEQUENCE) ?? 0) === sequence;
    return { ...lmdbView(this.#db, { isLast, settle: () => this.commitBatch(), onDamage: (error) => this.#damaged(error) }), sequence, inodeCount };
  }

  /**
   * Reads all rows of this moment, and returns their number. Rows that are not what was put, or are not there, end the
   * engine as those do that somebody comes across; then it rejects. `pause` is called about every millisecond.
   */
  async verify(pause: () => Promise<void>): Promise<number> {
    const view = await this.view();
    const wanted = rowCount(this.#db);
    try {
      return await verifyRows(view.reader, wanted, pause);
    } catch (error) {
      throw error instanceof FormatError ? this.#damaged(error) : error;
    } finally {
      view.close();
    }
  }

  transact<T>(cause: Cause | null, work: (transaction: Transaction) => T): T {
    this.#assertWorks();
    const transaction = new BufferedTransaction(this.reader);
    const value = work(transaction);
    if (transaction.operations.length > 0) this.#commit(cause, transaction);
    return value;
  }

  committedResult(cause: Cause): InodeNumber | 0 | undefined {
    return this.#results.of(cause);
  }

  /** Whole records after `sequence`, verified, about `bytesMax` of them; empty at the end. */
  recordsAfter(sequence: Sequence, bytesMax: number): Buffer {
    return this.#journal.read((sequence + 1) as Sequence, bytesMax);
  }

  /** First sequence that the journal still has. */
  get firstJournalSequence(): Sequence {
    return this.#journal.firstSequence;
  }

  /** Lets the journal forget records up to `through`, which no one needs any more. */
  trim(through: Sequence): void {
    this.#journal.trim(Math.min(through, this.#appliedSequence) as Sequence);
  }

  /** Commits the open LMDB transaction. Takes about 1 us a change; called at idle moments. */
  commitBatch(): void {
    if (this.#finish === undefined) return;
    this.#full = !this.#reserveSpace();
    putOwn(this.#db, APPLIED_SEQUENCE, this.#sequence);
    putOwn(this.#db, INODE_COUNT, this.#inodeCount);
    const finish = this.#finish;
    this.#finish = undefined;
    this.#operationsInBatch = 0;
    try {
      finish();
    } catch (error) {
      // LMDB has dropped the rows of acknowledged changes: only a successor that replays the journal has them again.
      throw this.#fail(error as Error);
    }
    this.#appliedSequence = this.#sequence;
  }

  /** True while the file system below has no room for more rows: what is set aside is for deletes. */
  get full(): boolean {
    return this.#full;
  }

  /** Bytes of journal that is not trimmed yet. */
  get journalBytes(): number {
    return this.#journal.bytes;
  }

  #assertWorks(): void {
    if (this.#failed !== undefined) throw new FsError('EIO', 'the metadata can take no more changes; the driver is ending', { cause: this.#failed });
  }

  #fail(error: Error, message = 'the metadata cannot be written'): FsError {
    if (this.#failed === undefined) {
      this.#failed = error;
      this.#onFailure?.(error);
    }
    return new FsError('EIO', message, { cause: error });
  }

  /** What LMDB cannot read it cannot be asked again: a successor makes the rows anew. */
  #damaged(error: Error): FsError {
    return this.#fail(new DatabaseDamagedError(`the metadata database in ${this.#directory} cannot be read: ${error.message}`, { cause: error }));
  }

  /** All rows of the schema in key order, as copies; for seeding a worker. The open batch is committed first. */
  *rows(): Generator<Row> {
    this.commitBatch();
    try {
      for (const { key, value } of this.#db.getRange({ start: Buffer.of(1) as never })) yield [Buffer.from(key as Buffer), Buffer.from(openRow(key as Buffer, value))];
    } catch (error) {
      throw this.#damaged(error as Error);
    }
  }

  /** Loads rows of a worker's checkpoint into an empty database; `sequence` is the checkpoint's. */
  load(rows: Iterable<Row>): void {
    this.#begin();
    for (const [key, value] of rows) this.#putRow(key, value);
    if (this.#operationsInBatch >= this.#batchOperationsMax) this.commitBatch();
  }

  /** Applies one record of a worker's log behind what was loaded, and keeps it in the journal. */
  applyRecord(record: Buffer, sequence: Sequence, epoch: DriverEpoch): void {
    this.#journal.append([record], sequence, sequence, epoch);
    const header = decodeRecord(record, 0);
    if (header !== undefined) this.#results.add(header);
    this.#applyOperations(decodeOperations(record, 0), undefined, sequence);
    this.#sequence = sequence;
  }

  /** Says that all rows loaded so far are those of `sequence`. */
  async setSequence(sequence: Sequence): Promise<void> {
    await this.#journal.reset(sequence);
    this.#begin();
    this.#sequence = sequence;
    this.commitBatch();
  }

  /** Whether an extent names the block: data replayed for one that none names is dropped. */
  hasBlock(id: BlockId): boolean {
    return this.reader.get(keys.block(id)) !== undefined;
  }

  /** Ends as a killed process does: the open batch is lost, the journal has it. For tests of the successor. */
  async abandon(): Promise<void> {
    this.#failed ??= new Error('the metadata database was abandoned');
    const finish = this.#finish;
    this.#finish = undefined;
    finish?.(ABORT as never);
    await this.#journal.close();
    await this.#db.close();
  }

  /** Power-proof close, for a clean end. The journal has nothing then that the rows have not, and goes. */
  async close(): Promise<void> {
    this.commitBatch();
    this.#failed ??= new Error('the metadata database is closed');
    await this.#journal.close();
    await this.#db.close();
    const fd = openSync(join(this.#directory, 'rows', 'data.mdb'), 'r+');
    try {
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
    for (const directory of [this.journalDirectory, `${this.journalDirectory}.aside`]) rmSync(directory, { recursive: true, force: true });
  }

  readonly reader: Reader = {
    get: (key) => {
      // lmdb hands out one shared Buffer that only pretends to have the value's length.
      try {
        const shared = this.#db.getBinaryFast(key as never) as Buffer | undefined;
        return shared === undefined ? undefined : openRow(key, shared);
      } catch (error) {
        throw this.#damaged(error as Error);
      }
    },
    range: (start, end, limit, direction = 'forward') => {
      const rows: Row[] = [];
      const bounds = direction === 'forward'
        ? { start: start as never, end: end as never, limit }
        : { start: end as never, end: start as never, reverse: true, exclusiveStart: true, inclusiveEnd: true, limit };
      try {
        for (const { key, value } of this.#db.getRange(bounds)) rows.push([Buffer.from(key as Buffer), Buffer.from(openRow(key as Buffer, value))]);
      } catch (error) {
        throw this.#damaged(error as Error);
      }
      return rows;
    },
  };

  #commit(cause: Cause | null, transaction: BufferedTransaction): void {
    // One that was made while this was prepared, for a lease of numbers, may have failed.
    this.#assertWorks();
    const sequence = (this.#sequence + 1) as Sequence;
    const record = encodeRecord({
      sequence,
      epoch: this.#epoch,
      requestHi: cause === null ? 0 : cause.requestHi,
      requestLo: cause === null ? 0 : cause.requestLo,
      result: transaction.resultInode,
    }, transaction.operations);
    if (record.length > LIMITS.logRecordBytesMax) throw new FsError('EIO', `a transaction of ${record.length} bytes; a log record may have ${LIMITS.logRecordBytesMax}`);
    try {
      this.#journal.append([record], sequence, sequence, this.#epoch);
    } catch (error) {
      // Nothing was appended then (log/log-file.ts).
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw new FsError('ENOSPC', 'no room for the metadata journal', { cause: error });
      throw this.#fail(error as Error, 'the journal of the metadata cannot be written; whether this change is in it is not known');
    }
    this.#sequence = sequence;
    try {
      this.#applyTransaction(transaction);
    } catch (error) {
      // It is in the journal, so it is done, and a successor has it: only this engine cannot go on.
      this.#fail(error as Error);
    }
  }

  #applyTransaction({ operations, inodeDelta }: BufferedTransaction): void {
    this.#begin();
    for (const operation of operations) {
      if (operation.kind === 'put') this.#db.put(operation.key as never, sealRow(operation.key, operation.value));
      else if (operation.kind === 'delete') this.#db.remove(operation.key as never);
    }
    this.#inodeCount += inodeDelta;
    this.#operationsInBatch += operations.length;
    if (this.#operationsInBatch >= this.#batchOperationsMax) this.commitBatch();
  }

  /** Opens the LMDB write transaction: lmdb keeps it open until the thenable that its callback returned is settled. */
  #begin(): void {
    if (this.#finish !== undefined) return;
    // Rows of a batch that failed are missing: none may be committed behind them as if they were there.
    this.#assertWorks();
    // oxlint-disable-next-line unicorn/no-thenable -- a promise would settle a turn too late
    this.#db.transactionSync(() => ({ then: (settle: (result?: never) => void) => { this.#finish = settle; } }) as never, 2);
    assert(this.#finish !== undefined, 'lmdb opened a transaction');
  }

  #replay(onData: (data: ReplayedData) => void): void {
    for (const { header, bytes, offset } of this.#journal.scan(this.#journal.firstSequence)) {
      this.#results.add(header);
      this.#applyOperations(decodeOperations(bytes, offset), onData, header.sequence);
      if (header.sequence > this.#sequence) this.#sequence = header.sequence;
    }
    assert(this.#journal.lastSequence === 0 || this.#journal.lastSequence === this.#sequence, `the journal ends at ${this.#journal.lastSequence}, the rows at ${this.#sequence}`);
    this.commitBatch();
  }

  #applyOperations(operations: Iterable<Operation>, onData: ((data: ReplayedData) => void) | undefined, sequence: Sequence): void {
    const rowsAreNew = sequence > this.#appliedSequence;
    if (rowsAreNew) this.#begin();
    for (const operation of operations) {
      if (operation.kind === 'data') onData?.({ id: operation.id, data: Buffer.from(operation.data), sequence });
      else if (!rowsAreNew) continue;
      else if (operation.kind === 'put') this.#putRow(operation.key, operation.value);
      else {
        if (isInodeKey(operation.key) && this.#db.getBinaryFast(operation.key as never) !== undefined) this.#inodeCount--;
        this.#db.remove(operation.key as never);
        this.#operationsInBatch++;
      }
    }
  }

  #putRow(key: Buffer, value: Buffer): void {
    if (isInodeKey(key) && this.#db.getBinaryFast(key as never) === undefined) this.#inodeCount++;
    this.#db.put(key as never, sealRow(key, value));
    this.#operationsInBatch++;
  }
}
