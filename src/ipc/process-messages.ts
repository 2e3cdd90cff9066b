// Control messages between the keeper and its children, over the fork channel (JSON serialization): start, health, stop.
import type { DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';

/** A volume, as its description files say. Formats: docs/FORMATS.md. */
export interface VolumeDescription {
  readonly version: 1;
  readonly volume: Uuid;
  readonly name: string;
  /** Copies of every block and of the metadata (R). */
  readonly copies: number;
  /** Largest block, bytes. */
  readonly blockBytes: number;
  readonly disks: readonly { readonly worker: WorkerId; readonly disk: Uuid; readonly directory: string; readonly weight: number }[];
}

export interface ProcessLogOptions {
  readonly level: string;
  /** Absolute path; stderr when absent. */
  readonly file?: string | undefined;
}

export type KeeperToWorker =
  | { readonly type: 'start'; readonly volume: Uuid; readonly worker: WorkerId; readonly disk: Uuid; readonly directory: string; readonly socket: string; readonly log: ProcessLogOptions }
  | { readonly type: 'stop' };

export type WorkerToKeeper =
  | { readonly type: 'ready' }
  /** Still opening the disk, and getting on with it: the time to start counts from the last of these. */
  | { readonly type: 'progress' }
  /** The worker cannot serve this disk, and starting it again would not help; it exits by itself. */
  | { readonly type: 'unusable'; readonly reason: string; readonly exitCode: number };

export interface DriverStart {
  readonly type: 'start';
  readonly description: VolumeDescription;
  /** Directory of the driver's own database and journal; made when missing. */
  readonly stateDirectory: string;
  readonly epoch: DriverEpoch;
  /** Epoch of the first driver of this mount. */
  readonly mountEpoch: DriverEpoch;
  /** UNIX socket of each worker, by worker id. */
  readonly sockets: readonly string[];
  /** Descriptor number of the mounted /dev/fuse in the driver (inherited through stdio). */
  readonly fuseFd: number;
  readonly mountpoint: string;
  readonly readOnly: boolean;
  readonly accessTime: 'relatime' | 'noatime';
  /** Whether to ask the kernel to check ACLs. */
  readonly posixAcl: boolean;
  readonly locks: 'kernel' | 'sdfs';
  /** What the first driver negotiated with the kernel (opaque, from DriverToKeeper 'session'); absent at first mount. */
  readonly session?: string | undefined;
  readonly log: ProcessLogOptions;
}

export type KeeperToDriver =
  | DriverStart
  /** Answered by 'reply' with the same id. `query` names: 'status', 'sync', 'info' (argument: { inode }). */
  | { readonly type: 'query'; readonly id: number; readonly query: string; readonly argument?: unknown }
  /** Finish what is in hand and end with HANDED_OVER: a successor takes the living mount over. */
  | { readonly type: 'handOver' }
  /** The mount is gone or going: write all to the workers and end. */
  | { readonly type: 'stop' };

/** Exit code of a process that made room for its successor. Not 0: that is the end of a mount. */
export const HANDED_OVER = 17;

export type DriverToKeeper =
  | { readonly type: 'session'; readonly session: string }
  /** The kernel's INIT is answered (or taken over): the mount is usable. */
  | { readonly type: 'ready' }
  /** This worker lives and does not answer: kill it, so that it is started again. */
  | { readonly type: 'hung'; readonly worker: WorkerId }
  | { readonly type: 'reply'; readonly id: number; readonly value?: unknown; readonly error?: string }
  /** The kernel ended the connection (unmounted); all is flushed; the driver exits with code 0 after this. */
  | { readonly type: 'ended' }
  | { readonly type: 'unusable'; readonly reason: string; readonly exitCode: number };

/** Value of the reply to the query 'status'. All sizes in bytes. */
export interface DriverStatus {
  /** As `df` says it: what can be held and still be written at this number of copies. */
  readonly capacity: { readonly totalBytes: number; readonly availableBytes: number };
  readonly inodes: number;
  /** Acknowledged, but not on R disks yet. */
  readonly pendingBytes: number;
  /** Blocks known to have fewer good copies than R. */
  readonly degradedBlocks: number;
  /** Advisory locks; absent where the kernel keeps them. */
  readonly locks?: { readonly held: number; readonly waiting: number } | undefined;
  /** By worker id. */
  readonly disks: readonly DriverDiskStatus[];
}

export interface DriverDiskStatus {
  readonly worker: WorkerId;
  readonly connected: boolean;
  /** Of the file system that holds the disk directory; the last known ones while not connected; absent when never known. */
  readonly statistics?: { readonly totalBytes: number; readonly availableBytes: number; readonly blockBytes: number; readonly blockCount: number; readonly logBytes: number; readonly device: number } | undefined;
}

/** Value of the reply to the query 'info'. */
export interface DriverFileInfo {
  readonly inode: number;
  /** st_mode. */
  readonly mode: number;
  readonly size: number;
  /** In order of offset; what no extent covers is a hole. */
  readonly extents: readonly DriverExtentInfo[];
  /** True when the file has more extents than were looked at. */
  readonly truncated?: boolean | undefined;
}

export interface DriverExtentInfo {
  readonly offset: number;
  readonly bytes: number;
  /** 16 hex digits; absent while the bytes ride in the metadata log. */
  readonly block?: string | undefined;
  /** Disks that should hold or do hold the block, with what was found there. */
  readonly copies: readonly { readonly worker: WorkerId; readonly state: 'good' | 'missing' | 'damaged' | 'unreachable' }[];
}
