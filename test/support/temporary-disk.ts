// Disks for tests: directories below the system's temporary one, initialized, with blocks to put on them.
import fs from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { BlockId, Uuid, WorkerId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { blockChecksums } from '../../src/blocks/checksum.ts';
import { initDisk } from '../../src/disk/identity.ts';
import type { BlockPut } from '../../src/ipc/messages.ts';
import type { VolumeDescription } from '../../src/ipc/process-messages.ts';

export const DISK_VOLUME = '0123456789abcdef0123456789abcdef' as Uuid;
export const DISK_UUID = 'fedcba9876543210fedcba9876543210' as Uuid;

export function diskDescription(directory: string): VolumeDescription {
  return { version: 1, volume: DISK_VOLUME, name: 'test', copies: 1, generation: 0, blockBytes: LIMITS.blockBytesMax, disks: [{ worker: 0 as WorkerId, disk: DISK_UUID, directory, weight: 1 }] };
}

/** An initialized disk; its parent is to be removed by the caller. */
export function makeDisk(): { parent: string; directory: string } {
  const parent = fs.mkdtempSync(join(os.tmpdir(), 'sdfs-disk-'));
  const directory = join(parent, 'd');
  initDisk(directory, { worker: 0 as WorkerId, description: diskDescription(directory) });
  return { parent, directory };
}

export function blockId(lo: number): BlockId {
  return { hi: 0x10000, lo };
}

/** A block whose bytes tell its number. */
export function makeBlock(lo: number, bytes: number, salt = 0): BlockPut {
  const data = Buffer.alloc(bytes, Buffer.from([lo & 255, (lo >> 8) & 255, salt, bytes & 255, 77]));
  return { id: blockId(lo), checksums: blockChecksums(blockId(lo), [data]), data: [data.subarray(0, bytes >> 1), data.subarray(bytes >> 1)] };
}

export const silentLog = pino({ level: 'silent' });

/** A logger that keeps its lines. */
export function keepingLog(): { log: pino.Logger; lines: string[] } {
  const lines: string[] = [];
  return { log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }), lines };
}
