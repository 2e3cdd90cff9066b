// While requests come, keeps idle processors of the machine in a state from which they wake at once.
//
// A round trip through FUSE is two wake-ups, one to a worker two more, and waking a processor that sleeps costs some
// 40 us in a virtual machine, more than all the rest. /dev/cpu_dma_latency is the kernel's word for "I cannot wait for
// that" (Documentation/power/pm_qos_interface.rst); it holds while the file is open. Idle processors draw more power
// meanwhile, busy ones notice nothing.
import { closeSync, openSync, writeSync } from 'node:fs';

const FILE = '/dev/cpu_dma_latency';
/** Looked at this often: the request ends after one to two of these without a request. */
const QUIET_MS = 50;

export class WakeLatency {
  #fd: number | undefined;
  #used = false;
  #timer: NodeJS.Timeout | undefined;
  /** Not for this process (no right, no such file): not tried again. */
  #refused = false;

  /** Requests are being served. */
  used(): void {
    this.#used = true;
    if (this.#fd !== undefined || this.#refused) return;
    try {
      this.#fd = openSync(FILE, 'w');
      writeSync(this.#fd, new Int32Array([0]));
      this.#timer = setInterval(() => this.#look(), QUIET_MS).unref();
    } catch {
      this.#refused = true;
      this.#release();
    }
  }

  #look(): void {
    if (!this.#used) this.#release();
    this.#used = false;
  }

  #release(): void {
    clearInterval(this.#timer);
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
