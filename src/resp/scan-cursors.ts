// Cursors of SCAN: decimal numbers for clients, each for a place in the order of the keys.
//
// Clients take cursors for 64-bit numbers, some for doubles, and a key does not fit in one. So the places of the scans that
// are under way are kept here: a scan has one number, and its cursors are that number and the step, below 2^53. The last
// step but one stays good, for a client that asks again since an answer was lost. Of too many scans the one that was
// idle for longest is forgotten; its client is told to begin again, since going on elsewhere would miss keys.
import { randomInt } from 'node:crypto';
import { LIMITS } from '../base/limits.ts';
import { CommandError } from './errors.ts';

const STEPS = 2 ** 21;
const SCANS = 2 ** 32;

interface Scan {
  step: number;
  /** Where step and the one before it begin. */
  place: Buffer;
  former: Buffer | undefined;
}

export class ScanCursors {
  /** The one that was idle for longest first. */
  readonly #scans = new Map<number, Scan>();
  /** Not from the beginning, so that a cursor of a former server is not taken for one of this. */
  #next = randomInt(1, SCANS);

  get size(): number {
    return this.#scans.size;
  }

  /** Where the scan goes on; undefined: it begins. CommandError for a cursor that is none. */
  place(cursor: bigint): Buffer | undefined {
    if (cursor === 0n) return undefined;
    const number = Number(cursor);
    const id = Math.floor(number / STEPS);
    const scan = this.#scans.get(id);
    const step = number % STEPS;
    if (scan !== undefined && step === scan.step) return scan.place;
    if (scan !== undefined && step === scan.step - 1 && scan.former !== undefined) return scan.former;
    throw new CommandError('ERR invalid cursor: this scan has ended or was forgotten, begin again with 0');
  }

  /** The cursor with which the scan that came with `cursor` goes on at `place`; 0 when it is undefined: the scan has ended. */
  advance(cursor: bigint, place: Buffer | undefined): number {
    // A scan that has ended stays for a while, for a client that asks for the end again.
    if (place === undefined) return 0;
    const number = Number(cursor);
    const id = number === 0 ? this.#newId() : Math.floor(number / STEPS);
    const scan = this.#scans.get(id);
    const step = number === 0 ? 1 : (number % STEPS) + 1;
    if (step === STEPS) return this.advance(0n, place);
    this.#scans.delete(id);
    this.#scans.set(id, { step, place, former: scan === undefined ? undefined : step === scan.step ? scan.former : scan.place });
    if (this.#scans.size > LIMITS.scansMax) this.#scans.delete(this.#scans.keys().next().value!);
    return id * STEPS + step;
  }

  #newId(): number {
    do this.#next = this.#next + 1 >= SCANS ? 1 : this.#next + 1;
    while (this.#scans.has(this.#next));
    return this.#next;
  }
}
