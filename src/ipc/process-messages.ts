// Control messages between the keeper and its children, over the fork channel (JSON serialization): start, health, stop.
import type { DriverEpoch, Uuid, WorkerId } from '../base/ids.ts';
import type { KnownMembership } from '../base/membership.ts';
import type { MountOptions, OwnMountOptions } from '../base/mount-options.ts';

/** A volume, as its description files say. Formats: docs/FORMATS.md. */
export interface VolumeDescription {
  readonly version: 1;
  readonly volume: Uuid;
  readonly name: string;
  /** Copies of every block and of the metadata (R). */
  readonly copies: number;
  /** Largest block, bytes. */
  readonly blockBytes: number;
  readonly disks: readonly DiskDescription[];
  /** Counts the changes of the description: of several that are found, the newest is right. */
  readonly generation: number;
}

export interface DiskDescription {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly directory: string;
  readonly weight: number;
  /** draining: nothing new is put there, and what is there moves to the others. */
  readonly state?: 'draining' | undefined;
}

/** A disk, for people. */
export function nameDisk(description: VolumeDescription, uuid: Uuid): string {
  const disk = description.disks.find((candidate) => candidate.disk === uuid);
  return disk === undefined ? `disk ${uuid}` : `disk ${disk.worker} (${disk.directory}, ${uuid})`;
}

export const MISSING_DISKS_ADVICE = 'Bring them back; if they are gone for good, mount with --force-degraded: what only they have is lost then';

export interface ProcessLogOptions {
  readonly level: string;
  /** Absolute path; stderr when absent. */
  readonly file?: string | undefined;
}

export type KeeperToWorker =
  | { readonly type: 'start'; readonly volume: Uuid; readonly worker: WorkerId; readonly disk: Uuid; readonly directory: string; readonly socket: string; readonly log: ProcessLogOptions; readonly crashed?: boolean | undefined }
  /** The description has changed, or may have changed while the disk was away. */
  | { readonly type: 'describe'; readonly description: VolumeDescription }
  | { readonly type: 'stop' };

export type WorkerToKeeper =
  | { readonly type: 'ready' }
  /** Still opening the disk, and getting on with it: the time to start counts from the last of these. */
  | { readonly type: 'progress' }
  /** The worker cannot serve this disk, or cannot any longer; it exits by itself, and is started again slowly. */
  | { readonly type: 'unusable'; readonly reason: string; readonly exitCode: number };

/** `fd`: the mounted /dev/fuse in the driver, inherited through stdio. The mount outlives the driver. */
export interface DirectEdge {
  readonly kind: 'direct';
  readonly fd: number;
}

/** The driver mounts by itself, and the mount dies with it. A dead one that another driver left is detached first. */
export interface NativeEdge extends OwnMountOptions {
  readonly kind: 'fuse-native';
}

/** Nobody is served: the volume is not mounted, and people ask questions. */
export interface OfflineEdge {
  readonly kind: 'offline';
  /** Before anything else. */
  readonly load?: LoadOrder;
}

/** A dump that takes the place of the metadata. `file`: absolute. `sequence`: of the dump, as who verified it has read. */
export interface LoadOrder {
  readonly file: string;
  readonly sequence: number;
  /** Also in the place of newer metadata. */
  readonly force: boolean;
}

export interface DriverStart {
  readonly type: 'start';
  /** The last driver was ended by a fault of its own, as by a damaged database: that is not to be trusted. */
  readonly crashed?: boolean | undefined;
  readonly description: VolumeDescription;
  /** Directory of the driver's own database and journal; made when missing. */
  readonly stateDirectory: string;
  /** The device (st_dev) below it, when that hangs: whoever touches it waits without end. The database has to be elsewhere. */
  readonly hangingDevice?: number | undefined;
  readonly epoch: DriverEpoch;
  /** Epoch of the first driver of this mount. */
  readonly mountEpoch: DriverEpoch;
  /** UNIX socket of each worker, by worker id. */
  readonly sockets: Readonly<Record<number, string>>;
  /** UNIX socket on which the keys of the volume are served; absent: on none. */
  readonly keySocket?: string | undefined;
  readonly edge: DirectEdge | NativeEdge | OfflineEdge;
  readonly mountpoint: string;
  readonly readOnly: boolean;
  readonly accessTime: MountOptions['accessTime'];
  readonly directoryAccessTime: boolean;
  /** Whether to ask the kernel to check ACLs. */
  readonly posixAcl: boolean;
  readonly locks: MountOptions['locks'];
  /** Between backups of the metadata onto the disks; 0: none. */
  readonly dumpIntervalMs: number;
  /** What the first driver negotiated with the kernel (opaque, from DriverToKeeper 'session'); absent at first mount. */
  readonly session?: string | undefined;
  /** Workers whose disks could not be used when the mount began: nobody waits for them. */
  readonly away: readonly WorkerId[];
  /** The user says that disks that are missing are gone for good. */
  readonly forceDegraded: boolean;
  /** What a former driver of this mount said last; absent for the first. */
  readonly membership?: KnownMembership | undefined;
  readonly log: ProcessLogOptions;
}

