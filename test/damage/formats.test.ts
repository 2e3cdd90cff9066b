// Every reader of a format, fed with random damage: the right data or a typed error, never anything else, always in bounded
// time and memory. Longer with SDFS_TEST_DAMAGES=100000; the same again with SDFS_TEST_SEED.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCheckedJson, toCheckedJson } from '../../src/base/checked-json.ts';
import { FormatError, FsError, UserError } from '../../src/base/errors.ts';
import type { BlockId, DriverEpoch, InodeNumber, Sequence, WorkerId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { encodeBlockHeader, encodeSegmentHeader, judgeSegmentHeader, layoutOf } from '../../src/disk/block-format.ts';
import { scanSegment } from '../../src/disk/block-scan.ts';
import { DiskState } from '../../src/disk/disk-state.ts';
import { IDENTITY_FILE, initDisk, readIdentity } from '../../src/disk/identity.ts';
import { MEMBERSHIP_FILE, readMembership, writeMembership } from '../../src/disk/membership-file.ts';
import { ByteWriter } from '../../src/ipc/bytes.ts';
import { decodeHeader, decodeReply, decodeRequest, encodeReply, encodeRequest, FRAME_HEADER_BYTES } from '../../src/ipc/codec.ts';
import { LogFile } from '../../src/log/log-file.ts';
import { decodeOperations, decodeRecord, encodeRecord } from '../../src/log/record.ts';
import * as schema from '../../src/metadata/schema.ts';
import { decodeAcl, encodeAcl } from '../../src/vfs/acl.ts';
import { chances } from '../support/chances.ts';
import { damaged, DAMAGES, DAMAGE_SEED } from '../support/random-damage.ts';
import { blockId, diskDescription, DISK_UUID, DISK_VOLUME } from '../support/temporary-disk.ts';

const OTHER_VOLUME = 'fedcba9876543210fedcba9876543210' as typeof DISK_VOLUME;
const VOLUME_BYTES = Buffer.from(DISK_VOLUME, 'hex');
let directory: string;

beforeAll(() => {
  console.log(`seed of the damages: ${DAMAGE_SEED}`);
  directory = fs.mkdtempSync(join(tmpdir(), 'sdfs-formats-'));
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

/** Damages `good` again and again. `read` returns what it made of it, or throws one of the errors that may come of damage. */
function damageAndRead(good: Buffer, other: Buffer, read: (bytes: Buffer) => void, limits: { count?: number } = {}): void {
  const chance = chances(DAMAGE_SEED);
  for (let number = 0; number < (limits.count ?? DAMAGES); number++) {
    const bytes = damaged(good, chance, other);
    try {
      read(bytes);
    } catch (error) {
      const typed = error instanceof FormatError || error instanceof FsError || error instanceof UserError || error instanceof RangeError || error instanceof SyntaxError;
      if (!typed) throw new Error(`damage ${number} of seed ${DAMAGE_SEED}: ${String(error)}`, { cause: error });
    }
  }
}

function record(sequence: number, epoch: number): Buffer {
  return encodeRecord({ sequence: sequence as Sequence, epoch: epoch as DriverEpoch, requestHi: 0, requestLo: sequence, result: 7 as InodeNumber }, [
    { kind: 'put', key: Buffer.from(`key ${sequence}`), value: Buffer.alloc(40 + (sequence % 7) * 90, sequence) },
    { kind: 'delete', key: Buffer.alloc(300, sequence) },
    { kind: 'data', id: { hi: 1, lo: sequence }, data: Buffer.alloc(500, sequence) },
  ]);
}

describe('the log', () => {
  it('has no record that is not one that was written, byte for byte', () => {
    const good = record(5, 3);
    damageAndRead(good, record(6, 2), (bytes) => {
      const header = decodeRecord(bytes, 0);
      if (header === undefined) return;
      const found = bytes.subarray(0, header.recordBytes);
      expect(found.equals(good) || found.equals(record(6, 2))).toBe(true);
      expect([...decodeOperations(bytes, 0)]).toHaveLength(3);
    });
  });

  it('is a beginning of what was appended, and takes records again, whatever happened to its file', async () => {
    const place = join(directory, 'log');
    const append = (log: LogFile, from: number, to: number, epoch: number): void => {
      for (let sequence = from; sequence <= to; sequence++) log.append([record(sequence, epoch)], sequence as Sequence, sequence as Sequence, epoch as DriverEpoch);
    };
    const make = async (epoch: number): Promise<Buffer> => {
      fs.rmSync(place, { recursive: true, force: true });
      const log = LogFile.open(place, { segmentBytes: 64 * 1024 });
      append(log, 1, 40, epoch);
      await log.close();
      return fs.readFileSync(join(place, '00000001.log'));
    };
    const other = await make(9);
    const good = await make(3);
    const chance = chances(DAMAGE_SEED);
    for (let number = 0; number < Math.ceil(DAMAGES / 10); number++) {
      fs.rmSync(place, { recursive: true });
      fs.mkdirSync(place);
      fs.writeFileSync(join(place, '00000001.log'), damaged(good, chance, other));
      const log = LogFile.open(place, { segmentBytes: 64 * 1024 });
      let sequence: number = log.firstSequence;
      for (const found of log.scan(log.firstSequence)) {
        const bytes = found.bytes.subarray(found.offset, found.offset + found.header.recordBytes);
        expect(bytes.equals(record(sequence, 3)) || bytes.equals(record(sequence, 9)), `damage ${number} of seed ${DAMAGE_SEED}`).toBe(true);
        sequence++;
      }
      expect(sequence).toBe(log.lastSequence + 1);
      append(log, sequence, sequence, 10);
      await log.close();
    }
  });
});

describe('a segment of blocks', () => {
  const SIZES = { small: [100, 5000, 16_384], large: [20_000, 70_000] } as const;
  /** Blocks 1 … of that class, with their checksums, as a file. */
  function segment(volume: typeof DISK_VOLUME, blockClass: 'small' | 'large', firstId: number): Buffer {
    const parts = [encodeSegmentHeader(volume, { number: 1, class: blockClass })];
    for (const [index, blockBytes] of SIZES[blockClass].entries()) {
      const { dataOffset, recordBytes } = layoutOf(blockBytes);
      const bytes = Buffer.alloc(recordBytes);
      const checksums = Uint32Array.from({ length: Math.ceil(blockBytes / LIMITS.checksumBytes) }, (_, piece) => firstId * 100 + piece);
      encodeBlockHeader(bytes, 0, { volume: Buffer.from(volume, 'hex'), id: blockId(firstId + index), blockBytes, checksums, number: index + 1 });
      bytes.fill(firstId + index, dataOffset, dataOffset + blockBytes);
      parts.push(bytes);
    }
    return Buffer.concat(parts);
  }

  it.each(['small', 'large'] as const)('(%s) has no block that was not put there', (blockClass) => {
    const file = join(directory, 'segment');
    const good = segment(DISK_VOLUME, blockClass, 1);
    damageAndRead(good, segment(OTHER_VOLUME, blockClass, 11), (bytes) => {
      fs.writeFileSync(file, bytes);
      judgeSegmentHeader(bytes.subarray(0, 4096), file, { volume: DISK_VOLUME, number: 1, class: blockClass });
      const fd = fs.openSync(file, 'r');
      try {
        for (const found of scanSegment(fd, blockClass, bytes.length, VOLUME_BYTES)) {
          const index = found.id.lo - 1;
          expect({ hi: found.id.hi, blockBytes: found.blockBytes }).toEqual({ hi: blockId(1).hi, blockBytes: SIZES[blockClass][index] });
          expect(found.checksums[0]).toBe(100);
        }
      } finally {
        fs.closeSync(fd);
      }
    }, { count: Math.ceil(DAMAGES / 3) });
  });
});

describe('a small file of JSON', () => {
  const membership = { epoch: 4, driver: 9 as DriverEpoch, members: [DISK_UUID], log: [DISK_UUID], former: [DISK_UUID] };

  it('is read as it was written, or not at all', () => {
    const content = { version: 1, name: 'volume', disks: [{ worker: 0, weight: 1.5 }, { worker: 1, weight: 2 }], clean: true, none: null };
    const other = Buffer.from(toCheckedJson({ version: 1, name: 'others', disks: [], clean: false, none: null }));
    damageAndRead(Buffer.from(toCheckedJson(content)), other, (bytes) => {
      const json = parseCheckedJson(bytes.toString());
      // Damage that takes the checksum's name away leaves a file that a person may have written.
      if (bytes.includes('"crc"') && typeof json === 'object' && json !== null && !('crc' in json)) expect([content, JSON.parse(other.toString())]).toContainEqual('name' in json && json.name === 'others' ? JSON.parse(other.toString()) as object : json);
    });
  });

  it.each([
    ['state.json', () => DiskState.open(directory, { bootId: 'boot' }).raiseEpoch(7 as DriverEpoch), () => DiskState.open(directory, { bootId: 'boot' }).epoch],
    [MEMBERSHIP_FILE, () => writeMembership(directory, membership), () => readMembership(directory)],
    [IDENTITY_FILE, () => initDisk(directory, { worker: 0 as WorkerId, description: diskDescription(directory) }), () => readIdentity(directory)],
  ])('(%s) is believed, or refused with a reason', (name, write, read) => {
    write();
    const good = fs.readFileSync(join(directory, name));
    const wanted = read();
    damageAndRead(good, Buffer.from(good.toString().replace(/\d/g, '3')), (bytes) => {
      fs.writeFileSync(join(directory, name), bytes);
      const found = read();
      if (bytes.includes('"crc":') && found !== null && found !== 0) expect(found).toEqual(wanted);
    });
    for (const file of fs.readdirSync(directory)) fs.rmSync(join(directory, file), { recursive: true });
  });
});

describe('a frame between driver and worker', () => {
  const id: BlockId = { hi: 1, lo: 2 };
  const to = { id: 1, epoch: 1 as DriverEpoch };
  const whole = (out: ByteWriter, frame: { headBytes: number; body: readonly Uint8Array[] }): Buffer => Buffer.concat([out.bytes.subarray(0, frame.headBytes), ...frame.body]);
  const request = (): Buffer => {
    const out = new ByteWriter(Buffer.alloc(LIMITS.frameHeadBytesMax + FRAME_HEADER_BYTES));
    return whole(out, encodeRequest(out, { name: 'putBlocks', ...to }, { blocks: [{ id, checksums: Uint32Array.of(5), data: [Buffer.alloc(9000, 3)] }, { id, checksums: Uint32Array.of(6), data: [Buffer.alloc(70, 4)] }] }));
  };
  const reply = (): Buffer => {
    const out = new ByteWriter(Buffer.alloc(LIMITS.frameHeadBytesMax + FRAME_HEADER_BYTES));
    return whole(out, encodeReply(out, { name: 'readCheckpoint', ...to }, { rows: [[Buffer.from('key'), Buffer.from('value')], [Buffer.from('k2'), Buffer.alloc(300)]], digest: { sum: 1, count: 2 } }));
  };

  it('of any content is a message or a typed error', () => {
    for (const [good, other] of [[request(), reply()], [reply(), request()]] as const) {
      damageAndRead(good, other, (bytes) => {
        if (bytes.length < FRAME_HEADER_BYTES) return;
        const header = decodeHeader(bytes, 0);
        const head = bytes.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + header.headBytes);
        const body = bytes.subarray(FRAME_HEADER_BYTES + header.headBytes, FRAME_HEADER_BYTES + header.headBytes + header.bodyBytes);
        if (header.kind === 'request') decodeRequest(header.name, head, body);
        else if (header.kind === 'reply') decodeReply(header.name, head, body);
      });
    }
  });
});

describe('a row of the metadata', () => {
  const inode = schema.decodeInode(5 as InodeNumber, Buffer.concat([Buffer.of(1), Buffer.alloc(56 + 4 * 12 - 1, 3)]));
  const rows: readonly [name: string, good: Buffer, read: (value: Buffer) => unknown][] = [
    ['inode', schema.encodeInode(inode), (value) => schema.decodeInode(5 as InodeNumber, value)],
    ['entry', schema.encodeEntry({ inode: 5 as InodeNumber, type: 8, cookie: 77 }), schema.decodeEntry],
    ['listing', schema.encodeListing({ inode: 5 as InodeNumber, type: 8, name: Buffer.from('name') }), schema.decodeListing],
    ['reservation', schema.encodeReservation({ reservedBytes: 4096, ranges: [] }), (value) => schema.decodeReservation(5 as InodeNumber, value)],
    ['block', schema.encodeBlockRow({ references: 1, liveBytes: 100, bytes: 200 }), schema.decodeBlockRow],
    ['number', schema.encodeNumber(2 ** 40), schema.decodeNumber],
    ['bytes', schema.encodeBytes(Buffer.from('target')), schema.decodeBytes],
    ['ACL', encodeAcl([{ tag: 1, permissions: 7, id: 0xffff_ffff }]), decodeAcl],
  ];
  it.each(rows)('(%s) of any content is a value or a typed error', (_name, good, read) => {
    damageAndRead(good, Buffer.alloc(200, 1), read);
  });
});
