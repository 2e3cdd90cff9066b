// Where each block of a disk lies: an LMDB environment that can be rebuilt from the segments, and is therefore not synced.
//
//   blocks    key  id.hi, id.lo: u32 big-endian, so that rows are in the order of ids
//             value  0 u32 segment   4 u32 offset of the record   8 u32 block bytes   12 … u32 checksums
//   segments  key  number: u32 big-endian      value  0 u8 class   4 u32 end   8 u32 live bytes   12 u32 punched bytes
//                                                     16 u32 synced (an older sdfs did not note it)
//   dead      key  segment, offset: u32 big-endian      value  u32 block bytes: records still to be marked and punched
//   meta      key  "format"      value  u8 version (1)
//             key  "puts"        value  u64 number of the last put
//
// Values are little-endian. A process that dies loses nothing of it; after a power cut it is not to be trusted.
//
//   INDEX/SEAL      of data.mdb (os/file-seal.ts), from a clean end to the next start: LMDB believes its pages
//   INDEX/DAMAGED   a process found it damaged, and ended: the next one makes it anew
import fs from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import type { Database, RootDatabase } from 'lmdb';
import { AssertionError } from '../base/assert.ts';
import { EXIT, UserError } from '../base/errors.ts';
import type { BlockId } from '../base/ids.ts';
import { readU64, writeU64 } from '../log/record.ts';
import type { BlockClass } from './block-format.ts';
import { sealOf } from '../os/file-seal.ts';
import { replaceFile, syncPath } from '../os/replace-file.ts';
import { GrowAhead } from './grow-ahead.ts';

const VERSION = 1;
const FORMAT_KEY = Buffer.from('format');
const PUTS_KEY = Buffer.from('puts');
const MAP_BYTES = 64 * 2 ** 30;
const SEAL = 'SEAL';
const DAMAGED = 'DAMAGED';
/** MDB_PAGE_NOTFOUND to MDB_INVALID, MDB_CURSOR_FULL and MDB_PAGE_FULL, MDB_BAD_TXN to MDB_PROBLEM: lmdb.h. */
const DAMAGE_CODES: ReadonlySet<unknown> = new Set([-30797, -30796, -30795, -30794, -30793, -30787, -30786, -30782, -30781, -30780, -30779]);

const MDB_BAD_TXN = -30782;
const ATTEMPTS = 3;

export interface BlockLocation {
  readonly segment: number;
  /** Of the record in its segment. */
  readonly offset: number;
  readonly blockBytes: number;
}

export interface SegmentRow {
  readonly number: number;
  readonly class: BlockClass;
  /** Where the next record goes. */
  readonly end: number;
  /** Bytes of records that blocks still need. */
  readonly liveBytes: number;
  /** Bytes given back to the file system. */
  readonly punchedBytes: number;
  /** What lies before was synced; perhaps more. */
  readonly synced: number;
}

type Table = Database<Buffer, Buffer>;

export class BlockIndex {
  readonly #directory: string;
  readonly #env: RootDatabase<Buffer, Buffer>;
  readonly #ahead: GrowAhead;
  readonly #blocks: Table;
  readonly #segments: Table;
  readonly #dead: Table;
  readonly #meta: Table;
  /** lmdb copies keys at once, so that one Buffer serves all calls. */
  readonly #key = Buffer.alloc(8);

  private constructor(directory: string) {
    const table = { keyEncoding: 'binary', encoding: 'binary', compression: false, cache: false } as const;
    this.#directory = directory;
    this.#env = open<Buffer, Buffer>({ ...table, path: directory, noSync: true, overlappingSync: false, mapSize: MAP_BYTES, maxDbs: 8 });
    this.#ahead = new GrowAhead(join(directory, 'data.mdb'));
    this.#env.readerCheck();
    this.#blocks = this.#env.openDB<Buffer, Buffer>({ ...table, name: 'blocks' });
    this.#segments = this.#env.openDB<Buffer, Buffer>({ ...table, name: 'segments' });
    this.#dead = this.#env.openDB<Buffer, Buffer>({ ...table, name: 'dead' });
    this.#meta = this.#env.openDB<Buffer, Buffer>({ ...table, name: 'meta' });
    const version = this.#meta.getBinary(FORMAT_KEY)?.[0];
    if (version !== undefined && version > VERSION) throw new UserError(`the block index ${directory} has version ${version}, and this sdfs knows ${VERSION}: install the newer sdfs that wrote it`, EXIT.unsupported);
    if (version === undefined) this.#env.transactionSync(() => void this.#meta.put(FORMAT_KEY, Buffer.of(VERSION)));
  }

  /** Whether it is as it was closed, as far as can be told: one that was not closed may be damaged all the same. Reads all of it. */
  static async isAsClosed(directory: string, onProgress?: () => void): Promise<boolean> {
    if (fs.existsSync(join(directory, DAMAGED))) return false;
    const seal = join(directory, SEAL);
    return !fs.existsSync(seal) || fs.readFileSync(seal, 'utf8').trim() === await sealOf(join(directory, 'data.mdb'), onProgress);
  }