export type KeeperToDriver =
  | DriverStart
  /** Answered by 'reply' with the same id. `query` names: 'ping', 'status', 'sync', 'info' (argument: { inode }), 'upkeep' (UpkeepQuestion), 'rescue' (RescueQuestion). */
  | { readonly type: 'query'; readonly id: number; readonly query: string; readonly argument?: unknown }
  /** Finish what is in hand and end with HANDED_OVER: a successor takes the living mount over. */
  | { readonly type: 'handOver' }
  /** The mount is gone or going: write all to the workers and end. */
  | { readonly type: 'stop' };

/** Exit code of a process that made room for its successor. Not 0: that is the end of a mount. */
export const HANDED_OVER = 17;

export type DriverToKeeper =
  /** This driver has mounted by itself, as this connection: its number in /sys/fs/fuse/connections. */
  | { readonly type: 'mounted'; readonly connection: number | null }
  | { readonly type: 'session'; readonly session: string }
  /** Sent before any disk is told: what a successor must know. */
  | { readonly type: 'membership'; readonly membership: KnownMembership }
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
  /** A driver of another version than the keeper may not say it. */
  readonly upkeep?: DriverUpkeep | undefined;
  readonly dumps?: DriverDumpStatus | undefined;
  /** What does not get on, a sentence each; a driver of another version may not say it. `worker`: it is about that one. */
  readonly stuck?: readonly { readonly worker?: WorkerId | undefined; readonly what: string }[] | undefined;
  /** By worker id. */
  readonly disks: readonly DriverDiskStatus[];
  readonly membership: {
    readonly epoch: number;
    /** Why it cannot be changed, where it should be. */
    readonly problem?: string | undefined;
  };
}

/** Backups of the metadata on the disks. */
export interface DriverDumpStatus {
  /** 0: off. */
  readonly intervalMs: number;
  /** The last one that was read back; null before the first. `written`: ISO 8601. */
  readonly last: { readonly sequence: number; readonly written: string; readonly bytes: number; readonly disks: readonly WorkerId[] } | null;
  readonly problem: string | null;
}

/** What goes on in the background to keep R copies of every block. Times in ISO 8601, durations in ms. */
export interface DriverUpkeep {
  readonly reconcile: {
    readonly state: 'idle' | 'waiting' | 'running';
    readonly reason: string | null;
    readonly phase: 'counting' | 'copying' | 'tidying' | null;
    /** Blocks or copies of the phase that runs. */
    readonly progress: { readonly done: number; readonly total: number; readonly etaMs: number } | null;
    /** Blocks with fewer than R good copies, and those of them without any. */
    readonly endangeredBlocks: number;
    readonly unreadableBlocks: number;
    /** Disks that may lack something that they should have. */
    readonly incompleteDisks: readonly WorkerId[];
    /** Blocks that nothing names are kept until somebody asks for gc, since not all that names blocks may be known. */
    readonly garbageHeld?: boolean;
    readonly last: DriverUpkeepRun | null;
  };
  readonly scrub: {
    readonly state: 'idle' | 'waiting' | 'running';
    /** Part that is done, from 0 to 1. */
    readonly fraction: number | null;
    /** When the next one begins by itself. */
    readonly next: string;
    readonly current: (DriverScrubCounts & { readonly started: string }) | null;
    readonly last: (DriverScrubCounts & { readonly started: string; readonly ended: string }) | null;
  };
}

