// Where a shard lies on a disk that somebody names: in a directory of its own, since the disk may have others.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { StoreError } from '../keys/errors.ts';

const SHARD_DIRECTORY = 'sdfs-shard';

export function shardOn(disk: string): string {
  return join(resolve(disk), SHARD_DIRECTORY);
}

/** In the store's own directory of shards: the first name from `number` on that is free. What a removed shard left keeps its name. */
export function ownShard(disks: string, number: number): string {
  const directory = join(disks, String(number));
  return existsSync(directory) && readdirSync(directory).length > 0 ? ownShard(disks, number + 1) : directory;
}

/** The directory for a new shard, which is there when this returns: on `disk`, or `own` where none is given. StoreError INVALID. */
export function shardDirectory(disk: string | undefined, own: string): string {
  if (disk !== undefined && !existsSync(disk)) throw new StoreError('INVALID', `disk directory ${disk} does not exist: make it (and mount the disk there) first`);
  const directory = disk === undefined ? own : shardOn(disk);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}
