// The edge fuse-native in a driver: puts its mount in the place of the dead one of a predecessor, and tells the keeper.
import { NativeMount } from '../fuse-native/native-mount.ts';
import type { DriverStart, NativeEdge } from '../ipc/process-messages.ts';
import { findMount } from '../kernel/mount-table.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { detachMount } from './detach.ts';
import type { DriverEdge, EdgeCallbacks } from './edge.ts';

export async function mountNative(fs: FileSystem, start: DriverStart, edge: NativeEdge, { logger, tell, onEnd, onDefect }: EdgeCallbacks): Promise<DriverEdge> {
  const { mountpoint, readOnly, accessTime } = start;
  // Not before all else is ready: as long as the dead mount is in the tree, programs get errors, and do not write
  // into the directory below.
  if (isOurs(mountpoint, edge)) await detachMount(mountpoint, logger);
  const mount = await NativeMount.start(fs, { ...edge, mountpoint, readOnly, accessTime, logger }, { onEnd, onDefect });
  tell({ type: 'mounted', connection: findMount(mountpoint)?.minor ?? null });
  tell({ type: 'ready' });
  return mount;
}

/** The volume is locked for this keeper, so it was mounted by a driver that is dead. */
function isOurs(mountpoint: string, edge: NativeEdge): boolean {
  const entry = findMount(mountpoint);
  return entry?.type === `fuse.${edge.subtype}` && entry.source === edge.fsname;
}