/** One look over all blocks, with what was found and done. */
export interface DriverUpkeepRun {
  readonly run: number;
  readonly reason: string;
  readonly complete: boolean;
  readonly dryRun: boolean;
  /** Garbage was left alone, since a disk is away. */
  readonly garbageWaits: boolean;
  readonly tookMs: number;
  readonly ended: string;
  readonly blocks: number;
  readonly bytes: number;
  readonly unreadableBlocks: number;
  readonly misplaced: number;
  readonly endangered: number;
  readonly copiedCopies: number;
  readonly copiedBytes: number;
  readonly droppedCopies: number;
  readonly garbageCopies: number;
  readonly garbageBytes: number;
  readonly deletedCopies: number;
  readonly deletedBytes: number;
  readonly verifiedCopies: number;
  readonly verifiedBytes: number;
  readonly damagedCopies: number;
  readonly missedCopies: number;
}

export interface DriverScrubCounts {
  readonly blocks: number;
  readonly verifiedCopies: number;
  readonly verifiedBytes: number;
  readonly damagedCopies: number;
  readonly missingCopies: number;
  readonly repairedCopies: number;
  readonly unreadableBlocks: number;
  /** Of the metadata: rows that were read, copies on the disks that were, and those that were damaged and are made anew. */
  readonly metadataRows: number;
  readonly metadataCopies: number;
  readonly damagedMetadataCopies: number;
}

/** Argument of the query 'upkeep'. */
export type UpkeepQuestion =
  | { readonly ask: 'status' }
  /** Begins a look over all blocks; with `dryRun` it only counts. */
  | { readonly ask: 'gc'; readonly dryRun: boolean }
  | { readonly ask: 'result'; readonly ticket: number }
  /** `rate`: bytes a second. */
  | { readonly ask: 'scrub'; readonly rate?: number | undefined }
  /** The files that need blocks of which no good copy is left. */
  | { readonly ask: 'damaged' }
  /** Begins to look what would be lost with these disks. */
  | { readonly ask: 'whatIf'; readonly lose: readonly WorkerId[] }
  | { readonly ask: 'whatIfResult'; readonly ticket: number };

interface BlockSum {
  readonly blocks: number;
  readonly bytes: number;
}

/** What `sdfs disk what-if --json` prints. Blocks that are being written meanwhile are not counted. */
export interface WhatIfAnswer {
  readonly version: 1;
  readonly lose: readonly WorkerId[];
  /** Disks that cannot be asked, besides: what they have counts as not there. */
  readonly unknown: readonly WorkerId[];
  /** Disks that lie on one device with one of those: they may be lost together. */
  readonly sharing: readonly WorkerId[];
  readonly all: BlockSum;
  /** Without a copy already. */
  readonly unreadable: BlockSum;
  /** Copies are on the lost disks alone. `complete`: all files and keys concerned are named. */
  readonly lost: BlockSum & { readonly files: readonly FileRanges[]; readonly complete: boolean };
  /** Would have fewer copies than wanted, and are readable. */
  readonly fewer: BlockSum;
  /** Disks that have all metadata, those of them that are left, and disks left that have a backup of it. */
  readonly metadata: { readonly disks: readonly WorkerId[]; readonly left: readonly WorkerId[]; readonly backups: readonly WorkerId[] };
  /** `records`: changes that the driver's journal alone has, and whether that lies on the device of a lost disk. `bytes`: small data that rides in journal and metadata log, and is no block yet. */
  readonly onTheWay: { readonly bytes: number; readonly records: number; readonly journalLost: boolean };
  /** Why a mount would need --force-degraded. */
  readonly mountRefusal: string | null;
  /** For as many copies as before: whether the disks that are left are enough, and have the space. */
  readonly room: { readonly neededBytes: number; readonly availableBytes: number; readonly disks: number; readonly enough: boolean };
}

interface FileRanges {
  readonly inode: number;
  readonly key?: string;
  readonly paths: readonly string[];
  readonly ranges: readonly { readonly offset: number; readonly bytes: number }[];
}

/** Value of the reply to the query 'upkeep'. */
export interface UpkeepAnswer {
  /** Of a whatIf that has ended. */
  readonly whatIf?: WhatIfAnswer;
  readonly upkeep?: DriverUpkeep;
  readonly ticket?: number;
  /** Of the run that was asked for, when it has ended. */
  readonly run?: DriverUpkeepRun;
  readonly damaged?: { readonly blocks: readonly string[]; readonly files: readonly { readonly inode: number; readonly key?: string; readonly paths: readonly string[]; readonly ranges: readonly { readonly offset: number; readonly bytes: number }[] }[] };
}

export interface DriverDiskStatus {
  readonly worker: WorkerId;
  readonly connected: boolean;
  /** Up to date, and counted when disks are missing. */
  readonly member: boolean;
  /** Has the metadata log, or is one of those that are to have it. */
  readonly holdsLog: boolean;
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
