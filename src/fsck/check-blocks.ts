// Blocks against the extents and keys that name them: that they exist, their bounds, references and live bytes.
//
// Extents and keys are in orders of their own, and not that of blocks: blocks are taken a window at a time, as names are (check-names.ts).
import { blockKey, compareBlockIds, formatBlockId } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { blockOfKey, encodeBlockRow, decodeBlockRow, keys, numberOfKey } from '../metadata/schema.ts';
import type { Extent } from '../metadata/schema.ts';
import type { Row } from '../metadata/engine.ts';
import { KEY_AREAS, keyOfKeyRow, keyRange } from '../metadata/key-rows.ts';
import { rangeOfType, setAsideKey } from '../metadata/row-types.ts';
import { setAside } from './checker.ts';
import type { Checker } from './checker.ts';
import { readBlockRow, readExtents, readKeyRow } from './decode.ts';
import type { Repair, Subject } from './finding.ts';
import { guarded, holdGarbage } from './finding.ts';
import type { RowCursor } from './row-cursor.ts';

type Piece = Pick<Extent, 'block' | 'blockOffset' | 'bytes'>;

const KEY_RANGES = Object.values(KEY_AREAS).map(keyRange);

/** Blocks without a row that are remembered with their sums; further ones are found when these are repaired. */
const MISSING_MAX = 50_000;

/** Who names a block. */
interface Owner {
  readonly subject: Subject;
  readonly text: () => string;
}

interface MissingBlock {
  readonly id: BlockId;
  readonly owner: Owner;
  references: number;
  liveBytes: number;
  endBytes: number;
}

export async function checkBlocks(checker: Checker): Promise<{ blocks: number; blockMax: BlockId | undefined }> {
  const blocks = checker.cursor(rangeOfType('block'));
  // Extents and keys that were set aside may name blocks that nothing else does.
  const keepsUnused = [rangeOfType('extents'), ...KEY_RANGES].some(([start, end]) => checker.reader.range(setAsideKey(start), setAsideKey(end), 1).length > 0);
  let after: BlockId | undefined;
  let count = 0;
  let blockMax: BlockId | undefined;
  for (let part = 1; ; part++) {
    checker.begin(`blocks${part === 1 ? '' : ` (${part})`}`);
    const window = new BlockWindow(checker, after, keepsUnused);
    const ended = await window.load(blocks);
    count += window.count;
    blockMax = window.last ?? blockMax;
    await checker.cursor(rangeOfType('extents')).each((row) => window.take(row));
    for (const range of KEY_RANGES) await checker.cursor(range, { keyBytesMin: 1 }).each((row) => window.takeKey(row));
    await window.finish();
    if (ended) break;
    after = window.last;
  }
  await checkGarbage(checker);
  return { blocks: count, blockMax };
}

async function checkGarbage(checker: Checker): Promise<void> {
  await checker.cursor(rangeOfType('garbage')).each((row) => {
    const [key] = row;
    if (key.length !== 9) return checker.report({ kind: 'undecodable', subject: {}, detail: 'a row of a block to be deleted', repair: setAside(row) });
    const block = blockOfKey(key);
    if (checker.reader.get(keys.block(block)) === undefined) return undefined;
    return checker.report({ kind: 'garbageNeeded', subject: { block }, detail: `block ${formatBlockId(block)}`, repair: guarded([row], (tx) => tx.delete(key)) });
  });
  await checker.flush();
}

class BlockWindow {
  readonly #checker: Checker;
  readonly #after: BlockId | undefined;
  readonly #keepsUnused: boolean;
  readonly #hi: Uint32Array;
  readonly #lo: Uint32Array;
  readonly #bytes: Uint32Array;
  readonly #references: Uint32Array;
  readonly #liveBytes: Float64Array;
  readonly #missing = new Map<string, MissingBlock>();
  #ended = false;
  count = 0;

  constructor(checker: Checker, after: BlockId | undefined, keepsUnused: boolean) {
    this.#checker = checker;
    this.#after = after;
    this.#keepsUnused = keepsUnused;
    const size = checker.windowRows;
    this.#hi = new Uint32Array(size);
    this.#lo = new Uint32Array(size);
    this.#bytes = new Uint32Array(size);
    this.#references = new Uint32Array(size);
    this.#liveBytes = new Float64Array(size);
  }

  get last(): BlockId | undefined {
    return this.count === 0 ? undefined : this.#idAt(this.count - 1);
  }

  #idAt(at: number): BlockId {
    return { hi: this.#hi[at]!, lo: this.#lo[at]! };
  }

  /** True when these are the last. */
  async load(blocks: RowCursor): Promise<boolean> {
    while (this.count < this.#hi.length && (await blocks.fill())) {
      for (let row = blocks.head; row !== undefined && this.count < this.#hi.length; row = blocks.head) {
        blocks.skip();
        const found = readBlockRow(row);
        if (found === undefined) {
          this.#checker.report({ kind: 'undecodable', subject: row[0].length === 9 ? { block: blockOfKey(row[0]) } : {}, detail: 'a block row', repair: setAside(row) });
          continue;
        }
        const id = blockOfKey(row[0]);
        this.#hi[this.count] = id.hi;
        this.#lo[this.count] = id.lo;
        this.#bytes[this.count++] = found.bytes;
      }
    }
    this.#ended = !(await blocks.fill());
    return this.#ended;
  }

