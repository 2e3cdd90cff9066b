// Which files and keys need some blocks, by their names: a look over all rows that name blocks, in steps, for when it is asked for.
import { blockKey } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import { ROOT_INODE } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Reader, Row } from './engine.ts';
import { KEY_AREAS, decodeKeyRecord, keyOfKeyRow, keyRange } from './key-rows.ts';
import { nameIn, pagesOf } from './look-through.ts';
import { decodeEntry, decodeExtents, decodeInode, keys, nameOfKey, numberOfKey, ranges, secondOfKey } from './schema.ts';

/** Longer chains of parents are circles. */
const DEPTH_MAX = 10_000;

/** Ranges of a file, or of the value of a key, whose bytes lie in one of the blocks. */
export interface BlockOwner {
  /** 0: it is a key. */
  readonly inode: number;
  /** Of the key-value store; bytes that are not UTF-8 are replaced. */
  readonly key?: string;
  /** From the root of the file system; none for a file without a name. Bytes that are not UTF-8 are replaced. */
  readonly paths: readonly string[];
  readonly ranges: readonly { readonly offset: number; readonly bytes: number }[];
}

export async function findBlockOwners(reader: Reader, blocks: readonly BlockId[]): Promise<BlockOwner[]> {
  if (blocks.length === 0) return [];
  const wanted = new Set(blocks.map(blockKey));
  const found = new Map<InodeNumber, { offset: number; bytes: number }[]>();
  await everyRow(reader, ranges.allExtents, ([key, value]) => {
    for (const extent of decodeExtents(value)) {
      if (!wanted.has(blockKey(extent.block))) continue;
      const inode = numberOfKey(key) as InodeNumber;
      if (!found.has(inode) && found.size >= LIMITS.blockOwnersMax) continue;
      found.set(inode, [...(found.get(inode) ?? []), { offset: secondOfKey(key) * LIMITS.fileChunkBytes + extent.start, bytes: extent.bytes }]);
    }
  });
  const names = new Map<InodeNumber, { parent: InodeNumber; name: Buffer }[]>();
  await everyRow(reader, ranges.allEntries, ([key, value]) => {
    const { inode } = decodeEntry(value);
    if (found.has(inode)) names.set(inode, [...(names.get(inode) ?? []), { parent: numberOfKey(key) as InodeNumber, name: nameOfKey(key) }]);
  });
  const directories = new Map<InodeNumber, string>([[ROOT_INODE, '']]);
  const files: BlockOwner[] = [...found].map(([inode, pieces]) => ({
    inode, ranges: pieces,
    paths: (names.get(inode) ?? []).map(({ parent, name }) => `${pathOf(reader, parent, directories)}/${name.toString()}`),
  }));
  return [...files, ...(await findKeys(reader, wanted))];
}

async function findKeys(reader: Reader, wanted: ReadonlySet<string>): Promise<BlockOwner[]> {
  const owners: BlockOwner[] = [];
  for (const area of Object.values(KEY_AREAS)) {
    await everyRow(reader, keyRange(area), ([rowKey, value]) => {
      const pieces: { offset: number; bytes: number }[] = [];
      let offset = 0;
      for (const { block, bytes } of decodeKeyRecord(value).blocks) {
        if (wanted.has(blockKey(block))) pieces.push({ offset, bytes });
        offset += bytes;
      }
      if (pieces.length > 0 && owners.length < LIMITS.blockOwnersMax) owners.push({ inode: 0, key: keyOfKeyRow(rowKey).toString(), paths: [], ranges: pieces });
    });
  }
  return owners;
}

/** In steps: programs are served between them. */
async function everyRow(reader: Reader, range: readonly [Buffer, Buffer], take: (row: Row) => void): Promise<void> {
  for (const rows of pagesOf(reader, range)) {
    for (const row of rows) take(row);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function pathOf(reader: Reader, directory: InodeNumber, known: Map<InodeNumber, string>, depth = 0): string {
  const before = known.get(directory);
  if (before !== undefined) return before;
  const row = reader.get(keys.inode(directory));
  const parent = row === undefined ? 0 : decodeInode(directory, row).parent;
  const path = parent === 0 || depth > DEPTH_MAX ? `?${directory}` : `${pathOf(reader, parent, known, depth + 1)}/${nameIn(reader, parent, directory)?.toString() ?? `?${directory}`}`;
  known.set(directory, path);
  return path;
}
