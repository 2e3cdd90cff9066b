// One row of the metadata as an object that people can read, and back. What is not exactly restored by that is kept as bytes.
import { formatBlockId, parseBlockId } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { KEY_AREAS, decodeExpiryRowKey, decodeKeyRecord, encodeKeyRecord, expiryRowKey, keyOfKeyRow, keyRowKey } from '../metadata/key-rows.ts';
import type { KeyArea } from '../metadata/key-rows.ts';
import { rowType } from '../metadata/row-types.ts';
import type { RowType } from '../metadata/row-types.ts';
import {
  PRESENT, blockOfKey, decodeBlockRow, decodeBytes, decodeEntry, decodeExtents, decodeInode, decodeListing, decodeNumber, decodeReservation, encodeBlockRow, encodeBytes, encodeEntry,
  encodeExtents, encodeInode, encodeListing, encodeNumber, encodeReservation, keys, nameOfKey, numberOfKey, secondOfKey,
} from '../metadata/schema.ts';

/** UTF-8 as a string, anything else in base64. */
export type BytesText = string | { readonly base64: string };
type Fields = Record<string, unknown>;

export function bytesText(bytes: Buffer): BytesText {
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : { base64: bytes.toString('base64') };
}

function textBytes(value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (typeof value === 'object' && value !== null && 'base64' in value && typeof value.base64 === 'string') return Buffer.from(value.base64, 'base64');
  throw new TypeError('wants text, or bytes in base64');
}

interface Kind {
  readonly write: (key: Buffer, value: Buffer) => Fields;
  readonly read: (fields: Fields) => Row;
}

const TIMES = ['accessed', 'modified', 'changed', 'born'] as const;

const inodeIn = (fields: Fields, name = 'inode'): InodeNumber => numberIn(fields, name) as InodeNumber;
function numberIn(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number') throw new TypeError(`"${name}" is no number`);
  return value;
}
const keyKind = (area: KeyArea): Kind => ({
  write: (key, value) => {
    const { version, expiresMs, inline, blocks } = decodeKeyRecord(value);
    return { key: bytesText(keyOfKeyRow(key)), version, expiresMs, ...(inline === undefined ? { blocks: blocks.map(({ block, bytes }) => [formatBlockId(block), bytes]) } : { value: bytesText(inline) }) };
  },
  read: (fields) => [keyRowKey(area, textBytes(fields['key'])), encodeKeyRecord({
    version: numberIn(fields, 'version'), expiresMs: numberIn(fields, 'expiresMs'), inline: fields['value'] === undefined ? undefined : textBytes(fields['value']),
    blocks: ((fields['blocks'] ?? []) as [string, number][]).map(([block, bytes]) => ({ block: parseBlockId(block), bytes })),
  })],
});
const expiryKind = (area: KeyArea): Kind => ({
  write: (rowKey) => {
    const { expiresMs, key } = decodeExpiryRowKey(rowKey);
    return { expiresMs, key: bytesText(key) };
  },
  read: (fields) => [expiryRowKey(area, numberIn(fields, 'expiresMs'), textBytes(fields['key'])), PRESENT],
});
const blockIn = (fields: Fields): BlockId => parseBlockId(String(fields['block']));