  /** `trusted: false` begins with an empty one. */
  static open(directory: string, options: { readonly trusted: boolean }): BlockIndex {
    if (!options.trusted) fs.rmSync(directory, { recursive: true, force: true });
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    fs.rmSync(join(directory, SEAL), { force: true });
    syncPath(directory);
    return new BlockIndex(directory);
  }

  get blockCount(): number {
    try {
      return (this.#blocks.getStats() as { entryCount: number }).entryCount;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  get(id: BlockId): BlockLocation | undefined {
    try {
      const value = this.#blocks.getBinaryFast(this.#blockKey(id));
      return value === undefined ? undefined : { segment: value.readUInt32LE(0), offset: value.readUInt32LE(4), blockBytes: value.readUInt32LE(8) };
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Number of the last put. */
  get putNumber(): number {
    try {
      const value = this.#meta.getBinary(PUTS_KEY);
      return value === undefined ? 0 : readU64(value, 0);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  set putNumber(number: number) {
    const value = Buffer.alloc(8);
    writeU64(value, number, 0);
    void this.#meta.put(PUTS_KEY, value);
  }

  /** The location, with the checksums of pieces `first … first + count - 1`; fewer when the block has fewer. */
  getPieces(id: BlockId, first: number, count: number): (BlockLocation & { readonly checksums: Uint32Array }) | undefined {
    try {
      // lmdb's own shared Buffer: valid up to the next call, and only as far as its length says.
      const value = this.#blocks.getBinaryFast(this.#blockKey(id));
      if (value === undefined) return undefined;
      const pieces = (value.length - 12) / 4;
      const checksums = new Uint32Array(Math.max(0, Math.min(count, pieces - first)));
      for (let index = 0; index < checksums.length; index++) checksums[index] = value.readUInt32LE(12 + 4 * (first + index));
      return { segment: value.readUInt32LE(0), offset: value.readUInt32LE(4), blockBytes: value.readUInt32LE(8), checksums };
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Up to `limit` blocks after `after`, in the order of ids. */
  list(after: BlockId | null, limit: number): { id: BlockId; bytes: number }[] {
    try {
      const start = after === null ? Buffer.alloc(8) : Buffer.concat([this.#blockKey(after), Buffer.alloc(1)]);
      const out: { id: BlockId; bytes: number }[] = [];
      for (const { key, value } of this.#blocks.getRange({ start, limit })) {
        // Damaged pages may be out of order, and whoever lists the blocks would go in circles.
        if (key.length !== 8 || key.compare(start) < 0 || (out.length > 0 && isBehind(out.at(-1)!.id, key))) throw this.damaged('its rows are out of order');
        out.push({ id: { hi: key.readUInt32BE(0), lo: key.readUInt32BE(4) }, bytes: value.readUInt32LE(8) });
      }
      return out;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** All changes that `work` makes (to about `rows` rows), or none when it throws. Survives the process when it returns. */
  transact<T>(work: () => T, rows = Infinity): T {
    return this.#transact(work, rows, 1);
  }

  /**
   * As transact, for `work` that bears to be run again. About once in a million commits LMDB 3.5.6 gives up a sound
   * transaction with MDB_BAD_TXN, since it looks at the size of a free-list record that it did not find
   * (mdb_freelist_save): nothing is wrong with the index then, and the same changes are taken at the next attempt.
   */
  transactAgain<T>(work: () => T, rows = Infinity): T {
    return this.#transact(work, rows, ATTEMPTS);
  }

  #transact<T>(work: () => T, rows: number, attempts: number): T {
    this.#ahead.prepare(rows);
    for (let attempt = 1; ; attempt++) {
      try {
        return this.#env.transactionSync(work);
      } catch (error) {
        const isGivenUp = error instanceof Error && 'code' in error && error.code === MDB_BAD_TXN;
        if (!isGivenUp || attempt >= attempts) throw this.#failed(this.#ahead.reasonOf(error));
      }
    }
  }

  put(id: BlockId, location: BlockLocation, checksums: Uint32Array): void {
    const value = Buffer.allocUnsafe(12 + 4 * checksums.length);
    value.writeUInt32LE(location.segment, 0);
    value.writeUInt32LE(location.offset, 4);
    value.writeUInt32LE(location.blockBytes, 8);
    for (let index = 0; index < checksums.length; index++) value.writeUInt32LE(checksums[index]!, 12 + 4 * index);
    void this.#blocks.put(this.#blockKey(id), value);
  }

  /** Blocks that lie in a segment, from an offset on. Looks at all rows. */
  *blocksIn(segment: number, from: number): Generator<{ readonly id: BlockId; readonly offset: number; readonly blockBytes: number }> {
    for (const { key, value } of this.#blocks.getRange({})) {
      const offset = value.readUInt32LE(4);
      if (value.readUInt32LE(0) === segment && offset >= from) yield { id: { hi: key.readUInt32BE(0), lo: key.readUInt32BE(4) }, offset, blockBytes: value.readUInt32LE(8) };
    }
  }

  remove(id: BlockId): void {
    void this.#blocks.remove(this.#blockKey(id));
  }

  /** Moves a block without touching the rest of its row. */
  move(id: BlockId, to: { readonly segment: number; readonly offset: number }): void {
    const value = Buffer.from(this.#blocks.getBinary(this.#blockKey(id))!);
    value.writeUInt32LE(to.segment, 0);
    value.writeUInt32LE(to.offset, 4);
    void this.#blocks.put(this.#blockKey(id), value);
  }

  segments(): SegmentRow[] {
    try {
      return [...this.#segments.getRange({})].map(({ key, value }) => ({
        number: key.readUInt32BE(0),
        class: value[0] === 1 ? 'large' : 'small',
        end: value.readUInt32LE(4),
        liveBytes: value.readUInt32LE(8),
        punchedBytes: value.readUInt32LE(12),
        synced: value.length < 20 ? 0 : value.readUInt32LE(16),
      }));
    } catch (error) {
      throw this.#failed(error);
    }
  }

  putSegment(row: SegmentRow): void {
    const value = Buffer.alloc(20);
    value.writeUInt8(row.class === 'large' ? 1 : 2, 0);
    value.writeUInt32LE(row.end, 4);
    value.writeUInt32LE(row.liveBytes, 8);
    value.writeUInt32LE(row.punchedBytes, 12);
    value.writeUInt32LE(row.synced, 16);
    void this.#segments.put(this.#pairKey(row.number, 0).subarray(0, 4), value);
  }

  removeSegment(number: number): void {
    for (const location of this.dead(Infinity, number)) this.removeDead(location);
    void this.#segments.remove(this.#pairKey(number, 0).subarray(0, 4));
  }

  /** Records that no block needs any more, of one segment or of all, in order. */
  dead(limit: number, segment?: number): BlockLocation[] {
    try {
      const range = segment === undefined ? {} : { start: pair(segment, 0), end: pair(segment + 1, 0) };
      return [...this.#dead.getRange(limit === Infinity ? range : { ...range, limit })].map(({ key, value }) => ({ segment: key.readUInt32BE(0), offset: key.readUInt32BE(4), blockBytes: value.readUInt32LE(0) }));
    } catch (error) {
      throw this.#failed(error);
    }
  }

  addDead(location: BlockLocation): void {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(location.blockBytes);
    void this.#dead.put(this.#pairKey(location.segment, location.offset), value);
  }

  removeDead(location: BlockLocation): void {
    void this.#dead.remove(this.#pairKey(location.segment, location.offset));
  }

  /** Closed, and durable: the next one may trust it whatever happens to the machine. */
  async close(): Promise<void> {
    await this.#env.close();
    this.#ahead.close();
    const file = await fs.promises.open(join(this.#directory, 'data.mdb'), 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    const seal = await sealOf(join(this.#directory, 'data.mdb'));
    try {
      replaceFile(join(this.#directory, SEAL), `${seal}\n`);
    } catch (error) {
      // A full disk closes without a seal.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }

  /** For an error that came of what the index holds: the process has to end, and the next one makes the index anew. */
  damaged(error: unknown): AssertionError {
    this.distrust();
    return new AssertionError(`the block index in ${this.#directory} is damaged, and will be made anew: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }

  /** The next process makes it anew; one that cannot be written to is found out in other ways. */
  distrust(): void {
    try {
      fs.writeFileSync(join(this.#directory, DAMAGED), '');
    } catch {
      // It is on a disk that has failed.
    }
  }

  #failed(error: unknown): unknown {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return DAMAGE_CODES.has(code) || code === 'ERR_OUT_OF_RANGE' || code === 'ERR_BUFFER_OUT_OF_BOUNDS' || code === 'ERR_INVALID_ARG_TYPE' ? this.damaged(error) : error;
  }

  #blockKey(id: BlockId): Buffer {
    return this.#pairKey(id.hi, id.lo);
  }

  #pairKey(hi: number, lo: number): Buffer {
    this.#key.writeUInt32BE(hi, 0);
    this.#key.writeUInt32BE(lo, 4);
    return this.#key;
  }
}

/** Whether `id` is not before `key`. */
function isBehind(id: BlockId, key: Buffer): boolean {
  const hi = key.readUInt32BE(0);
  return id.hi > hi || (id.hi === hi && id.lo >= key.readUInt32BE(4));
}

function pair(hi: number, lo: number): Buffer {
  const key = Buffer.alloc(8);
  key.writeUInt32BE(hi, 0);
  key.writeUInt32BE(lo, 4);
  return key;
}
