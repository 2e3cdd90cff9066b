// Real worker processes on directories of a temporary place, started again when they die, as the keeper does it.
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DriverEpoch, Uuid, WorkerId } from '../../src/base/ids.ts';
import { initDisk } from '../../src/disk/identity.ts';
import type { KeeperToWorker, VolumeDescription, WorkerToKeeper } from '../../src/ipc/process-messages.ts';
import { workerSocket } from '../../src/kv/worker-client.ts';
import { WorkerPool } from '../../src/kv/worker-pool.ts';
import type { CompiledSources } from './compile.ts';
import { silent } from './memory-pool.ts';
import { TEST_VOLUME, testUuid } from './memory-worker.ts';

const RESTART_MS = 50;

export class ForkedWorkers {
  readonly directory = mkdtempSync(join(tmpdir(), 'sdfs-workers-'));
  readonly #description: VolumeDescription;
  readonly #module: string;
  readonly #children: (ChildProcess | undefined)[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopping = false;

  constructor(sources: CompiledSources, options: { disks: number; copies: number }) {
    this.#module = sources.module('worker/main.js');
    this.#description = {
      version: 1, volume: TEST_VOLUME, name: 'test', copies: options.copies, generation: 0, blockBytes: 1024 * 1024,
      disks: Array.from({ length: options.disks }, (_, number) => ({ worker: number as WorkerId, disk: testUuid(number) as Uuid, directory: join(this.directory, `disk${number}`), weight: 1 })),
    };
    for (const { worker, directory } of this.#description.disks) initDisk(directory, { worker, description: this.#description });
  }

  async start(): Promise<void> {
    await Promise.all(this.#description.disks.map(({ worker }) => this.#fork(worker)));
  }

  pool(epoch = 1): WorkerPool {
    const disks = this.#description.disks.map(({ worker, disk, weight }) => ({ worker, disk, weight, connect: workerSocket(this.#socket(worker)) }));
    const pool = new WorkerPool({ volume: TEST_VOLUME, epoch: epoch as DriverEpoch, disks, logger: silent });
    pool.start();
    return pool;
  }

  kill(worker: number): void {
    this.#children[worker]?.kill('SIGKILL');
  }

  killAll(): void {
    for (const worker of this.#children.keys()) this.kill(worker);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#children.map((child) => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      return gone;
    }));
    rmSync(this.directory, { recursive: true, force: true });
  }

  #socket(worker: number): string {
    return join(this.directory, `${worker}.sock`);
  }

  #fork(worker: WorkerId): Promise<void> {
    const { disk, directory } = this.#description.disks[worker]!;
    const child = fork(this.#module, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...process.env, UV_THREADPOOL_SIZE: '8' }, execArgv: [] });
    this.#children[worker] = child;
    child.once('exit', () => {
      if (this.#stopping) return;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void this.#fork(worker).catch(() => {});
      }, RESTART_MS);
      this.#timers.add(timer);
    });
    const start: KeeperToWorker = { type: 'start', volume: TEST_VOLUME, worker, disk, directory, socket: this.#socket(worker), log: { level: process.env['SDFS_TEST_LOG'] ?? 'silent' } };
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`worker ${worker} ended with ${code ?? signal}`)));
      child.on('message', (message: WorkerToKeeper) => {
        if (message.type === 'ready') resolve();
        else if (message.type === 'unusable') reject(new Error(`worker ${worker} is unusable: ${message.reason}`));
      });
      child.send(start);
    });
  }
}