const KINDS: { readonly [T in RowType]: Kind } = {
  bookkeeping: {
    write: (key, value) => ({ name: key.subarray(1).toString(), value: decodeNumber(value) }),
    read: (fields) => [keys.bookkeeping(String(fields['name'])), encodeNumber(numberIn(fields, 'value'))],
  },
  inode: {
    write: (key, value) => {
      const { number, mode, ...rest } = decodeInode(numberOfKey(key) as InodeNumber, value);
      return { inode: number, mode: mode.toString(8), ...rest, ...Object.fromEntries(TIMES.map((name) => [name, [rest[name].seconds, rest[name].nanoseconds]])) };
    },
    read: (fields) => {
      const number = inodeIn(fields);
      const time = (name: string) => {
        const [seconds, nanoseconds] = fields[name] as [number, number];
        return { seconds, nanoseconds };
      };
      const count = (name: string): number => numberIn(fields, name);
      return [keys.inode(number), encodeInode({
        number, flags: count('flags'), mode: Number.parseInt(String(fields['mode']), 8), links: count('links'), uid: count('uid'), gid: count('gid'), device: count('device'), size: count('size'),
        allocatedBytes: count('allocatedBytes'), reservedBytes: count('reservedBytes'), parent: inodeIn(fields, 'parent'), nextCookie: count('nextCookie'),
        accessed: time('accessed'), modified: time('modified'), changed: time('changed'), born: time('born'),
      })];
    },
  },
  entry: {
    write: (key, value) => ({ parent: numberOfKey(key), name: bytesText(nameOfKey(key)), ...decodeEntry(value) }),
    read: (fields) => [keys.entry(inodeIn(fields, 'parent'), textBytes(fields['name'])), encodeEntry({ inode: inodeIn(fields), type: numberIn(fields, 'type'), cookie: numberIn(fields, 'cookie') })],
  },
  listing: {
    write: (key, value) => {
      const { name, ...rest } = decodeListing(value);
      return { parent: numberOfKey(key), cookie: secondOfKey(key), name: bytesText(name), ...rest };
    },
    read: (fields) => [keys.listing(inodeIn(fields, 'parent'), numberIn(fields, 'cookie')), encodeListing({ inode: inodeIn(fields), type: numberIn(fields, 'type'), name: textBytes(fields['name']) })],
  },
  extents: {
    write: (key, value) => ({ inode: numberOfKey(key), chunk: secondOfKey(key), extents: decodeExtents(value).map(({ start, bytes, block, blockOffset }) => [start, bytes, formatBlockId(block), blockOffset]) }),
    read: (fields) => [keys.extents(inodeIn(fields), numberIn(fields, 'chunk')), encodeExtents((fields['extents'] as [number, number, string, number][]).map(([start, bytes, block, blockOffset]) => ({ start, bytes, block: parseBlockId(block), blockOffset })))],
  },
  reservation: {
    write: (key, value) => {
      const { reservedBytes, ranges } = decodeReservation(numberOfKey(key) as InodeNumber, value);
      return { inode: numberOfKey(key), reservedBytes, ranges: ranges.map(({ start, end }) => [start, end]) };
    },
    read: (fields) => [keys.reservation(inodeIn(fields)), encodeReservation({ reservedBytes: numberIn(fields, 'reservedBytes'), ranges: (fields['ranges'] as [number, number][]).map(([start, end]) => ({ start, end })) })],
  },
  xattr: {
    write: (key, value) => ({ inode: numberOfKey(key), name: bytesText(nameOfKey(key)), value: bytesText(decodeBytes(value)) }),
    read: (fields) => [keys.xattr(inodeIn(fields), textBytes(fields['name'])), encodeBytes(textBytes(fields['value']))],
  },
  linkTarget: {
    write: (key, value) => ({ inode: numberOfKey(key), target: bytesText(decodeBytes(value)) }),
    read: (fields) => [keys.linkTarget(inodeIn(fields)), encodeBytes(textBytes(fields['target']))],
  },
  block: {
    write: (key, value) => ({ block: formatBlockId(blockOfKey(key)), ...decodeBlockRow(value) }),
    read: (fields) => [keys.block(blockIn(fields)), encodeBlockRow({ bytes: numberIn(fields, 'bytes'), references: numberIn(fields, 'references'), liveBytes: numberIn(fields, 'liveBytes') })],
  },
  orphan: { write: (key) => ({ inode: numberOfKey(key) }), read: (fields) => [keys.orphan(inodeIn(fields)), PRESENT] },
  key: keyKind(KEY_AREAS.keys),
  keyExpiry: expiryKind(KEY_AREAS.keys),
  lease: keyKind(KEY_AREAS.leases),
  leaseExpiry: expiryKind(KEY_AREAS.leases),
  garbage: { write: (key) => ({ block: formatBlockId(blockOfKey(key)) }), read: (fields) => [keys.garbage(blockIn(fields)), PRESENT] },
};

/** `row`: a kind of row, or "raw". */
export function describeRow([key, value]: Row): Fields {
  const type = rowType(key);
  if (type !== undefined) {
    try {
      const described = { row: type, ...KINDS[type].write(key, value) };
      const [sameKey, sameValue] = KINDS[type].read(described);
      if (sameKey.equals(key) && sameValue.equals(value)) return described;
    } catch {
      // Not what the schema says: it is kept as it is.
    }
  }
  return { row: 'raw', key: key.toString('hex'), value: value.toString('base64') };
}

/** TypeError or RangeError when it is none. */
export function parseRow(fields: Fields): Row {
  if (fields['row'] === 'raw') return [Buffer.from(String(fields['key']), 'hex'), Buffer.from(String(fields['value']), 'base64')];
  const kind = KINDS[fields['row'] as RowType] as Kind | undefined;
  if (kind === undefined) throw new TypeError(`a row of the kind ${JSON.stringify(fields['row'])}`);
  return kind.read(fields);
}
