// The identity of a disk: whose it is, and the whole volume, so that any disk alone can tell it. Held by one process.
//
//   DISK/sdfs-disk.json   JSON:
//                           format   "sdfs-disk"
//                           version  1; a newer one is refused
//                           crc      see base/checked-json.ts
//                           worker   number of this disk in the volume
//                           disk     32 hex digits
//                           volume   the description: version, volume (32 hex digits), name, copies, blockBytes,
//                                    generation, disks [{ worker, disk, directory (absolute), weight, state? }]
//   DISK/blocks/          segment files of blocks, see block-format.ts
//   DISK/index/           LMDB: where each block lies, see block-index.ts
//   DISK/log/             redo log of the metadata, see log/segment.ts
//   DISK/checkpoint/      LMDB: the metadata without the log, see checkpoint.ts
//   DISK/dumps/           backups of the metadata, see dump-store.ts
//   DISK/state.json       see disk-state.ts
//   DISK/membership.json  see membership-file.ts
//   DISK/probe            see disk-health.ts
//
// The process that serves the disk holds a flock on sdfs-disk.json: it ends with its holder, whatever happens.
import fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { Uuid, WorkerId } from '../base/ids.ts';
import type { Membership } from '../base/membership.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { errno, ERRNO, flock, SystemCallError } from '../os/libc.ts';
import { replaceFile, syncPath } from '../os/replace-file.ts';
import { writeMembership } from './membership-file.ts';

export const IDENTITY_FILE = 'sdfs-disk.json';
const VERSION = 1;
const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
/** mkfs of ext2/3/4 makes it in every new file system. */
const NOT_CONTENT = 'lost+found';

export interface DiskIdentity {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly description: VolumeDescription;
}

const uuid = z.string().regex(/^[0-9a-f]{32}$/, 'wants 32 hex digits').transform((text) => text as Uuid);
const workerId = z.int().min(0).transform((number) => number as WorkerId);
export const volumeSchema = z.object({
  version: z.literal(1),
  volume: uuid,
  name: z.string(),
  copies: z.int().min(1),
  blockBytes: z.int().min(1),
  disks: z.array(z.object({ worker: workerId, disk: uuid, directory: z.string(), weight: z.number(), state: z.literal('draining').optional() })).min(1),
  generation: z.int().min(0).default(0),
});
const identitySchema = z.object({
  format: z.literal('sdfs-disk'),
  version: z.literal(VERSION),
  worker: workerId,
  disk: uuid,
  volume: volumeSchema,
});

/**
 * Makes the empty directory `directory` (made when missing) the disk `worker` of a volume; durable when it returns.
 * `membership`: what it knows from the beginning; nothing when it joins a volume that has been used.
 * UserError when the directory holds something else, or cannot be written.
 */
export function initDisk(directory: string, options: { readonly worker: WorkerId; readonly description: VolumeDescription; readonly membership?: Membership | undefined }): void {
  const entry = options.description.disks.find((disk) => disk.worker === options.worker);
  assert(entry !== undefined, `the volume has a disk ${options.worker}`);
  explained(directory, () => {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    refuseContent(directory);
    if (options.membership !== undefined) writeMembership(directory, options.membership);
    writeIdentity(directory, { worker: options.worker, disk: entry.disk, description: options.description });
  });
}

function writeIdentity(directory: string, identity: DiskIdentity): void {
  replaceFile(join(directory, IDENTITY_FILE), serialize(identity));
}

function serialize({ worker, disk, description }: DiskIdentity): string {
  return toCheckedJson({ format: 'sdfs-disk', version: VERSION, worker, disk, volume: description }, 2);
}

/** UserError: notFound (no disk of sdfs there), unsupported (newer), damaged, denied. */
export function readIdentity(directory: string): DiskIdentity {
  const file = join(directory, IDENTITY_FILE);
  return parseIdentity(file, explained(directory, () => {
    const text = readIfThere(file);
    if (text !== undefined) return text;
    throw new UserError(`${directory} is not a disk of sdfs (no ${IDENTITY_FILE} in it): is the right disk mounted there?`, EXIT.notFound);
  }));
}

