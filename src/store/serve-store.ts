// Opens a store and serves it to clients of the Redis protocol on a port.
import { KeyServer } from '../backend/key-server.ts';
import type { ServerPlace } from '../backend/key-server.ts';
import { REDIS_COMMANDS } from '../resp/command-table.ts';
import { assembleStore } from './open-store.ts';
import type { OpenStoreOptions } from './open-store.ts';

export interface ServeOptions {
  readonly place: ServerPlace;
  readonly password?: string | undefined;
  readonly clientsMax?: number | undefined;
}

export interface ServedStore extends AsyncDisposable {
  /** On which it listens. */
  readonly port: number;
}

/** Serves until it is disposed of: then clients get their last answers, and the store is closed. StoreError as openStore, INVALID for a place that cannot be listened on. */
export async function serveStore(store: OpenStoreOptions, { place, password, clientsMax }: ServeOptions): Promise<ServedStore> {
  const opened = await assembleStore(store);
  const { keys, logger } = opened;
  let server: KeyServer;
  try {
    server = await KeyServer.listen(place, { keys, commands: REDIS_COMMANDS, password, clientsMax, syncs: store.sync, logger });
  } catch (error) {
    await opened.store.close();
    throw error;
  }
  const { port } = server;
  logger.info({ place, port, password: password !== undefined }, 'serving clients of the Redis protocol');
  return {
    port,
    [Symbol.asyncDispose]: async () => {
      logger.info('no more clients are served');
      await server.close();
      await opened.store.close();
    },
  };
}
