// The volume directory: where its files lie, and the volume description, read and written.
//
//   VOLUME/sdfs-volume.json   the description, JSON:
//                               format   "sdfs-volume"
//                               version  1; a newer one is refused
//                               volume   32 hex digits
//                               name, copies, blockBytes, created (ISO 8601)
//                               generation  counts the changes; absent: 0. The disks have copies, and the newest is right
//                               disks    [{ worker: ascending, disk: 32 hex digits, directory, weight, state? }]
//                                        state: "draining" while it is being emptied
//                               crc      see base/checked-json.ts
//                             A disk directory below VOLUME is written relative to it, so that VOLUME can be moved.
//   VOLUME/state.json         keeper/state.ts
//   VOLUME/lock, lock.held/   keeper/volume-lock.ts
//   VOLUME/driver/            the driver's database
//   VOLUME/log/sdfs.log       the log of mounts in the background
//   VOLUME/disks/0…3          the disks of a volume that was made without --disk
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import { EXIT, UserError } from '../base/errors.ts';
import type { Uuid, WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { replaceFile } from '../os/replace-file.ts';

export const VOLUME_FILE = 'sdfs-volume.json';
const VERSION = 1;

export function volumePaths(directory: string) {
  return {
    description: join(directory, VOLUME_FILE),
    state: join(directory, 'state.json'),
    lock: join(directory, 'lock'),
    driver: join(directory, 'driver'),
    log: join(directory, 'log', 'sdfs.log'),
    disks: join(directory, 'disks'),
  } as const;
}

const uuid = z.string().regex(/^[0-9a-f]{32}$/, 'wants 32 hex digits').transform((text) => text as Uuid);

/** Sizes that a volume's blocks may have: whole checksummed pieces, a power of two. */
export function isBlockSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= LIMITS.checksumBytes && bytes <= LIMITS.blockBytesMax;
}

const descriptionSchema = z
  .object({
    format: z.literal('sdfs-volume'),
    version: z.literal(VERSION),
    volume: uuid,
    name: z.string().min(1),
    copies: z.int().min(1),
    blockBytes: z.int().refine(isBlockSize, 'wants a power of two within the limits'),
    disks: z.array(z.object({ worker: z.int().min(0), disk: uuid, directory: z.string().min(1), weight: z.number().positive(), state: z.literal('draining').optional() })).min(1),
    generation: z.int().min(0).default(0),
    created: z.string().optional(),
  })
  .refine((volume) => volume.copies <= volume.disks.length, { path: ['copies'], message: 'more copies than disks' })
  .refine((volume) => volume.disks.every((disk, index) => index === 0 || disk.worker > volume.disks[index - 1]!.worker), { path: ['disks'], message: 'workers must be ascending' })
  .refine((volume) => new Set(volume.disks.map((disk) => disk.disk)).size === volume.disks.length, { path: ['disks'], message: 'two disks with one id' });

/**
 * The description of the volume in `directory`, with absolute disk directories. UserError: notFound (no volume
 * there), unsupported (newer version), damaged (not readable as one), denied.
 */
export function readVolume(directory: string): VolumeDescription {
  const file = volumePaths(directory).description;
  const json = parseJson(file, readDescription(directory, file));
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > VERSION) {
    throw new UserError(`${file} has version ${version}, and this sdfs knows ${VERSION}: the volume was made by a newer sdfs; install that one`, EXIT.unsupported);
  }
  const parsed = descriptionSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw damaged(file, `${issue?.path.join('.') || 'content'}: ${issue?.message ?? 'not as expected'}`);
  }
  const { volume, name, copies, blockBytes, disks, generation } = parsed.data;
  return {
    version: VERSION, volume, name, copies, blockBytes, generation,
    disks: disks.map((disk) => ({ ...disk, worker: disk.worker as WorkerId, directory: resolve(directory, disk.directory) })),
  };
}

function readDescription(directory: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new UserError(`there is no sdfs volume at ${directory} (no ${VOLUME_FILE} there); make one with: sdfs init ${directory}`, EXIT.notFound, { cause });
    if (code === 'EACCES' || code === 'EPERM') throw new UserError(`cannot read ${file}: permission denied; run sdfs as the user who made the volume, or as root`, EXIT.denied, { cause });
    throw new UserError(`cannot read ${file}: ${(cause as Error).message}`, EXIT.failure, { cause });
  }
}

function parseJson(file: string, text: string): unknown {
  try {
    return parseCheckedJson(text);
  } catch (cause) {
    throw damaged(file, (cause as Error).message, cause);
  }
}

function damaged(file: string, detail: string, cause?: unknown): UserError {
  return new UserError(`the volume file ${file} is damaged (${detail}); write it anew, without "crc", from the description that each disk directory holds in its identity file`, EXIT.damaged, { cause });
}

/**
 * UserError where one user would mount a volume of another. Root could, and would shut the owner out: what a mount
 * writes to volume, disks and journal is for its user alone.
 */
export function checkVolumeOwner(directory: string): void {
  const { uid } = statSync(volumePaths(directory).description);
  if (uid === process.getuid?.()) return;
  const owner = uid === 0 ? 'root: mount it with sudo' : `user ${uid}: mount it as that user (sudo -u '#${uid}' sdfs mount …)`;
  throw new UserError(`the volume ${directory} belongs to ${owner}, or give its directory and disks to another user first (chown -R)`, EXIT.denied);
}

/** Power-proof when it returns. */
export function writeVolume(directory: string, description: VolumeDescription): void {
  const content = {
    format: 'sdfs-volume',
    ...description,
    created: createdAt(directory) ?? new Date().toISOString(),
    disks: description.disks.map((disk) => ({ ...disk, directory: portablePath(directory, disk.directory) })),
  };
  replaceFile(volumePaths(directory).description, toCheckedJson(content, 2), 0o644);
}

function portablePath(directory: string, path: string): string {
  const inside = relative(directory, path);
  return inside === '' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
}

function createdAt(directory: string): string | undefined {
  try {
    return descriptionSchema.parse(JSON.parse(readFileSync(volumePaths(directory).description, 'utf8'))).created;
  } catch {
    return undefined; // there is none yet
  }
}
