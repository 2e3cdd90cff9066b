// The conformance suite through `sdfs kv serve` on a store with shards of its own, by ioredis.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll } from 'vitest';
import { Store } from '../../../src/store/store.ts';
import { BuiltCommand } from '../../cli/command.ts';
import { endServing, serveStore } from '../../support/kv-serve.ts';
import type { Serving } from '../../support/kv-serve.ts';
import { NOT_IN_REDIS, RedisBackend } from '../../support/redis-backend.ts';
import { describeStore } from '../conformance.ts';

let built: BuiltCommand;

beforeAll(() => {
  built = new BuiltCommand('kv-redis');
}, 120_000);

class ServedStore {
  readonly #root = mkdtempSync(join(tmpdir(), 'sdfs-redis-'));
  readonly #store = join(this.#root, 'store');
  readonly #runDirectory = join(this.#root, 'run');
  readonly #clients: Store[] = [];
  #serving!: Serving;

  async make(): Promise<void> {
    const { code, stderr } = await built.run(this.#runDirectory, ['kv', 'init', this.#store, '--shards', '3']);
    if (code !== 0) throw new Error(stderr);
    this.#serving = await serveStore(built.main, { store: this.#store, runDirectory: this.#runDirectory });
  }

  connect(): Store {
    const redis = new Redis({ port: this.#serving.port, retryStrategy: null });
    const client = new Store(new RedisBackend(redis), { sync: false });
    this.#clients.push(client);
    return client;
  }

  async remove(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close().catch(() => {})));
    await endServing(this.#serving);
    rmSync(this.#root, { recursive: true, force: true });
  }
}

describeStore('served to clients of Redis', async () => {
  const served = new ServedStore();
  await served.make();
  return {
    store: served.connect(),
    second: async () => served.connect(),
    close: () => served.remove(),
  };
}, { ...NOT_IN_REDIS, reopen: 'its test is one of versions: serve.test.ts has another', crash: 'its test is one of batches: serve.test.ts has another' });
