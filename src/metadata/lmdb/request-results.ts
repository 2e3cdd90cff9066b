// Results by request, read from the journal at open: what the last driver carried out and perhaps did not answer.
import type { DriverEpoch, InodeNumber } from '../../base/ids.ts';
import { LIMITS } from '../../base/limits.ts';
import type { RecordHeader } from '../../log/record.ts';
import type { Cause } from '../engine.ts';

export class RequestResults {
  readonly #mountEpoch: DriverEpoch;
  readonly #results = new Map<string, InodeNumber | 0>();

  /** Records of drivers before `mountEpoch` are of another mount, whose requests had the same numbers. */
  constructor(mountEpoch: DriverEpoch) {
    this.#mountEpoch = mountEpoch;
  }

  /** Of many, the last are kept: what is not answered yet is not old. */
  add(header: RecordHeader): void {
    if (header.epoch < this.#mountEpoch || (header.requestHi === 0 && header.requestLo === 0)) return;
    this.#results.set(`${header.requestHi}:${header.requestLo}`, header.result);
    if (this.#results.size <= LIMITS.requestResultsMax) return;
    for (const oldest of this.#results.keys()) {
      this.#results.delete(oldest);
      break;
    }
  }

  of(cause: Cause): InodeNumber | 0 | undefined {
    return this.#results.get(`${cause.requestHi}:${cause.requestLo}`);
  }
}
