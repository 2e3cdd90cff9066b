// openStore: makes a store where there is none, and opens it in this process.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { assertLimits } from '../base/limits.ts';
import { createLogger } from '../base/log.ts';
import type { Logger } from '../base/log.ts';
import { initDisk, readIdentity } from '../disk/identity.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { createVolume, planVolume } from '../keeper/init.ts';
import { VOLUME_FILE, readVolume, volumePaths, writeVolume } from '../keeper/volume.ts';
import { StoreError } from '../keys/errors.ts';
import type { KeySpace } from '../keys/key-space.ts';
import { Leases } from '../keys/leases.ts';
import { REDIS_COMMANDS } from '../resp/command-table.ts';
import type { StoreErrorCode } from '../keys/errors.ts';
import { Coordinator } from './coordinator.ts';
import { EmbeddedBackend } from '../backend/embedded-backend.ts';
import { KeyServer } from '../backend/key-server.ts';
import { privateCommands } from '../backend/private-commands.ts';
import { shardDirectory, shardOn } from './shard-directory.ts';
import { Store } from './store.ts';

export interface OpenStoreOptions {
  /** Directory of the store; made when missing. Without `disks` the shards are directories in it. */
  readonly path?: string | undefined;
  /**
   * One shard on each of these existing directories, which should lie on different disks. Without `path` the store
   * itself is found and kept on the first of them.
   */
  readonly disks?: readonly string[] | undefined;
  /** How many shards a new store without `disks` gets. Default: 4. */
  readonly shards?: number | undefined;
  /** On how many shards everything is kept. Default of a new store: 2, or 1 where there is one shard. */
  readonly copies?: number | undefined;
  /** True: every write is power-proof before it is acknowledged. False, the default: process-proof at once, power-proof within a second. */
  readonly sync?: boolean | undefined;
  /** False: a store that is not there is an error. Default: true. */
  readonly create?: boolean | undefined;
  /** Your word that shards that are missing are gone for good. What only they had is lost. */
  readonly forceDegraded?: boolean | undefined;
  /** Memory of this process for small values, so that they are not read from the shards each time. Default: a sixteenth of what it may use, at most 1 GiB. */
  readonly cacheBytes?: number | undefined;
  /** pino level of the store's log, PATH/log/sdfs.log. Default: info. */
  readonly logLevel?: string | undefined;
}

const SHARDS_DEFAULT = 4;
const SHARDS_MAX = 64;
/** On the first of `disks`. */
const STORE_DIRECTORY = 'sdfs-store';

/**
 * Opens a store for this process, which coordinates it until `close`: other processes reach it by `connectStore`.
 * StoreError BUSY when another process has it open, FOREIGN for what is no store or a newer one, INVALID for options
 * that do not fit it, FULL, UNAVAILABLE when too many shards are missing.
 *
 * @example
 * await using store = await openStore({ path: `${directory}/cache`, shards: 3, copies: 2 });
 * await store.set('key', 'value');
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  return (await assembleStore(options)).store;
}

export interface OpenedStore {
  readonly store: Store;
  readonly keys: KeySpace;
  readonly logger: Logger;
}

/** As openStore, for who serves it to others besides. */
export async function assembleStore(options: OpenStoreOptions): Promise<OpenedStore> {
  assertLimits();
  try {
    const volumeDirectory = await place(options);
    const log = { level: options.logLevel ?? 'info', file: volumePaths(volumeDirectory).log };
    const logger = createLogger({ role: 'store', ...log });
    const coordinator = await Coordinator.open({ volumeDirectory, forceDegraded: options.forceDegraded === true, cacheBytes: options.cacheBytes, logger, log });
    const { keys } = coordinator;
    let server: KeyServer | undefined;
    const backend: EmbeddedBackend = new EmbeddedBackend({
      keys, leases: new Leases(coordinator.leases), statistics: () => coordinator.statistics(),
      changeShards: (change) => coordinator.changeShards(change).catch((error: unknown) => { throw asOpenError(error); }), close: async () => {
        await server?.close();
        await coordinator.close();
      },
    });
    const syncs = options.sync === true;
    try {
      server = await KeyServer.listen({ path: coordinator.runtime.keySocket }, { keys, commands: [...REDIS_COMMANDS, ...privateCommands(backend)], syncs, logger });
    } catch (error) {
      await coordinator.close();
      throw error;
    }
    return { store: new Store(backend, { sync: syncs }), keys, logger };
  } catch (error) {
    throw asOpenError(error);
  }
}

