// The admin API of a running mount, version 1: what can be asked over the control socket and the shape of the answers.
//
//   GET  /v1/status            StatusReport
//   POST /v1/sync              {}             when all acknowledged changes are on R disks
//   POST /v1/umount            UnmountResult  body: { "mode": "clean" | "lazy" | "force" }
//   GET  /v1/info?inode=N      DriverFileInfo
//   POST /v1/upkeep            UpkeepAnswer   body: UpkeepQuestion
//   POST /v1/rescue            RescueAnswer   body: RescueQuestion
//   POST /v1/disks             DiskAnswer     body: DiskRequest; when the volume goes on with the disks as they are then
//   POST /v1/upgrade           {}             body: ChildModules, absolute paths; when the new code serves
//
// An error is an HTTP status above 399 with the body { "error": { "message", "exitCode" } } (ErrorBody).
import type { ExitCode } from '../base/errors.ts';
import type { DriverDumpStatus, DriverFileInfo, DriverStatus, DriverUpkeep, UpkeepAnswer, UpkeepQuestion, WhatIfAnswer } from '../ipc/process-messages.ts';
import type { FsckAnswer, FsckKind, RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';

export type { FsckAnswer, FsckKind, RescueAnswer, RescueQuestion };
export type { DriverDumpStatus, DriverFileInfo, DriverStatus, DriverUpkeep, UpkeepAnswer, UpkeepQuestion, WhatIfAnswer };

export const UNMOUNT_MODES = ['clean', 'lazy', 'force'] as const;
/** clean: flush, unmount, fail when busy. lazy: detach now, end with the last user. force: end now, in any state. */
export type UnmountMode = (typeof UNMOUNT_MODES)[number];

export interface UnmountResult {
  readonly result: 'unmounted' | 'detached' | 'killed';
}

export interface ErrorBody {
  readonly error: { readonly message: string; readonly exitCode: ExitCode };
}

/**
 * good: all processes are ready and every block has its copies. degraded: it works, with less safety than asked
 * for. stalled: the driver is not ready, programs wait. notMounted: nothing runs.
 */
export type Health = 'good' | 'degraded' | 'stalled' | 'notMounted';

/** How the driver reaches the kernel: by the protocol of /dev/fuse itself, or through the package fuse-native. */
export const DRIVER_KINDS = ['direct', 'fuse-native'] as const;
export type DriverKind = (typeof DRIVER_KINDS)[number];

export type MountState = 'starting' | 'serving' | 'unmounting' | 'detached' | 'ending';
export type ProcessStateName = 'starting' | 'ready' | 'replacing' | 'leaving' | 'restarting' | 'unusable' | 'stopping' | 'stopped';

/** What `sdfs status --json` prints. Sizes in bytes, times in ISO 8601; null where it is not known now. */
export interface StatusReport {
  readonly version: 1;
  readonly volume: { readonly uuid: string; readonly name: string; readonly directory: string; readonly copies: number; readonly blockBytes: number };
  readonly mount: { readonly mountpoint: string; readonly driver: DriverKind; readonly state: MountState; readonly since: string; readonly readOnly: boolean; readonly logFile: string | null } | null;
  readonly health: Health;
  /** Why health is not good, one sentence each. */
  readonly problems: readonly string[];
  /** As `df` says it, at this number of copies. */
  readonly capacity: { readonly totalBytes: number; readonly usedBytes: number; readonly availableBytes: number } | null;
  readonly inodes: number | null;
  /** Acknowledged, but not on R disks yet. */
  readonly pendingBytes: number | null;
  readonly degradedBlocks: number | null;
  /** Advisory locks (flock, fcntl) with the mount option locks=sdfs; null where the kernel keeps them. */
  readonly locks: { readonly held: number; readonly waiting: number } | null;
  /** What goes on in the background to keep the copies whole. */
  readonly upkeep: DriverUpkeep | null;
  /** Backups of the metadata on the disks. */
  readonly dumps: DriverDumpStatus | null;
  readonly processes: readonly ProcessReport[];
  readonly disks: readonly DiskReport[];
  /** Groups of disks (worker ids) that lie on one device: they share its capacity and die together. */
  readonly sharedDevices: readonly (readonly number[])[];
}

export interface ProcessReport {
  readonly role: 'keeper' | 'driver' | 'worker';
  /** Of a worker. */
  readonly worker: number | null;
  readonly pid: number | null;
  readonly state: ProcessStateName;
  /** Times it was started again. */
  readonly restarts: number;
  /** Why it is not ready. */
  readonly reason: string | null;
}

export interface DiskReport {
  readonly worker: number;
  readonly uuid: string;
  readonly directory: string;
  readonly state: ProcessStateName;
  /** Up to date, and counted when disks are missing. */
  readonly member: boolean | null;
  /** Has the metadata log, or is to have it. */
  readonly holdsLog: boolean | null;
  /** Nothing new is put there, and what is there moves to the others. */
  readonly draining: boolean;
  /** Share of the volume's blocks, relative to the other disks. */
  readonly weight: number;
  /** Of the file system that holds the disk directory. */
  readonly totalBytes: number | null;
  readonly availableBytes: number | null;
  /** Taken by blocks of this volume. */
  readonly blockBytes: number | null;
  readonly blockCount: number | null;
}

/** A change of the disks of a mounted volume; `disk` is a worker's number. */
export type DiskRequest =
  | { readonly action: 'add'; readonly directory: string }
  | { readonly action: 'drain' | 'undrain'; readonly disk: number }
  | { readonly action: 'remove'; readonly disk: number; readonly force: boolean }
  | { readonly action: 'replace'; readonly disk: number; readonly directory: string };

export interface DiskAnswer {
  /** The disk that came, or was changed. */
  readonly disk: number;
  /** What a person should know. */
  readonly notes: readonly string[];
}

/** Compiled modules that a keeper forks. */
export interface ChildModules {
  readonly driver: string;
  readonly worker: string;
  /** Unmounts and exits: see keeper/unmount-process.ts. */
  readonly unmount: string;
}

/** What the control server asks of the keeper. Methods reject with UserError where a person can do something about it. */
export interface ControlHandler {
  status(): Promise<StatusReport>;
  sync(): Promise<void>;
  unmount(mode: UnmountMode): Promise<UnmountResult>;
  info(inode: number): Promise<DriverFileInfo>;
  upkeep(question: UpkeepQuestion): Promise<UpkeepAnswer>;
  rescue(question: RescueQuestion): Promise<RescueAnswer>;
  upgrade(modules: ChildModules): Promise<void>;
  changeDisks(request: DiskRequest): Promise<DiskAnswer>;
}
