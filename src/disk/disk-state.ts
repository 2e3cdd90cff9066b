// What a worker must know of its own last run: whether what it did not sync is still as it left it, and whom it served.
//
//   DISK/state.json   JSON: version 1, bootId (of the kernel that ran it), clean (all was synced at its end),
//                     mount (number of the mount that it lay on, where the kernel tells), epoch (newest driver that it
//                     served), crc (base/checked-json.ts)
import fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import { EXIT, UserError } from '../base/errors.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { mountNumberOf } from '../os/libc.ts';
import { writeStateFile } from './state-file.ts';

const VERSION = 1;
const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id';
const stateSchema = z.object({ version: z.literal(VERSION), bootId: z.string(), clean: z.boolean(), mount: z.string().optional(), epoch: z.int().min(0) });

export class DiskState {
  readonly #file: string;
  readonly #bootId: string;
  readonly #mount: string | undefined;
  #epoch: DriverEpoch;
  /** Nothing that the last run left is in memory only: it synced everything at its end, or there was a boot since. */
  readonly allOnDisk: boolean;
  /**
   * False when the machine may have lost power since the last run, or the disk was mounted anew, as after an error: only
   * what was synced is to be trusted then.
   */
  readonly sameBootOrClean: boolean;

  private constructor(file: string, now: { readonly bootId: string; readonly mount: string | undefined }, last: z.infer<typeof stateSchema> | undefined) {
    const { bootId, mount } = now;
    this.#file = file;
    this.#bootId = bootId;
    this.#mount = mount;
    this.#epoch = (last?.epoch ?? 0) as DriverEpoch;
    this.allOnDisk = last !== undefined && (last.clean || last.bootId !== bootId);
    this.sameBootOrClean = last !== undefined && (last.clean || (last.bootId === bootId && (last.mount === undefined || mount === undefined || last.mount === mount)));
  }

  /** Reads the last run's state. `now` is the kernel's word but in tests. */
  static open(directory: string, now: { readonly bootId?: string | undefined; readonly mount?: string | undefined } = {}): DiskState {
    const file = join(directory, 'state.json');
    const { bootId = fs.readFileSync(BOOT_ID_FILE, 'utf8').trim(), mount = mountNumberOf(directory) } = now;
    return new DiskState(file, { bootId, mount }, read(file));
  }

  get epoch(): DriverEpoch {
    return this.#epoch;
  }

  /** From now on the disk is in use: until `markClean`, another boot is an unclean one. Called when what was not trusted is rebuilt. */
  markInUse(): void {
    this.#write(false);
  }

  /** Everything on the disk is synced, and nothing changes any more. */
  markClean(): void {
    this.#write(true);
  }

  raiseEpoch(epoch: DriverEpoch): void {
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    this.#write(false);
  }

  #write(clean: boolean): void {
    writeStateFile(this.#file, toCheckedJson({ version: VERSION, bootId: this.#bootId, mount: this.#mount, clean, epoch: this.#epoch }));
  }
}

/** Newest driver that any of these disks knows of; disks that cannot be read know of none. */
export function newestEpoch(directories: readonly string[]): DriverEpoch {
  const epochs = directories.map((directory) => {
    try {
      return read(join(directory, 'state.json'))?.epoch ?? 0;
    } catch {
      return 0;
    }
  });
  return Math.max(0, ...epochs) as DriverEpoch;
}

/** A state that is missing or cannot be read is one that is not to be trusted; a newer one is refused. */
function read(file: string): z.infer<typeof stateSchema> | undefined {
  let json: unknown;
  try {
    json = parseCheckedJson(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > VERSION) throw new UserError(`${file} has version ${version}, and this sdfs knows ${VERSION}: the disk was used by a newer sdfs; install that one`, EXIT.unsupported);
  return stateSchema.safeParse(json).data;
}
