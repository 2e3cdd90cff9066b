// One disk, opened: its lock, its blocks, its copy of the metadata, and what is known of its last use.
import { EXIT, UserError } from '../base/errors.ts';
import type { DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { isNewerMembership, sameMembership } from '../base/membership.ts';
import type { Membership } from '../base/membership.ts';
import type { DiskStatistics } from '../ipc/messages.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { BlockStore } from './block-store.ts';
import { sizesFor } from './disk-sizes.ts';
import { countSharing, DiskSpace } from './disk-space.ts';
import { DiskState } from './disk-state.ts';
import type { DiskIdentity, DiskLock } from './identity.ts';
import { lockDisk } from './identity.ts';
import { readMembership, writeMembership } from './membership-file.ts';
import { DumpStore } from './dump-store.ts';
import { MetadataCopy } from './metadata-copy.ts';

export interface DiskOptions {
  readonly directory: string;
  readonly log: Logger;
  /** What the directory must be; anything else is refused. */
  readonly expect?: { readonly volume: Uuid; readonly worker: WorkerId; readonly disk: Uuid };
  /** Called when a step in the background could not write the disk. */
  readonly onFailure?: (error: unknown) => void;
  /** Called again and again while opening takes its time. */
  readonly onProgress?: () => void;
  /** The last process that had the disk was ended by a fault of its own: what LMDB has is looked at, or made anew. */
  readonly crashed?: { readonly checkpointIsWhole: (directory: string) => Promise<boolean> } | undefined;
  /** For tests: small segments, another boot, another mount. */
  readonly segmentBytes?: number;
  readonly logSegmentBytes?: number;
  readonly bootId?: string;
  readonly mount?: string;
}

export class Disk {
  readonly blocks: BlockStore;
  readonly metadata: MetadataCopy;
  readonly dumps: DumpStore;
  readonly #space: DiskSpace;
  readonly #state: DiskState;
  readonly #directory: string;
  #membership: Membership | null;
  readonly #lock: DiskLock;

  private constructor(parts: { lock: DiskLock; directory: string; membership: Membership | null; blocks: BlockStore; metadata: MetadataCopy; dumps: DumpStore; space: DiskSpace; state: DiskState }) {
    this.#lock = parts.lock;
    this.blocks = parts.blocks;
    this.metadata = parts.metadata;
    this.dumps = parts.dumps;
    this.#space = parts.space;
    this.#state = parts.state;
    this.#directory = parts.directory;
    this.#membership = parts.membership;
  }

  /**
   * Takes the disk and makes it ready; after an unclean boot its block index is made anew first. UserError: not a
   * disk, another's, in use, newer, damaged; otherwise the errors of `fs` and LMDB.
   */
  static async open(options: DiskOptions): Promise<Disk> {
    const { directory, log } = options;
    const lock = lockDisk(directory);
    const { identity } = lock;
    try {
      checkExpected(directory, identity, options.expect);
      const state = DiskState.open(directory, { bootId: options.bootId, mount: options.mount });
      const membership = readMembership(directory);
      const { volume, disks } = identity.description;
      const space = new DiskSpace(directory, { directories: await countSharing(directory, disks.map((disk) => disk.directory)) });
      const sizes = sizesFor(space.totalBytes);
      const blocks = await BlockStore.open({ directory, volume, space, trusted: state.sameBootOrClean && options.crashed === undefined, allOnDisk: state.allOnDisk, log, segmentBytes: options.segmentBytes ?? sizes.segmentBytes, onProgress: options.onProgress, onFailure: options.onFailure });
      const metadata = await MetadataCopy.open({ directory, log, allOnDisk: state.allOnDisk, logSegmentBytes: options.logSegmentBytes ?? sizes.logSegmentBytes, logSparesMax: sizes.logSparesMax, checkpointIsWhole: options.crashed?.checkpointIsWhole, onFailure: options.onFailure });
      state.markInUse();
      return new Disk({ lock, directory, membership, blocks, metadata, dumps: new DumpStore(directory), space, state });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  get identity(): DiskIdentity {
    return this.#lock.identity;
  }

  /** Notes what the volume is now, if that is newer. Errors of `fs`. */
  describe(description: VolumeDescription): void {
    this.#lock.describe(description);
  }

  /** null: this disk knows nothing of it. */
  get membership(): Membership | null {
    return this.#membership;
  }

  /** Power-proof when it returns. False for a record that is not newer than the one that is there. Errors of `fs`. */
  recordMembership(record: Membership): boolean {
    if (this.#membership !== null && !isNewerMembership(record, this.#membership)) return sameMembership(record, this.#membership);
    writeMembership(this.#directory, record);
    this.#membership = record;
    return true;
  }

  /** Newest driver that this disk has served. */
  get epoch(): DriverEpoch {
    return Math.max(this.#state.epoch, this.metadata.state.lastEpoch) as DriverEpoch;
  }

  raiseEpoch(epoch: DriverEpoch): void {
    this.#state.raiseEpoch(epoch);
  }

  /** The disk failed: of what was never synced, the kernel may have kept something else than the disk. */
  distrust(): void {
    this.blocks.distrust();
  }

  statistics(): DiskStatistics {
    return {
      totalBytes: this.#space.totalBytes,
      availableBytes: this.#space.availableBytes,
      blockBytes: this.blocks.blockBytes,
      blockCount: this.blocks.blockCount,
      device: this.#space.device,
      logBytes: this.metadata.logBytes,
    };
  }

  /** Everything power-proof, the disk marked clean, the lock gone. Every step is taken; the first failure is thrown, and the disk is not marked clean then. */
  async close(): Promise<void> {
    const results = await Promise.allSettled([this.blocks.close(), this.metadata.close()]);
    try {
      const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
      if (failures.length > 0) throw new AggregateError(failures, `the disk could not be closed: ${failures.map((error) => error.message).join('; ')}`);
      this.#state.markClean();
    } finally {
      this.#lock.release();
    }
  }
}

function checkExpected(directory: string, { worker, disk, description }: DiskIdentity, expect: DiskOptions['expect']): void {
  if (expect === undefined) return;
  if (description.volume !== expect.volume) throw new UserError(`${directory} holds a disk of the volume "${description.name}" (${description.volume}), not of ${expect.volume}: mount the right disk there`, EXIT.foreign);
  if (disk !== expect.disk || worker !== expect.worker) throw new UserError(`${directory} holds disk ${worker} (${disk}) of the volume, where disk ${expect.worker} (${expect.disk}) is wanted: are two disks mounted in each other's place?`, EXIT.foreign);
}
