// Random operations on a store of the built package, while its shards are killed and stopped and it is opened again.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtApi, shardProcesses } from '../../support/real-store.ts';
import { testRandomOperations } from '../random-operations.ts';

testRandomOperations('a store whose shards are killed', async () => {
  const { openStore } = await builtApi();
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-random-'));
  process.env['SDFS_RUN_DIR'] = join(directory, 'run');
  const path = join(directory, 'store');
  let store = await openStore({ path, shards: 3, copies: 2 });
  const signal = (pids: readonly number[], name: NodeJS.Signals) => pids.forEach((pid) => process.kill(pid, name));
  return {
    store,
    stepsPerFault: 40,
    faults: {
      'one shard is killed': async () => {
        signal(shardProcesses(path).slice(0, 1), 'SIGKILL');
        return store;
      },
      'all shards are killed': async () => {
        signal(shardProcesses(path), 'SIGKILL');
        return store;
      },
      'one shard is stopped for a while': async () => {
        const [pid] = shardProcesses(path).slice(-1);
        signal([pid!], 'SIGSTOP');
        setTimeout(() => signal([pid!], 'SIGCONT'), 500);
        return store;
      },
      'it is closed and opened': async () => {
        await store.close();
        store = await openStore({ path });
        return store;
      },
    },
    async close() {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}, { steps: 600 });
