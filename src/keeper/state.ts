// What must be known from one mount of a volume to the next: how many drivers it has had, and how the last one ended.
//
//   VOLUME/state.json   { "version": 1, "epoch": drivers started so far (u32), "bootId": boot_id of the last mount,
//                         "clean": true when its driver wrote everything and ended }
//
// A missing or damaged file costs a rebuild of the driver's database, nothing else: the epoch then continues at the
// seconds since 1970, which no counter of drivers has reached.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { currentBootId } from '../control/process-identity.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { replaceFile } from '../os/replace-file.ts';

const stateSchema = z.object({ version: z.literal(1), epoch: z.int().min(0).max(0xffff_ffff), bootId: z.string(), clean: z.boolean() });

export interface StateOptions {
  /** Told when the file could not be read or written; the mount goes on with what memory has. */
  readonly onProblem: (message: string, error: unknown) => void;
  readonly bootId?: string;
}

export class VolumeState {
  readonly #file: string;
  readonly #onProblem: StateOptions['onProblem'];
  readonly #bootId: string;
  #epoch: number;
  /** Whether the driver's database can be trusted: its last driver ended cleanly, or on this same boot. */
  readonly sameBoot: boolean;

  constructor(file: string, options: StateOptions) {
    this.#file = file;
    this.#onProblem = options.onProblem;
    this.#bootId = options.bootId ?? currentBootId();
    const last = this.#read();
    this.#epoch = last?.epoch ?? Math.floor(Date.now() / 1000);
    this.sameBoot = last !== undefined && (last.clean || last.bootId === this.#bootId);
  }

  /** A volume that nobody has mounted yet. */
  static create(file: string): void {
    replaceFile(file, serialize({ version: 1, epoch: 0, bootId: currentBootId(), clean: true }));
  }

  /** The epoch of a driver that is to be started now; recorded before it is returned. */
  nextEpoch(): DriverEpoch {
    this.#epoch += 1;
    this.#write(false);
    return this.#epoch as DriverEpoch;
  }

  /** The driver wrote everything and ended. */
  markClean(): void {
    this.#write(true);
  }

  #read(): z.infer<typeof stateSchema> | undefined {
    try {
      return stateSchema.parse(JSON.parse(readFileSync(this.#file, 'utf8')));
    } catch (error) {
      this.#onProblem(`${this.#file} cannot be used; the driver's database will be rebuilt from the disks`, error);
      return undefined;
    }
  }

  #write(clean: boolean): void {
    try {
      replaceFile(this.#file, serialize({ version: 1, epoch: this.#epoch, bootId: this.#bootId, clean }));
    } catch (error) {
      this.#onProblem(`${this.#file} could not be written; after a power cut the driver's database may have to be rebuilt`, error);
    }
  }
}

function serialize(state: z.infer<typeof stateSchema>): string {
  return `${JSON.stringify(state)}\n`;
}
