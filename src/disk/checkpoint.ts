// The metadata as of one log record: an LMDB environment that is durable after every batch, and can be replaced whole.
//
//   CHECKPOINT/current     JSON: version 1, generation, and until the log was reset to it: resetLog { sequence, epoch }
//   CHECKPOINT/g00000001/  LMDB of that generation; others are leftovers and removed at open
//     rows   the rows of the key space, as they are
//     meta   key "applied"   value  0 u8 version (1)   4 u32 driver epoch   8 u64 sequence: all records up to it are in
//                                   the rows; little-endian
//            key "digest"    value  0 u32 sum   4 u64 count: what the rows add up to, see ipc/rows-digest.ts   12 u32 CRC-32 of
//                                   "applied" and bytes 0-11; missing where an older sdfs made the checkpoint
import fs from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { open } from 'lmdb';
import type { Database, RootDatabase } from 'lmdb';
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { EXIT, FormatError, UserError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import type { Row } from '../ipc/messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import { NO_ROWS, RowsDigester, sameDigest } from '../ipc/rows-digest.ts';
import type { RowsDigest } from '../ipc/rows-digest.ts';
import { readU64, writeU64 } from '../log/record.ts';
import { diskError } from './disk-error.ts';
import { GrowAhead } from './grow-ahead.ts';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import { replaceFile, syncPath } from '../os/replace-file.ts';

const VERSION = 1;
const APPLIED_KEY = Buffer.from('applied');
const DIGEST_KEY = Buffer.from('digest');
/** Rows whose digest is reckoned without letting requests in between. */
const DIGEST_ROWS = 256;
const MAP_BYTES = 256 * 2 ** 30;

/** A place in the log: the last record that is covered, and its driver. */
export interface LogPosition {
  readonly sequence: Sequence;
  readonly epoch: DriverEpoch;
}

const START: LogPosition = { sequence: 0 as Sequence, epoch: 0 as DriverEpoch };
const currentSchema = z.object({
  version: z.literal(VERSION),
  generation: z.int().min(1),
  resetLog: z.object({ sequence: z.int(), epoch: z.int() }).optional(),
});

export class Checkpoint {
  readonly directory: string;
  #generation: number;
  #tables: Tables;
  /** Of `#tables`. */
  #ahead: GrowAhead;
  #applied: LogPosition;
  /** Of `#tables`; null: not known. */
  #digest: RowsDigest | null;
  #loading: Loading | undefined;
  #newestGeneration: number;
  #givenUp: Promise<void> = Promise.resolve();
  /** Where the log must begin anew before anything else: a new checkpoint was committed, and the log is still the old one's. */
  #resetLog: LogPosition | undefined;

  private constructor(directory: string, generation: number, resetLog: LogPosition | undefined) {
    this.directory = directory;
    this.#generation = generation;
    this.#newestGeneration = generation;
    this.#resetLog = resetLog;
    this.#tables = openTables(generationPath(directory, generation), { durable: true });
    this.#ahead = new GrowAhead(join(generationPath(directory, generation), 'data.mdb'));
    this.#applied = readApplied(this.#tables, directory);
    this.#digest = readDigest(this.#tables);
  }

  /** Opens the checkpoint in `directory`, empty when there is none. UserError when a newer version wrote it. */
  static open(directory: string): Checkpoint {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, 'current');
    if (!fs.existsSync(file)) writeCurrent(directory, 1, undefined);
    const { generation, resetLog } = readCurrent(file);
    for (const name of fs.readdirSync(directory)) {
      if (/^g\d+$/.test(name) && Number(name.slice(1)) !== generation) fs.rmSync(join(directory, name), { recursive: true });
    }
    return new Checkpoint(directory, generation, resetLog);
  }

  /**
   * Reads all of the checkpoint in `directory`, and compares it with what was put there. Where its pages are damaged, LMDB
   * may end the process.
   */
  static isWhole(directory: string): boolean {
    const { generation } = readCurrent(join(directory, 'current'));
    const tables = openTables(generationPath(directory, generation), { durable: true });
    const digest = readDigest(tables);
    const digester = new RowsDigester();
    let before: Buffer | undefined;
    for (const row of tables.rows.getRange({})) {
      const key = Buffer.from(row.key);
      if (before !== undefined && before.compare(key) >= 0) return false;
      before = key;
      digester.add(key, row.value);
    }
    return digest === null || sameDigest(digest, digester.digest);
  }

  /** The last record that the rows contain; 0 when there are none. */
  get applied(): LogPosition {
    return this.#applied;
  }

  get generation(): number {
    return this.#generation;
  }

  /** What the rows should add up to. */
  get digest(): RowsDigest | null {
    return this.#digest;
  }

  get resetLog(): LogPosition | undefined {
    return this.#resetLog;
  }

  /** Puts and (where the value is null) deletes rows; durable when it resolves, all or nothing. WorkerError 'noSpace', 'diskFailure'. */
  async apply(rows: Iterable<readonly [key: Buffer, value: Buffer | null]>, applied: LogPosition): Promise<void> {
    assert(applied.sequence >= this.#applied.sequence, 'a checkpoint does not go back');
    const tables = this.#tables;
    const all = [...rows];
    const digest = await this.#digestAfter(all);
    this.#ahead.prepare(Infinity);
    // One transaction, which lmdb's own thread writes and syncs. The promises of the single writes are the batch's.
    const write = (): void => {
      for (const [key, value] of all) void (value === null ? tables.rows.remove(key) : tables.rows.put(key, value));
      void tables.meta.put(APPLIED_KEY, encodeApplied(applied));
      if (digest !== null) void tables.meta.put(DIGEST_KEY, encodeDigest(digest, applied));
    };
    try {
      await tables.env.batch(write);
    } catch (error) {
      throw diskError(this.#ahead.reasonOf(await reasonOf(error)), 'the checkpoint cannot be written');
    }
    this.#applied = applied;
    this.#digest = digest;
  }

  async #digestAfter(rows: readonly (readonly [key: Buffer, value: Buffer | null])[]): Promise<RowsDigest | null> {
    if (this.#digest === null) return null;
    const digester = new RowsDigester(this.#digest);
    for (const [index, [key, value]] of rows.entries()) {
      const before = this.#tables.rows.getBinary(key);
      if (before !== undefined) digester.remove(key, before);
      if (value !== null) digester.add(key, value);
      if (index % DIGEST_ROWS === DIGEST_ROWS - 1) await new Promise((resolve) => setImmediate(resolve));
    }
    return digester.digest;
  }

  /** Rows with keys greater than `after`, in order: as many as `bytesMax` bytes of keys and values hold, but at least one. */
  rows(after: Buffer | null, bytesMax: number): Row[] {
    const out: Row[] = [];
    let bytes = 0;
    const range = after === null ? {} : { start: Buffer.concat([after, Buffer.alloc(1)]) };
    for (const { key, value } of this.#tables.rows.getRange(range)) {
      bytes += 8 + key.length + value.length;
      if (bytes > bytesMax && out.length > 0) break;
      out.push([Buffer.from(key), Buffer.from(value)]);
    }
    return out;
  }

  /** Begins another checkpoint beside this one; a load that was not committed is given up. */
  beginLoad(): void {
    // A generation is never used twice: lmdb may still be closing the one that is given up.
    this.#givenUp = this.#giveUp(this.#loading);
    const generation = ++this.#newestGeneration;
    this.#loading = { generation, digester: new RowsDigester(), ...openTables(generationPath(this.directory, generation), { durable: false }) };
  }

  async #giveUp(loading: Loading | undefined): Promise<void> {
    await this.#givenUp;
    if (loading === undefined) return;
    await loading.env.close();
    await fs.promises.rm(generationPath(this.directory, loading.generation), { recursive: true });
  }

  /** Adds rows to it. WorkerError 'badRequest' when none was begun. */
  load(rows: readonly Row[]): void {
    const loading = this.#loading;
    if (loading === undefined) throw new WorkerError('badRequest', 'no checkpoint was begun');
    loading.env.transactionSync(() => {
      for (const [key, value] of rows) {
        void loading.rows.put(key, value);
        loading.digester.add(key, value);
      }
    });
  }

  /** Puts what was loaded in place of this one, durably; `resetLog` is set until `logWasReset`. */
  async commitLoad(applied: LogPosition): Promise<void> {
    const loading = this.#loading;
    if (loading === undefined) throw new WorkerError('badRequest', 'no checkpoint was begun');
    this.#loading = undefined;
    const { digest } = loading.digester;
    loading.env.transactionSync(() => {
      void loading.meta.put(APPLIED_KEY, encodeApplied(applied));
      void loading.meta.put(DIGEST_KEY, encodeDigest(digest, applied));
    });
    await loading.env.close();
    const path = generationPath(this.directory, loading.generation);
    const data = await fs.promises.open(join(path, 'data.mdb'), 'r+');
    try {
      await data.sync();
    } finally {
      await data.close();
    }
    syncPath(path);
    writeCurrent(this.directory, loading.generation, applied);
    const before = generationPath(this.directory, this.#generation);
    const replaced = this.#tables;
    this.#ahead.close();
    this.#generation = loading.generation;
    this.#resetLog = applied;
    this.#tables = openTables(path, { durable: true });
    this.#ahead = new GrowAhead(join(path, 'data.mdb'));
    this.#applied = applied;
    this.#digest = digest;
    await replaced.env.close();
    await fs.promises.rm(before, { recursive: true });
  }

  logWasReset(): void {
    this.#resetLog = undefined;
    writeCurrent(this.directory, this.#generation, undefined);
  }

  async close(): Promise<void> {
    await this.#giveUp(this.#loading);
    this.#loading = undefined;
    this.#ahead.close();
    await this.#tables.env.close();
  }
}

interface Tables {
  readonly env: RootDatabase<Buffer, Buffer>;
  readonly rows: Database<Buffer, Buffer>;
  readonly meta: Database<Buffer, Buffer>;
}

/** A checkpoint that is not committed yet. */
interface Loading extends Tables {
  readonly generation: number;
  readonly digester: RowsDigester;
}

function openTables(path: string, options: { readonly durable: boolean }): Tables {
  const table = { keyEncoding: 'binary', encoding: 'binary', compression: false, cache: false } as const;
  // No overlapping sync: a commit is resolved when it is on the disk, and a power cut leaves the last one whole.
  // No batching by turns: the batch that lmdb makes of a turn rejects a promise that nobody has, which ends the process.
  const env = open<Buffer, Buffer>({ ...table, path, noSubdir: false, noSync: !options.durable, overlappingSync: false, eventTurnBatching: false, mapSize: MAP_BYTES, maxDbs: 4 });
  env.readerCheck();
  return { env, rows: env.openDB<Buffer, Buffer>({ ...table, name: 'rows' }), meta: env.openDB<Buffer, Buffer>({ ...table, name: 'meta' }) };
}

/** Of a commit that failed: lmdb promises the reason beside the error, and a promise that nobody takes ends the process. */
async function reasonOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error)) return error;
  return (error.commitError as Promise<never>).catch((reason: unknown) => reason);
}

function encodeApplied({ sequence, epoch }: LogPosition): Buffer {
  const out = Buffer.alloc(16);
  out.writeUInt8(VERSION, 0);
  out.writeUInt32LE(epoch, 4);
  writeU64(out, sequence, 8);
  return out;
}

function readApplied({ meta }: Tables, directory: string): LogPosition {
  const value = meta.getBinary(APPLIED_KEY);
  if (value === undefined) return START;
  if (value[0]! > VERSION) throw new UserError(`the checkpoint in ${directory} has version ${value[0]}, and this sdfs knows ${VERSION}: install the newer sdfs that wrote it`, EXIT.unsupported);
  return { sequence: readU64(value, 8) as Sequence, epoch: value.readUInt32LE(4) as DriverEpoch };
}

/** A new checkpoint has no rows; one that has some and no digest is an older sdfs's. */
function readDigest({ meta }: Tables): RowsDigest | null {
  const value = meta.getBinary(DIGEST_KEY);
  const applied = meta.getBinary(APPLIED_KEY);
  if (value === undefined) return applied === undefined ? NO_ROWS : null;
  if (applied === undefined || value.length !== 16 || crc32(value.subarray(0, 12), crc32(applied)) !== value.readUInt32LE(12)) {
    throw new FormatError('checkpoint', { wanted: 'a place in the log that fits its checksum', found: 'another' });
  }
  return { sum: value.readUInt32LE(0), count: readU64(value, 4) };
}

function encodeDigest({ sum, count }: RowsDigest, applied: LogPosition): Buffer {
  const out = Buffer.alloc(16);
  out.writeUInt32LE(sum, 0);
  writeU64(out, count, 4);
  out.writeUInt32LE(crc32(out.subarray(0, 12), crc32(encodeApplied(applied))), 12);
  return out;
}

/** UserError when a newer version wrote it; SyntaxError and ZodError when it is damaged. */
function readCurrent(file: string): { generation: number; resetLog: LogPosition | undefined } {
  const json = parseCheckedJson(fs.readFileSync(file, 'utf8'));
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > VERSION) throw new UserError(`${file} has version ${version}, and this sdfs knows ${VERSION}: the disk was used by a newer sdfs; install that one`, EXIT.unsupported);
  const { generation, resetLog } = currentSchema.parse(json);
  return { generation, resetLog: resetLog as LogPosition | undefined };
}

function writeCurrent(directory: string, generation: number, resetLog: LogPosition | undefined): void {
  replaceFile(join(directory, 'current'), toCheckedJson({ version: VERSION, generation, ...(resetLog === undefined ? {} : { resetLog }) }));
}

function generationPath(directory: string, generation: number): string {
  return join(directory, `g${String(generation).padStart(8, '0')}`);
}
