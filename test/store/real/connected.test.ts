// The conformance suite on a store that another process has open, reached by its socket; that process can be killed.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Store } from '../../../src/store/store.ts';
import { BUILT_API, builtApi, shardProcesses } from '../../support/real-store.ts';
import { describeStore } from '../conformance.ts';
import { testRandomOperations } from '../random-operations.ts';

const OPENER = `import { openStore } from ${JSON.stringify(BUILT_API)};
const store = await openStore({ path: process.argv[1] });
process.stdout.write('open');
process.stdin.on('end', () => store.close().then(() => process.exit(0))).resume();`;

/** A store in a directory of its own, the process that has it open, and connections to it. */
class ConnectedStore {
  readonly #directory = mkdtempSync(join(tmpdir(), 'sdfs-connected-'));
  readonly path = join(this.#directory, 'store');
  readonly #env = { ...process.env, SDFS_RUN_DIR: join(this.#directory, 'run') };
  readonly #stores: Store[] = [];
  #opener: ChildProcess | undefined;

  async open(): Promise<void> {
    const opener = spawn(process.execPath, ['--input-type=module', '-e', OPENER, this.path], { env: this.#env, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#opener = opener;
    const gone = once(opener, 'exit').then(([code]) => { throw new Error(`the opener ended with ${code}`); });
    gone.catch(() => {});
    await Promise.race([once(opener.stdout, 'data'), gone]);
  }

  async connect(): Promise<Store> {
    process.env['SDFS_RUN_DIR'] = this.#env.SDFS_RUN_DIR;
    const { connectStore } = await builtApi();
    const store = await connectStore({ path: this.path });
    this.#stores.push(store);
    return store;
  }

  async end(): Promise<void> {
    const opener = this.#opener!;
    if (opener.exitCode !== null || opener.signalCode !== null) return;
    const exit = once(opener, 'exit');
    opener.stdin!.end();
    await exit;
  }

  async kill(): Promise<void> {
    const exit = once(this.#opener!, 'exit');
    for (const pid of shardProcesses(this.path)) process.kill(pid, 'SIGKILL');
    this.#opener!.kill('SIGKILL');
    await exit;
  }

  async remove(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    await this.end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function make(): Promise<{ made: ConnectedStore; store: Store }> {
  const made = new ConnectedStore();
  await made.open();
  return { made, store: await made.connect() };
}

describeStore('that another process has open', async () => {
  const { made, store } = await make();
  return {
    store,
    second: () => made.connect(),
    async reopen() {
      await made.end();
      await made.open();
      return made.connect();
    },
    async crash() {
      await made.kill();
      await made.open();
      return made.connect();
    },
    close: () => made.remove(),
  };
});

testRandomOperations('a store whose opener and shards are killed', async () => {
  const { made, store } = await make();
  return {
    store,
    stepsPerFault: 60,
    faults: {
      'all its processes are killed': async () => {
        await made.kill();
        await made.open();
        return store;
      },
      'its opener closes it, and another opens it': async () => {
        await made.end();
        await made.open();
        return made.connect();
      },
      'one shard is killed': async () => {
        for (const pid of shardProcesses(made.path).slice(0, 1)) process.kill(pid, 'SIGKILL');
        return store;
      },
    },
    close: () => made.remove(),
  };
}, { steps: 600 });
