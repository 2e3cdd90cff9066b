// connectStore: a store that another process has open.
import { join, resolve } from 'node:path';
import { RemoteBackend } from '../backend/remote-backend.ts';
import { RuntimeDirectory, listRunningMounts } from '../control/running-mounts.ts';
import { readVolume } from '../keeper/volume.ts';
import { StoreError } from '../keys/errors.ts';
import { asOpenError } from './open-store.ts';
import { Store } from './store.ts';

/** By the socket itself, the directory of the store, or the mountpoint of a volume, whose keys lie beside its files. */
export type StoreAddress = { readonly socket: string } | { readonly path: string } | { readonly mountpoint: string };

export interface ConnectStoreOptions {
  /** True: every write of this process is power-proof before it is acknowledged. Default: false. */
  readonly sync?: boolean | undefined;
}

/**
 * Reaches a store that another process of the same user has open. A connection that is lost is made anew for later
 * calls; writes that were under way end in StoreError CLOSED, since whether they were carried out is not known. StoreError
 * CLOSED when no process has it open, FOREIGN for what is no store, or one of another version.
 *
 * @example
 * await using theirs = await connectStore({ path });
 * await theirs.set('key', 'value');
 * await store.get('key').then(String); // => 'value'
 */
export async function connectStore(address: StoreAddress, options: ConnectStoreOptions = {}): Promise<Store> {
  return new Store(await RemoteBackend.connect(socketOf(address)), { sync: options.sync === true });
}

function socketOf(address: StoreAddress): string {
  if ('socket' in address) return address.socket;
  if ('path' in address) {
    try {
      return new RuntimeDirectory(readVolume(resolve(address.path)).volume).keySocket;
    } catch (error) {
      throw asOpenError(error);
    }
  }
  const mountpoint = resolve(address.mountpoint);
  const mount = listRunningMounts().find((each) => each.mountpoint === mountpoint);
  if (mount === undefined) throw new StoreError('FOREIGN', `no volume is mounted at ${mountpoint}`);
  return join(mount.directory, 'keys.sock');
}
