// Who holds the mount: the keeper, which hands its descriptor to one driver after the other, or each driver by itself.
import { closeSync } from 'node:fs';
import type { Logger } from '../base/log.ts';
import type { MountOptions } from '../base/mount-options.ts';
import type { DriverKind } from '../control/api.ts';
import type { DriverStart } from '../ipc/process-messages.ts';
import { DRIVER_FUSE_FD } from './children.ts';
import { READ_AHEAD_KIB } from './kernel-edge.ts';
import type { KernelEdge, MountedDevice } from './kernel-edge.ts';

export interface MountHolder {
  /** False: a driver that dies leaves a dead mount, and its successor mounts anew. Programs see an error then. */
  readonly outlivesDriver: boolean;
  /** Its number in /sys/fs/fuse/connections; null while it is not known. */
  readonly connection: number | null;
  /** The descriptor that drivers inherit. */
  readonly fuseFd: number | undefined;
  /** What a driver is told of it. */
  readonly edge: DriverStart['edge'];
  /** Before the first driver. UserError when the system refuses. */
  mount(): void;
  /** A driver has mounted by itself. */
  mountedByDriver(connection: number | null): void;
  /** A driver is ready: the kernel has its own default of this until it knows the driver. */
  setReadAhead(log: Logger): void;
  /** When the last driver has ended: who still waits on the mount gets an error. */
  close(): void;
}

export interface MountHolderOptions {
  readonly driver: DriverKind;
  readonly mountpoint: string;
  readonly mount: MountOptions;
}

export function createMountHolder(kernel: KernelEdge, options: MountHolderOptions): MountHolder {
  return options.driver === 'direct' ? new KeeperHolds(kernel, options) : new DriverHolds(kernel, options);
}

function setReadAhead(kernel: KernelEdge, connection: number | null, log: Logger): void {
  try {
    if (connection !== null && !kernel.setReadAhead(connection, READ_AHEAD_KIB)) log.debug('read-ahead stays as the kernel has it: only root may set it');
  } catch (error) {
    log.warn({ err: error }, 'read-ahead was not set; sequential reads will be slower');
  }
}

class KeeperHolds implements MountHolder {
  readonly outlivesDriver = true;
  readonly edge = { kind: 'direct', fd: DRIVER_FUSE_FD } as const;
  readonly #kernel: KernelEdge;
  readonly #options: MountHolderOptions;
  #device: MountedDevice | undefined;

  constructor(kernel: KernelEdge, options: MountHolderOptions) {
    this.#kernel = kernel;
    this.#options = options;
  }

  get connection(): number | null {
    return this.#device?.connection ?? null;
  }

  get fuseFd(): number {
    if (this.#device === undefined) throw new Error('a driver was started before the mount');
    return this.#device.fd;
  }

  mount(): void {
    this.#device = this.#kernel.mount(this.#options.mountpoint, this.#options.mount);
  }

  mountedByDriver(): void {
    throw new Error('a driver has mounted that was given the mount');
  }

  setReadAhead(log: Logger): void {
    setReadAhead(this.#kernel, this.connection, log);
  }

  close(): void {
    if (this.#device !== undefined) closeSync(this.#device.fd);
  }
}

class DriverHolds implements MountHolder {
  readonly outlivesDriver = false;
  readonly fuseFd = undefined;
  readonly edge: DriverStart['edge'];
  readonly #kernel: KernelEdge;
  #connection: number | null = null;

  constructor(kernel: KernelEdge, { mount }: MountHolderOptions) {
    this.#kernel = kernel;
    const { allowOther, noSuid, noDev, noExec, fsname, subtype, maxReadBytes } = mount;
    this.edge = { kind: 'fuse-native', allowOther, noSuid, noDev, noExec, fsname, subtype, maxReadBytes };
  }

  get connection(): number | null {
    return this.#connection;
  }

  mount(): void {}

  mountedByDriver(connection: number | null): void {
    this.#connection = connection;
  }

  setReadAhead(log: Logger): void {
    setReadAhead(this.#kernel, this.#connection, log);
  }

  close(): void {}
}
