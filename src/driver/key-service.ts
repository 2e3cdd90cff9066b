// The keys of a mounted volume, for other processes of its owner: over a UNIX socket, while this driver serves.
import type { StoreStatistics } from '../backend/backend.ts';
import { EmbeddedBackend } from '../backend/embedded-backend.ts';
import { KeyServer } from '../backend/key-server.ts';
import { privateCommands } from '../backend/private-commands.ts';
import type { Logger } from '../base/log.ts';
import type { DriverStart, VolumeDescription } from '../ipc/process-messages.ts';
import { StoreError } from '../keys/errors.ts';
import { Leases } from '../keys/leases.ts';
import { REDIS_COMMANDS } from '../resp/command-table.ts';
import type { VolumeCore } from './volume-core.ts';

export interface KeyService {
  /** No more calls are taken; those under way are answered, within a bound. */
  close(): Promise<void>;
}

/** Undefined where nobody is served: without a mount, and where nothing may be written. */
export async function serveKeys(core: VolumeCore, { description, edge, keySocket, readOnly }: DriverStart, logger: Logger): Promise<KeyService | undefined> {
  if (keySocket === undefined || readOnly || edge.kind === 'offline') return undefined;
  const { keys } = core;
  let server: KeyServer | undefined;
  const backend: EmbeddedBackend = new EmbeddedBackend({
    keys, leases: new Leases(core.leases), statistics: () => statistics(core, description),
    changeShards: () => Promise.reject(new StoreError('INVALID', 'the shards of a mounted volume are its disks: sdfs disk changes them')),
    close: async () => server?.close(),
  });
  try {
    server = await KeyServer.listen({ path: keySocket }, { keys, commands: [...REDIS_COMMANDS, ...privateCommands(backend)], logger });
  } catch (error) {
    // Files are served all the same.
    logger.error({ err: error, keySocket }, 'the keys of the volume are not served');
  }
  return backend;
}

async function statistics(core: VolumeCore, description: VolumeDescription): Promise<StoreStatistics> {
  const { capacity, degradedBlocks, pendingBytes, disks } = await core.status();
  return {
    keys: core.keys.count, copies: description.copies, ...capacity, degradedBlocks, pendingBytes,
    shards: description.disks.map(({ worker, directory, state }) => {
      const disk = disks.find((each) => each.worker === worker);
      return {
        shard: worker, directory, state: disk?.statistics === undefined ? 'stopped' : state === 'draining' ? 'draining' : 'ready',
        blocks: disk?.statistics?.blockCount ?? 0, totalBytes: disk?.statistics?.totalBytes ?? 0, availableBytes: disk?.statistics?.availableBytes ?? 0,
      };
    }),
  };
}
