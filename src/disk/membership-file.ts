// What a disk knows of the membership of its volume; the rules are in base/membership.ts.
//
//   DISK/membership.json   JSON: version 1, epoch, driver (epoch of the driver that made it), members, log (or null) and
//                          former: lists of disks, 32 hex digits each; crc (base/checked-json.ts)
import fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import { EXIT, UserError } from '../base/errors.ts';
import type { DriverEpoch, Uuid } from '../base/ids.ts';
import type { Membership } from '../base/membership.ts';
import { writeStateFile } from './state-file.ts';

export const MEMBERSHIP_FILE = 'membership.json';
const VERSION = 1;
const disks = z.array(z.string().regex(/^[0-9a-f]{32}$/).transform((text) => text as Uuid));
const membershipSchema = z.object({
  version: z.literal(VERSION),
  epoch: z.int().min(1),
  driver: z.int().min(0).transform((number) => number as DriverEpoch),
  members: disks.min(1),
  log: disks.nullable(),
  former: disks,
});

/** null when there is none, or none that can be read: then the disk cannot speak for the volume. UserError (unsupported) for a newer one; errors of `fs`. */
export function readMembership(directory: string): Membership | null {
  const file = join(directory, MEMBERSHIP_FILE);
  let json: unknown;
  try {
    json = parseCheckedJson(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > VERSION) throw new UserError(`${file} has version ${version}, and this sdfs knows ${VERSION}: the disk was used by a newer sdfs; install that one`, EXIT.unsupported);
  const parsed = membershipSchema.safeParse(json).data;
  return parsed === undefined ? null : { epoch: parsed.epoch, driver: parsed.driver, members: parsed.members, log: parsed.log, former: parsed.former };
}

/** Power-proof when it returns. */
export function writeMembership(directory: string, { epoch, driver, members, log, former }: Membership): void {
  writeStateFile(join(directory, MEMBERSHIP_FILE), toCheckedJson({ version: VERSION, epoch, driver, members, log, former }));
}
