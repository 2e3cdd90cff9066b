// The conformance suite through the Redis protocol: the server over key spaces in memory, ioredis as its client.
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { REDIS_COMMANDS } from '../../src/resp/command-table.ts';
import { KeyServer } from '../../src/backend/key-server.ts';
import { Store } from '../../src/store/store.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { NOT_IN_REDIS, RedisBackend } from '../support/redis-backend.ts';
import { describeStore } from './conformance.ts';

describeStore('through the Redis protocol', async () => {
  const server = await KeyServer.listen({ host: '127.0.0.1', port: 0 }, { keys: new ModelKeySpace(), commands: REDIS_COMMANDS, logger: pino({ level: 'silent' }) });
  const connect = () => new Store(new RedisBackend(new Redis({ port: server.port, retryStrategy: null })), { sync: false });
  const stores = [connect()];
  return {
    store: stores[0]!,
    async second() {
      stores.push(connect());
      return stores.at(-1)!;
    },
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await server.close();
    },
  };
}, { ...NOT_IN_REDIS, reopen: 'nothing is left of what was in memory', crash: 'it has no processes of its own' });