function parseIdentity(file: string, text: string): DiskIdentity {
  let json: unknown;
  try {
    json = parseCheckedJson(text);
  } catch (cause) {
    throw damaged(file, (cause as Error).message, cause);
  }
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > VERSION) {
    throw new UserError(`${file} has version ${version}, and this sdfs knows ${VERSION}: the disk was used by a newer sdfs; install that one`, EXIT.unsupported);
  }
  const parsed = identitySchema.safeParse(json);
  if (parsed.success) return { worker: parsed.data.worker, disk: parsed.data.disk, description: parsed.data.volume };
  const issue = parsed.error.issues[0];
  throw damaged(file, `${issue?.path.join('.') || 'content'}: ${issue?.message ?? 'not as expected'}`);
}

/** A disk that this process has, until it ends or releases it. */
export class DiskLock {
  readonly #directory: string;
  #fd: number;
  #identity: DiskIdentity;

  constructor(directory: string, fd: number, identity: DiskIdentity) {
    this.#directory = directory;
    this.#fd = fd;
    this.#identity = identity;
  }

  get identity(): DiskIdentity {
    return this.#identity;
  }

  /**
   * Notes a newer description of the volume, durably; an older one, or the same, changes nothing. The new file is locked
   * before it takes the place of the old one, so that nobody comes between. Errors of `fs`.
   */
  describe(description: VolumeDescription): void {
    if (description.generation <= this.#identity.description.generation) return;
    const identity = { ...this.#identity, description };
    const file = join(this.#directory, IDENTITY_FILE);
    const fd = fs.openSync(`${file}.new`, 'w+', 0o600);
    try {
      lock(fd, `${file}.new`);
      fs.writeFileSync(fd, serialize(identity));
      fs.fsyncSync(fd);
      fs.renameSync(`${file}.new`, file);
      syncPath(this.#directory);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#identity = identity;
  }

  release(): void {
    fs.closeSync(this.#fd);
  }
}

/** Takes the disk for this process. UserError: busy when another process has it, and those of `readIdentity`. */
export function lockDisk(directory: string): DiskLock {
  const file = join(directory, IDENTITY_FILE);
  for (;;) {
    const identity = readIdentity(directory);
    const fd = explained(directory, () => fs.openSync(file, 'r+'));
    try {
      if (!lock(fd, file)) throw new UserError(`the disk ${directory} is in use by another process: is its volume mounted already? See: fuser ${file}`, EXIT.busy);
      // Its holder may have put another file there between the open and the lock.
      if (fs.statSync(file).ino === fs.fstatSync(fd).ino) return new DiskLock(directory, fd, identity);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    fs.closeSync(fd);
  }
}

/** False when another process has it. */
function lock(fd: number, file: string): boolean {
  if (flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) === 0) return true;
  const number = errno();
  if (number !== ERRNO.EAGAIN) throw new SystemCallError('flock', file, number);
  return false;
}

function refuseContent(directory: string): void {
  const content = fs.readdirSync(directory).filter((name) => name !== NOT_CONTENT);
  if (content.length === 0) return;
  if (content.includes(IDENTITY_FILE)) {
    const { description, worker } = readIdentity(directory);
    throw new UserError(`${directory} is disk ${worker} of the volume "${description.name}" (${description.volume}) already: choose another directory, or empty it if that volume is given up`, EXIT.foreign);
  }
  throw new UserError(`${directory} is not empty (it holds ${content.slice(0, 3).join(', ')}${content.length > 3 ? ', …' : ''}): give sdfs an empty directory`, EXIT.foreign);
}

function readIfThere(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const ADVICE: Readonly<Record<string, readonly [ExitCode, string]>> = {
  EACCES: [EXIT.denied, 'permission denied; give it to the user who runs sdfs'],
  EPERM: [EXIT.denied, 'permission denied; give it to the user who runs sdfs'],
  EROFS: [EXIT.denied, 'its file system is read-only; remount it for writing'],
  ENOSPC: [EXIT.space, 'its file system is full; free some space'],
  ENOTDIR: [EXIT.notFound, 'it, or what it lies in, is not a directory'],
};

function explained<T>(directory: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const advice = ADVICE[(error as NodeJS.ErrnoException).code ?? ''];
    if (advice === undefined) throw error;
    throw new UserError(`the disk ${directory} cannot be used: ${advice[1]}`, advice[0], { cause: error });
  }
}

function damaged(file: string, detail: string, cause?: unknown): UserError {
  return new UserError(`the identity file ${file} is damaged (${detail}): copy the description from another disk of the volume into it, with this disk's own worker and disk, and without "crc"`, EXIT.damaged, { cause });
}
