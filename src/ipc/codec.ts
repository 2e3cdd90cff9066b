// The bytes of every message between driver and worker. No descriptors, no state.
//
//   frame  0   u32  magic "SDIP"            16  u32  head bytes
//          4   u8   version (1)             20  u32  body bytes
//          5   u8   type, from the table    24  u64  zero
//          6   u16  flags: 1 reply, 2 error 32       head: the fields of the message, see the table
//          8   u32  request id              …        body: what is bulky, never copied on its way
//          12  u32  driver epoch
//
// Little-endian. A reply repeats type and request id of its request. The head of an error: u32 index in
// WORKER_ERROR_CODES, message in UTF-8. No checksum: a local socket does not damage bytes, and blocks and records
// carry their own.
import { assert } from '../base/assert.ts';
import { FormatError } from '../base/errors.ts';
import type { BlockId, DriverEpoch, Sequence, Uuid, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { MEMBERS_MAX } from '../base/membership.ts';
import type { Membership } from '../base/membership.ts';
import type { ByteWriter} from './bytes.ts';
import { ByteReader, decodeRows, encodeRows } from './bytes.ts';
import type { BlockPut, DiskStatistics, MessageName, ReplyOf, RequestOf } from './messages.ts';
import { CHECKPOINT_STATES, WORKER_ERROR_CODES, WorkerError } from './messages.ts';

export const FRAME_HEADER_BYTES = 32;
const MAGIC = 0x50494453;
const VERSION = 1;
const REPLY = 1;
const SHA256_BYTES = 32;
const ERROR = 2;

type Body = readonly Uint8Array[];
const NO_BODY: Body = [];

/** How one direction of a message becomes bytes: `write` fills the head and hands over the body. */
interface Shape<T> {
  readonly write: (head: ByteWriter, value: T) => Body;
  readonly read: (head: ByteReader, body: Buffer) => T;
}
interface Message<M extends MessageName> {
  readonly type: number;
  readonly request: Shape<RequestOf<M>>;
  readonly reply: Shape<ReplyOf<M>>;
}

const EMPTY: Shape<Record<string, never>> = { write: () => NO_BODY, read: () => ({}) };

const BLOCK_IDS: Shape<{ ids: readonly BlockId[] }> = {
  write: (head, { ids }) => {
    head.u32(ids.length);
    for (const id of ids) head.id(id);
    return NO_BODY;
  },
  read: (head) => ({ ids: Array.from({ length: head.count(8) }, () => head.id()) }),
};

const STATISTICS: Shape<DiskStatistics> = {
  write: (head, value) => {
    head.u64(value.totalBytes).u64(value.availableBytes).u64(value.blockBytes).u64(value.blockCount).u64(value.device).u64(value.logBytes);
    return NO_BODY;
  },
  read: (head) => ({ totalBytes: head.u64(), availableBytes: head.u64(), blockBytes: head.u64(), blockCount: head.u64(), device: head.u64(), logBytes: head.u64() }),
};

/** `log` null: its count is NO_LIST. */
const MEMBERSHIP: Shape<Membership> = {
  write: (head, { epoch, driver, members, log, former }) => {
    head.u64(epoch).u32(driver);
    for (const list of [members, former]) writeUuids(head, list);
    if (log === null) head.u32(NO_LIST);
    else writeUuids(head, log);
    return NO_BODY;
  },
  read: (head) => {
    const epoch = head.u64();
    const driver = head.u32() as DriverEpoch;
    const members = readUuids(head) ?? [];
    const former = readUuids(head) ?? [];
    return { epoch, driver, members, former, log: readUuids(head) };
  },
};

const NO_LIST = 0xffff_ffff;

function writeUuids(head: ByteWriter, list: readonly Uuid[]): void {
  head.u32(list.length);
  for (const uuid of list) head.uuid(uuid);
}

function readUuids(head: ByteReader): Uuid[] | null {
  const count = head.u32();
  if (count === NO_LIST) return null;
  if (count > MEMBERS_MAX) throw new RangeError(`a list of ${count} disks`);
  return Array.from({ length: count }, () => head.uuid());
}

/** Type numbers are part of the format: new messages get new ones. */
const MESSAGES: { readonly [M in MessageName]: Message<M> } = {
  hello: {
    type: 1,
    request: {
      write: (head, value) => (head.uuid(value.volume).u32(value.epoch), NO_BODY),
      read: (head) => ({ volume: head.uuid(), epoch: head.u32() as DriverEpoch }),
    },
    reply: {
      write: (head, { worker, disk, log, membership, statistics }) => {
        head.u32(worker).uuid(disk).u64(log.checkpointSequence).u64(log.lastSequence).u32(log.lastEpoch);
        STATISTICS.write(head, statistics);
        if (membership !== null) MEMBERSHIP.write(head, membership);
        return NO_BODY;
      },
      read: (head, body) => ({
        worker: head.u32() as WorkerId,
        disk: head.uuid(),
        log: { checkpointSequence: head.u64() as Sequence, lastSequence: head.u64() as Sequence, lastEpoch: head.u32() as DriverEpoch },
        statistics: STATISTICS.read(head, body),
        // Behind all else: a disk that knows nothing of it sends nothing.
        membership: head.rest === 0 ? null : MEMBERSHIP.read(head, body),
      }),
    },
  },
  putBlocks: { type: 2, request: { write: writeBlocks, read: readBlocks }, reply: EMPTY },
  getBlock: {
    type: 3,
    request: {
      write: (head, value) => (head.id(value.id).u32(value.firstPiece).u32(value.pieceCount), NO_BODY),
      read: (head) => ({ id: head.id(), firstPiece: head.u32(), pieceCount: head.u32() }),
    },
    reply: {
      write: (head, value) => (head.u32(value.blockBytes).u32(value.checksums.length).u32s(value.checksums), [value.data]),
      read: (head, data) => ({ blockBytes: head.u32(), checksums: head.u32s(head.count(4)), data }),
    },
  },
  deleteBlocks: { type: 4, request: BLOCK_IDS, reply: EMPTY },
  hasBlocks: { type: 5, request: BLOCK_IDS, reply: { write: (_head, { present }) => [present], read: (_head, present) => ({ present }) } },
  listBlocks: {
    type: 6,
    request: {
      write: (head, { after, limit }) => (head.u32(limit).u32(after === null ? 0 : 1).id(after ?? { hi: 0, lo: 0 }), NO_BODY),
      read: (head) => {
        const limit = head.u32();
        const some = head.u32() !== 0;
        const id = head.id();
        return { after: some ? id : null, limit };
      },
    },
    reply: {
      write: (head, { blocks }) => {
        head.u32(blocks.length);
        for (const { id, bytes } of blocks) head.id(id).u32(bytes);
        return NO_BODY;
      },
      read: (head) => ({ blocks: Array.from({ length: head.count(12) }, () => ({ id: head.id(), bytes: head.u32() })) }),
    },
  },
  syncBlocks: { type: 7, request: EMPTY, reply: EMPTY },
  appendLog: {
    type: 8,
    request: {
      write: (head, value) => (head.u64(value.first).u64(value.last).u32(value.epoch), value.records),
      read: (head, body) => ({ first: head.u64() as Sequence, last: head.u64() as Sequence, epoch: head.u32() as DriverEpoch, records: [body] }),
    },
    reply: { write: (head, { last }) => (head.u64(last), NO_BODY), read: (head) => ({ last: head.u64() as Sequence }) },
  },
  trimLog: {
    type: 9,
    request: { write: (head, { through }) => (head.u64(through), NO_BODY), read: (head) => ({ through: head.u64() as Sequence }) },
    reply: EMPTY,
  },
  readLog: {
    type: 10,
    request: {
      write: (head, { from, bytesMax }) => (head.u64(from).u32(bytesMax), NO_BODY),
      read: (head) => ({ from: head.u64() as Sequence, bytesMax: head.u32() }),
    },
    reply: { write: (_head, { records }) => [records], read: (_head, records) => ({ records }) },
  },
  readCheckpoint: {
    type: 11,
    request: {
      write: (head, { after, bytesMax }) => (head.u32(bytesMax).u32(after === null ? 0 : 1).raw(after ?? Buffer.alloc(0)), NO_BODY),
      read: (head) => {
        const bytesMax = head.u32();
        const some = head.u32() !== 0;
        const after = Buffer.from(head.raw(head.rest));
        return { after: some ? after : null, bytesMax };
      },
    },
    reply: {
      write: (head, { rows, digest }) => (head.u32(digest === null ? 0 : 1).u32(digest?.sum ?? 0).u64(digest?.count ?? 0), [encodeRows(rows)]),
      read: (head, body) => {
        const known = head.u32() !== 0;
        const digest = { sum: head.u32(), count: head.u64() };
        return { rows: decodeRows(body), digest: known ? digest : null };
      },
    },
  },
  beginCheckpoint: { type: 12, request: EMPTY, reply: EMPTY },
  loadCheckpoint: { type: 13, request: { write: (_head, { rows }) => [encodeRows(rows)], read: (_head, body) => ({ rows: decodeRows(body) }) }, reply: EMPTY },
  commitCheckpoint: {
    type: 14,
    request: {
      write: (head, value) => (head.u64(value.sequence).u32(value.epoch), NO_BODY),
      read: (head) => ({ sequence: head.u64() as Sequence, epoch: head.u32() as DriverEpoch }),
    },
    reply: EMPTY,
  },
  appendDump: {
    type: 40,
    request: {
      write: (head, { name, offset, bytes }) => (head.u64(offset).raw(Buffer.from(name)), bytes),
      read: (head, body) => ({ offset: head.u64(), name: head.raw(head.rest).toString(), bytes: [body] }),
    },
    reply: EMPTY,
  },
  commitDump: {
    type: 41,
    request: {
      write: (head, { name, bytes, sha256 }) => (head.u64(bytes).raw(sha256).raw(Buffer.from(name)), NO_BODY),
      read: (head) => ({ bytes: head.u64(), sha256: Buffer.from(head.raw(SHA256_BYTES)), name: head.raw(head.rest).toString() }),
    },
    reply: EMPTY,
  },
  listDumps: {
    type: 42,
    request: EMPTY,
    reply: { write: (_head, { dumps }) => [Buffer.from(JSON.stringify(dumps))], read: (_head, body) => ({ dumps: JSON.parse(body.toString()) as { name: string; bytes: number }[] }) },
  },
  statistics: { type: 15, request: EMPTY, reply: STATISTICS },
  recordMembership: {
    type: 20,
    request: { write: (head, { record }) => MEMBERSHIP.write(head, record), read: (head, body) => ({ record: MEMBERSHIP.read(head, body) }) },
    reply: EMPTY,
  },
  checkCheckpoint: {
    type: 17,
    request: EMPTY,
    reply: {
      write: (head, { state }) => (head.u32(CHECKPOINT_STATES.indexOf(state)), NO_BODY),
      read: (head) => {
        const state = CHECKPOINT_STATES[head.u32()];
        if (state === undefined) throw new RangeError('an unknown state of a checkpoint');
        return { state };
      },
    },
  },
  verifyBlocks: { type: 16, request: BLOCK_IDS, reply: { write: (_head, { states }) => [states], read: (_head, states) => ({ states }) } },
};

const NAMES = new Map<number, MessageName>(Object.entries(MESSAGES).map(([name, { type }]) => [type, name as MessageName]));

/** Per block: id, u32 bytes, a checksum for each 16 KiB. */
function writeBlocks(head: ByteWriter, { blocks }: { blocks: readonly BlockPut[] }): Body {
  head.u32(blocks.length);
  const body: Uint8Array[] = [];
  for (const { id, checksums, data } of blocks) {
    let bytes = 0;
    for (const piece of data) {
      bytes += piece.length;
      body.push(piece);
    }
    assert(checksums.length === Math.ceil(bytes / LIMITS.checksumBytes), 'a block has a checksum for each piece');
    head.id(id).u32(bytes).u32s(checksums);
  }
  return body;
}

function readBlocks(head: ByteReader, body: Buffer): { blocks: BlockPut[] } {
  const blocks: BlockPut[] = [];
  let at = 0;
  for (let left = head.count(12); left > 0; left--) {
    const id = head.id();
    const bytes = head.u32();
    if (bytes > LIMITS.blockBytesMax || at + bytes > body.length) throw new RangeError(`a block of ${bytes} bytes at ${at} of ${body.length}`);
    blocks.push({ id, checksums: head.u32s(Math.ceil(bytes / LIMITS.checksumBytes)), data: [body.subarray(at, at + bytes)] });
    at += bytes;
  }
  if (at !== body.length) throw new RangeError(`blocks of ${at} bytes in a body of ${body.length}`);
  return { blocks };
}

export interface FrameHeader {
  readonly name: MessageName;
  readonly kind: 'request' | 'reply' | 'error';
  readonly id: number;
  readonly epoch: DriverEpoch;
  readonly headBytes: number;
  readonly bodyBytes: number;
}

/** Where a frame goes and comes from. */
export interface FrameAddress {
  readonly name: MessageName;
  readonly id: number;
  readonly epoch: DriverEpoch;
}

/** A frame on its way out: header and head are the first `headBytes` of the writer's Buffer. */
export interface EncodedFrame {
  readonly headBytes: number;
  readonly body: Body;
  readonly bodyBytes: number;
}

/** Throws RangeError when the message exceeds the limits of a frame. */
export function encodeRequest<M extends MessageName>(out: ByteWriter, to: FrameAddress & { readonly name: M }, request: RequestOf<M>): EncodedFrame {
  return encode(out, to, 0, (head) => MESSAGES[to.name].request.write(head, request));
}

export function encodeReply<M extends MessageName>(out: ByteWriter, to: FrameAddress & { readonly name: M }, reply: ReplyOf<M>): EncodedFrame {
  return encode(out, to, REPLY, (head) => MESSAGES[to.name].reply.write(head, reply));
}

export function encodeError(out: ByteWriter, to: FrameAddress, error: WorkerError): EncodedFrame {
  return encode(out, to, REPLY | ERROR, (head) => {
    head.u32(WORKER_ERROR_CODES.indexOf(error.code)).raw(Buffer.from(error.message.slice(0, 4096)));
    return NO_BODY;
  });
}

function encode(out: ByteWriter, to: FrameAddress, flags: number, write: (head: ByteWriter) => Body): EncodedFrame {
  out.at = FRAME_HEADER_BYTES;
  const body = write(out);
  const headBytes = out.at - FRAME_HEADER_BYTES;
  let bodyBytes = 0;
  for (const piece of body) bodyBytes += piece.length;
  if (headBytes > LIMITS.frameHeadBytesMax || bodyBytes > LIMITS.frameBodyBytesMax) {
    throw new RangeError(`a ${to.name} frame of ${headBytes} + ${bodyBytes} bytes; allowed are ${LIMITS.frameHeadBytesMax} + ${LIMITS.frameBodyBytesMax}`);
  }
  out.at = 0;
  out.u32(MAGIC).u32((VERSION | (MESSAGES[to.name].type << 8) | (flags << 16)) >>> 0).u32(to.id).u32(to.epoch).u32(headBytes).u32(bodyBytes).u64(0);
  return { headBytes: FRAME_HEADER_BYTES + headBytes, body, bodyBytes };
}

/** The frame header at `at`, of which all bytes are there. Throws FormatError. */
export function decodeHeader(bytes: Buffer, at: number): FrameHeader {
  const magic = bytes.readUInt32LE(at);
  if (magic !== MAGIC) throw malformed(`magic ${MAGIC.toString(16)}`, magic.toString(16));
  const version = bytes[at + 4];
  if (version !== VERSION) throw malformed(`version ${VERSION}`, `version ${version}: driver and workers must be of one release`);
  const name = NAMES.get(bytes[at + 5]!);
  if (name === undefined) throw malformed('a message type', String(bytes[at + 5]));
  const flags = bytes.readUInt16LE(at + 6);
  if (flags !== 0 && flags !== REPLY && flags !== (REPLY | ERROR)) throw malformed('known flags', String(flags));
  const headBytes = bytes.readUInt32LE(at + 16);
  const bodyBytes = bytes.readUInt32LE(at + 20);
  if (headBytes > LIMITS.frameHeadBytesMax) throw malformed(`at most ${LIMITS.frameHeadBytesMax} head bytes`, String(headBytes));
  if (bodyBytes > LIMITS.frameBodyBytesMax) throw malformed(`at most ${LIMITS.frameBodyBytesMax} body bytes`, String(bodyBytes));
  const kind = flags === 0 ? 'request' : flags === REPLY ? 'reply' : 'error';
  return { name, kind, id: bytes.readUInt32LE(at + 8), epoch: bytes.readUInt32LE(at + 12) as DriverEpoch, headBytes, bodyBytes };
}

/** Buffers in the result are views into `body`, other fields are copies. Throws FormatError. */
export function decodeRequest<M extends MessageName>(name: M, head: Buffer, body: Buffer): RequestOf<M> {
  return decode(name, head, (reader) => MESSAGES[name].request.read(reader, body));
}

export function decodeReply<M extends MessageName>(name: M, head: Buffer, body: Buffer): ReplyOf<M> {
  return decode(name, head, (reader) => MESSAGES[name].reply.read(reader, body));
}

export function decodeError(name: MessageName, head: Buffer): WorkerError {
  return decode(name, head, (reader) => {
    const code = WORKER_ERROR_CODES[reader.u32()];
    if (code === undefined) throw new RangeError('an unknown error code');
    return new WorkerError(code, reader.raw(reader.rest).toString());
  });
}

function decode<T>(name: MessageName, head: Buffer, read: (reader: ByteReader) => T): T {
  const reader = new ByteReader(head);
  try {
    const value = read(reader);
    if (reader.rest !== 0) throw new RangeError(`${reader.rest} bytes too many`);
    return value;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FormatError(`${name} frame`, { wanted: 'fields that fill it', found: error.message }, { cause: error });
  }
}

function malformed(wanted: string, found: string): FormatError {
  return new FormatError('frame', { wanted, found });
}