  take(row: Row): void {
    const extents = readExtents(row);
    if (extents === undefined) return;
    this.#checker.step();
    const inode = numberOfKey(row[0]) as InodeNumber;
    const owner: Owner = { subject: { inode }, text: () => `inode ${inode}` };
    for (const extent of extents) this.#takePiece(owner, extent);
  }

  takeKey(row: Row): void {
    const record = readKeyRow(row);
    if (record === undefined) return;
    this.#checker.step();
    const owner: Owner = { subject: {}, text: () => `the key ${JSON.stringify(keyOfKeyRow(row[0]).toString())}` };
    for (const { block, bytes } of record.blocks) this.#takePiece(owner, { block, blockOffset: 0, bytes });
  }

  #takePiece(owner: Owner, piece: Piece): void {
    const { block, blockOffset, bytes } = piece;
    if (this.#after !== undefined && compareBlockIds(block, this.#after) <= 0) return;
    if (!this.#ended && this.last !== undefined && compareBlockIds(block, this.last) > 0) return;
    const at = this.#find(block);
    if (at < 0) return this.#takeMissing(owner, piece);
    this.#references[at]!++;
    this.#liveBytes[at]! += bytes;
    if (blockOffset + bytes > this.#bytes[at]!) this.#reportBounds(owner, piece, this.#bytes[at]!);
    return undefined;
  }

  #find({ hi, lo }: BlockId): number {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = this.#hi[middle]! - hi || this.#lo[middle]! - lo;
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  #takeMissing(owner: Owner, { block, blockOffset, bytes }: Piece): void {
    const name = blockKey(block);
    const known = this.#missing.get(name);
    if (known === undefined && this.#missing.size >= MISSING_MAX) return;
    const missing = known ?? { id: block, owner, references: 0, liveBytes: 0, endBytes: 0 };
    missing.references++;
    missing.liveBytes += bytes;
    missing.endBytes = Math.max(missing.endBytes, blockOffset + bytes);
    this.#missing.set(name, missing);
  }

  #reportBounds({ subject, text }: Owner, { block, blockOffset, bytes }: Piece, blockBytes: number): void {
    this.#checker.report({
      kind: 'blockBounds', subject: { ...subject, block }, detail: `${text()} uses bytes ${blockOffset} to ${blockOffset + bytes} of block ${formatBlockId(block)}, which has ${blockBytes}`,
      repair: async (tools) => {
        const found = await tools.blockBytes(block);
        if (found === undefined || found < blockOffset + bytes) return false;
        return changeBlock(block, (row) => ({ ...row, bytes: Math.max(row.bytes, found) }))(tools);
      },
    });
  }

  async finish(): Promise<void> {
    for (const missing of this.#missing.values()) this.#reportMissing(missing);
    for (let at = 0; at < this.count; at++) {
      if (at % 4096 === 0) await this.#checker.pause();
      this.#checkOne(this.#idAt(at), this.#references[at]!, this.#liveBytes[at]!);
    }
    await this.#checker.flush();
  }

  #checkOne(id: BlockId, references: number, liveBytes: number): void {
    const key = keys.block(id);
    const value = this.#checker.reader.get(key);
    if (value === undefined) return;
    const row = decodeBlockRow(value);
    if (row.references === references && row.liveBytes === liveBytes) return;
    const subject = { block: id };
    const detail = `block ${formatBlockId(id)} counts ${row.references} references and ${row.liveBytes} live bytes, and has ${references} and ${liveBytes}`;
    if (references === 0) {
      if (this.#keepsUnused) return undefined;
      const repair = guarded([[key, value]], (tx) => {
        holdGarbage(tx);
        tx.delete(key);
      });
      return this.#checker.report({ kind: 'blockUnused', subject, detail, repair });
    }
    return this.#checker.report({
      kind: 'blockCounts', subject, detail,
      repair: changeBlock(id, (now) => ({ ...now, references: Math.max(1, now.references + references - row.references), liveBytes: Math.max(1, now.liveBytes + liveBytes - row.liveBytes) })),
    });
  }

  #reportMissing({ id, owner, references, liveBytes, endBytes }: MissingBlock): void {
    this.#checker.report({
      kind: 'blockMissing', subject: { ...owner.subject, block: id }, detail: `${owner.text()} needs block ${formatBlockId(id)}`,
      repair: async (tools) => {
        const bytes = await tools.blockBytes(id);
        if (bytes === undefined || bytes < endBytes) return false;
        return guarded([[keys.block(id), undefined]], (tx) => {
          tx.put(keys.block(id), encodeBlockRow({ bytes, references, liveBytes }));
          tx.delete(keys.garbage(id));
        })(tools);
      },
    });
  }
}

function changeBlock(id: BlockId, change: (row: ReturnType<typeof decodeBlockRow>) => ReturnType<typeof decodeBlockRow>): Repair {
  return (tools) => tools.transact((tx) => {
    const value = tx.get(keys.block(id));
    if (value === undefined) return false;
    tx.put(keys.block(id), encodeBlockRow(change(decodeBlockRow(value))));
    return true;
  });
}
