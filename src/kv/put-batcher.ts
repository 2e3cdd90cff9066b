// Collects the blocks that one loop turn puts to one worker into frames of bounded size.
import { LIMITS } from '../base/limits.ts';
import type { BlockPut } from '../ipc/messages.ts';
import type { WorkerLink } from './worker-link.ts';

const FRAME_BYTES_MAX = LIMITS.frameBodyBytesMax / 2;

/** Who put a block, told once how this copy fared. */
export interface CopyOwner {
  readonly block: BlockPut;
  readonly blockBytes: number;
  copyStored(index: number): void;
  copyFailed(index: number, error: unknown): void;
}

export class PutBatcher {
  readonly #link: WorkerLink;
  readonly #index: number;
  #owners: CopyOwner[] = [];
  #bytes = 0;

  constructor(link: WorkerLink, index: number) {
    this.#link = link;
    this.#index = index;
  }

  add(owner: CopyOwner): void {
    if (this.#owners.length > 0 && this.#bytes + owner.blockBytes > FRAME_BYTES_MAX) this.#flush();
    this.#owners.push(owner);
    this.#bytes += owner.blockBytes;
    if (this.#bytes >= FRAME_BYTES_MAX || this.#owners.length >= LIMITS.putBatchBlocksMax) this.#flush();
    else if (this.#owners.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const owners = this.#owners;
    if (owners.length === 0) return;
    this.#owners = [];
    this.#bytes = 0;
    const index = this.#index;
    this.#link
      .request('putBlocks', { blocks: owners.map(({ block }) => block) }, { absenceMs: this.#link.patienceMs(LIMITS.workerSwitchMs) })
      .then(
        () => owners.forEach((owner) => owner.copyStored(index)),
        (error: unknown) => owners.forEach((owner) => owner.copyFailed(index, error)),
      );
  }
}
