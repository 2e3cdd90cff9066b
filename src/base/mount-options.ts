// What can be said about a mount, whoever makes it.
export interface MountOptions {
  readonly readOnly: boolean;
  /** Users other than the one who mounts may enter. Permissions are checked by the kernel in any case. */
  readonly allowOther: boolean;
  readonly noSuid: boolean;
  readonly noDev: boolean;
  readonly noExec: boolean;
  /** Kept by the driver: the kernel leaves access times to it. */
  readonly accessTime: 'strictatime' | 'relatime' | 'noatime';
  /** Of directories too, unless `accessTime` says of none. */
  readonly directoryAccessTime: boolean;
  /** ACLs are checked and can be set. Without, the kernel asks for none, and those that are kept have no effect on access. */
  readonly posixAcl: boolean;
  /** Who keeps flock and fcntl locks: the kernel, right on one machine and free, or sdfs itself. */
  readonly locks: 'kernel' | 'sdfs';
  /** Between backups of the metadata onto the disks; 0: none. */
  readonly dumpIntervalMs: number;
  /** First column of `df` and /proc/mounts. */
  readonly fsname: string;
  /** The part behind `fuse.` in the type. */
  readonly subtype: string;
  /** Largest READ in bytes; absent: as large as agreed on. */
  readonly maxReadBytes?: number | undefined;
}

/** What an edge is told that mounts by itself. */
export type OwnMountOptions = Pick<MountOptions, 'allowOther' | 'noSuid' | 'noDev' | 'noExec' | 'fsname' | 'subtype' | 'maxReadBytes'>;