/** The directory of the store, which is there when this resolves. */
async function place(options: OpenStoreOptions): Promise<string> {
  const { path, disks, shards, copies, create = true } = options;
  if (options.cacheBytes !== undefined && !(options.cacheBytes >= 0)) throw invalid(`cacheBytes ${options.cacheBytes}: wants a number of bytes`);
  if (path === undefined && (disks === undefined || disks.length === 0)) throw invalid('openStore wants a path, or disks');
  if (disks !== undefined && shards !== undefined && shards !== disks.length) throw invalid(`${shards} shards on ${disks.length} disks: give one of the two`);
  if (shards !== undefined && !(Number.isInteger(shards) && shards >= 1 && shards <= SHARDS_MAX)) throw invalid(`shards ${shards}: wants a whole number from 1 to ${SHARDS_MAX}`);
  const places = path !== undefined ? [resolve(path)] : disks!.map((disk) => join(resolve(disk), STORE_DIRECTORY));
  const found = places.find((directory) => existsSync(join(directory, VOLUME_FILE)));
  if (found !== undefined) {
    checkFits(readVolume(found), options);
    return found;
  }
  const restored = disks === undefined ? undefined : describedBy(disks);
  const directory = places.find((_, index) => path !== undefined || existsSync(resolve(disks![index]!))) ?? places[0]!;
  if (restored !== undefined) {
    checkFits(restored, options);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeVolume(directory, restored);
    return directory;
  }
  if (!create) throw new StoreError('FOREIGN', `there is no store at ${directory}`);
  await make(directory, { disks, shards: shards ?? SHARDS_DEFAULT, copies });
  return directory;
}

async function make(directory: string, { disks, shards, copies }: { disks: readonly string[] | undefined; shards: number; copies: number | undefined }): Promise<void> {
  const made: string[] = [];
  try {
    const directories = (disks ?? []).map((disk) => {
      const isNew = !existsSync(shardOn(disk));
      const shard = isNew ? shardDirectory(disk, '') : shardOn(disk);
      if (isNew) made.push(shard);
      return shard;
    });
    await createVolume(planVolume({ volumeDirectory: directory, disks: directories, embeddedDisks: shards, copies, name: 'store' }), initDisk);
  } catch (error) {
    for (const shard of made) rmSync(shard, { recursive: true, force: true });
    throw error;
  }
}

/** What the shards say of their store, when its own directory is lost; the newest counts. */
function describedBy(disks: readonly string[]): VolumeDescription | undefined {
  let newest: VolumeDescription | undefined;
  for (const disk of disks) {
    const shard = shardOn(disk);
    if (!existsSync(shard)) continue;
    const { description } = readIdentity(shard);
    if (newest === undefined || description.generation > newest.generation) newest = description;
  }
  return newest;
}

function checkFits(description: VolumeDescription, { disks, shards, copies }: OpenStoreOptions): void {
  if (copies !== undefined && copies !== description.copies) throw invalid(`the store keeps ${description.copies} copies, not ${copies}`);
  if (shards !== undefined && shards !== description.disks.length) throw invalid(`the store has ${description.disks.length} shards, not ${shards}: they are added and drained while it is open`);
  const strange = disks?.find((disk) => !description.disks.some(({ directory }) => directory === shardOn(disk)));
  if (strange !== undefined) throw invalid(`no shard of the store is at ${strange}; it has them at ${description.disks.map(({ directory }) => directory).join(', ')}`);
}

const CODES: Readonly<Partial<Record<number, StoreErrorCode>>> = {
  [EXIT.usage]: 'INVALID', [EXIT.notFound]: 'FOREIGN', [EXIT.busy]: 'BUSY', [EXIT.denied]: 'DENIED', [EXIT.foreign]: 'FOREIGN', [EXIT.space]: 'FULL',
  [EXIT.unsupported]: 'FOREIGN', [EXIT.damaged]: 'UNAVAILABLE', [EXIT.incomplete]: 'UNAVAILABLE',
};

export function asOpenError(error: unknown): Error {
  if (!(error instanceof UserError)) return error as Error;
  return new StoreError(CODES[error.exitCode] ?? 'UNAVAILABLE', error.message, { cause: error });
}

function invalid(message: string): StoreError {
  return new StoreError('INVALID', message);
}
