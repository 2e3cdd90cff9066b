// Key servers over key spaces in memory, and clients of them; all closed at the end of each test.
import { pino } from 'pino';
import { afterEach } from 'vitest';
import type { KeySpace } from '../../src/keys/key-space.ts';
import { REDIS_COMMANDS } from '../../src/resp/command-table.ts';
import { KeyServer } from '../../src/backend/key-server.ts';
import type { KeyServerOptions } from '../../src/backend/key-server.ts';
import { ModelKeySpace } from './model-key-space.ts';
import { RespClient } from './resp-client.ts';

const opened: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

export interface Served<Keys extends KeySpace> {
  readonly keys: Keys;
  readonly server: KeyServer;
  client(): Promise<RespClient>;
}

export async function serve(options: Partial<KeyServerOptions> = {}): Promise<Served<ModelKeySpace>> {
  const keys = new ModelKeySpace();
  return serveKeys(keys, options);
}

export async function serveKeys<Keys extends KeySpace>(keys: Keys, options: Partial<KeyServerOptions> = {}): Promise<Served<Keys>> {
  const server = await KeyServer.listen({ host: '127.0.0.1', port: 0 }, { keys, commands: REDIS_COMMANDS, logger: pino({ level: 'silent' }), ...options });
  opened.push(server);
  return {
    keys, server,
    client: async () => {
      const client = await RespClient.connect({ port: server.port });
      opened.push({ close: () => client.end() });
      return client;
    },
  };
}
