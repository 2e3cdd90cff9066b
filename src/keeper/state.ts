// What must be known from one mount of a volume to the next: how many drivers it has had.
//
//   VOLUME/state.json   { "version": 1, "epoch": drivers started so far (u32),
//                         "clean": true when the last one wrote everything and ended; for people, nothing depends on it,
//                         "crc": see base/checked-json.ts }
//
// Without the file the epoch continues at the seconds since 1970, which no counter of drivers has reached.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { parseCheckedJson, toCheckedJson } from '../base/checked-json.ts';
import type { DriverEpoch } from '../base/ids.ts';
import { replaceFile } from '../os/replace-file.ts';

const stateSchema = z.object({ version: z.literal(1), epoch: z.int().min(0).max(0xffff_ffff), clean: z.boolean() });

export interface StateOptions {
  /** Told when the file could not be read or written; the mount goes on with what memory has. */
  readonly onProblem: (message: string, error: unknown) => void;
}

export class VolumeState {
  readonly #file: string;
  readonly #onProblem: StateOptions['onProblem'];
  #epoch: number;
  #hangs = false;

  constructor(file: string, options: StateOptions) {
    this.#file = file;
    this.#onProblem = options.onProblem;
    this.#epoch = this.#read()?.epoch ?? Math.floor(Date.now() / 1000);
  }

  /** A volume that nobody has mounted yet. */
  static create(file: string): void {
    replaceFile(file, serialize({ version: 1, epoch: 0, clean: true }));
  }

  /** The disks have met this driver, when this file could not be written or is an old one: no later one may have its epoch. */
  startBehind(epoch: DriverEpoch): void {
    this.#epoch = Math.max(this.#epoch, epoch);
  }

  /** The epoch of a driver that is to be started now; recorded before it is returned. */
  nextEpoch(): DriverEpoch {
    this.#epoch += 1;
    this.#write(false);
    return this.#epoch as DriverEpoch;
  }

  /** The disk below it hangs: it is written no more, and memory and the disks that met a driver know its epoch. */
  letGo(): void {
    this.#hangs = true;
  }

  /** The driver wrote everything and ended. */
  markClean(): void {
    this.#write(true);
  }

  #read(): z.infer<typeof stateSchema> | undefined {
    try {
      return stateSchema.parse(parseCheckedJson(readFileSync(this.#file, 'utf8')));
    } catch (error) {
      this.#onProblem(`${this.#file} cannot be used; drivers are counted on from the seconds since 1970`, error);
      return undefined;
    }
  }

  #write(clean: boolean): void {
    if (this.#hangs) return;
    try {
      replaceFile(this.#file, serialize({ version: 1, epoch: this.#epoch, clean }));
    } catch (error) {
      this.#onProblem(`${this.#file} could not be written; the next mount of the volume may be refused by workers that have served this driver`, error);
    }
  }
}

function serialize(state: z.infer<typeof stateSchema>): string {
  return toCheckedJson(state);
}
