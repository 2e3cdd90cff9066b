// The one process of a store that numbers its writes: it holds the volume lock, forks the shards, and has the volume open.
//
//   opening ─► open ─change of shards, defect─► reopening ─► open …
//               │ close()                          │ cannot
//               ▼                                  ▼
//             closed ◄──────────────────────────  failed
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DriverEpoch } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { KnownMembership } from '../base/membership.ts';
import { RuntimeDirectory } from '../control/running-mounts.ts';
import { newestEpoch } from '../disk/disk-state.ts';
import { VolumeCore } from '../driver/volume-core.ts';
import type { DriverStart, ProcessLogOptions, VolumeDescription } from '../ipc/process-messages.ts';
import { CHILD_MODULES } from '../keeper/children.ts';
import { Crew } from '../keeper/crew.ts';
import { newestDescription, nextWorker } from '../keeper/description.ts';
import { DiskChanges } from '../keeper/disk-changes.ts';
import { startWorkers } from '../keeper/survey.ts';
import { VolumeHold } from '../keeper/volume-hold.ts';
import { readVolume, volumePaths } from '../keeper/volume.ts';
import { StoreError } from '../keys/errors.ts';
import type { ShardChange, StoreStatistics } from '../backend/backend.ts';
import { ownShard, shardDirectory } from './shard-directory.ts';
import { CurrentKeySpace } from './current-key-space.ts';

export interface CoordinatorOptions {
  /** Absolute. */
  readonly volumeDirectory: string;
  readonly forceDegraded: boolean;
  /** Memory for small values. Default: a share of it. */
  readonly cacheBytes?: number | undefined;
  readonly logger: Logger;
  readonly log: ProcessLogOptions;
}

/** Times in a row that a volume is opened again after a defect. */
const REOPENS_MAX = 3;

type State =
  | { readonly kind: 'opening' }
  | { readonly kind: 'open'; readonly core: VolumeCore }
  | { readonly kind: 'reopening'; readonly done: Promise<void> }
  | { readonly kind: 'failed'; readonly cause: Error }
  | { readonly kind: 'closed' };

export class Coordinator {
  readonly runtime: RuntimeDirectory;
  readonly keys: CurrentKeySpace;
  readonly leases: CurrentKeySpace;
  readonly #options: CoordinatorOptions;
  readonly #crew: Crew;
  #state: State = { kind: 'opening' };
  #hold: VolumeHold | undefined;
  #firstEpoch: DriverEpoch | undefined;
  #membership: KnownMembership | undefined;
  #reopens = 0;
  #changing = false;

  private constructor(options: CoordinatorOptions) {
    this.#options = options;
    const description = newestDescription(readVolume(options.volumeDirectory));
    this.runtime = new RuntimeDirectory(description.volume);
    this.keys = new CurrentKeySpace(() => this.core.keys, () => this.pause);
    this.leases = new CurrentKeySpace(() => this.core.leases, () => this.pause);
    const unused = (): never => { throw new Error('a store has no driver process'); };
    this.#crew = new Crew({
      log: options.logger, modules: CHILD_MODULES, description, runtime: this.runtime, mountpoint: '(a key-value store)', childLog: options.log,
      fuseFd: () => undefined, driverStart: unused, onSession: unused, onMounted: unused, onMembership: unused, onDriverEnded: unused,
      onDriverDeath: () => 'leave', onChange: () => {},
    });
  }

  /** UserError: busy when the volume is in use, incomplete when too many shards are missing, and what a mount would say. */
  static async open(options: CoordinatorOptions): Promise<Coordinator> {
    mkdirSync(dirname(volumePaths(options.volumeDirectory).log), { recursive: true, mode: 0o700 });
    const coordinator = new Coordinator(options);
    try {
      await coordinator.#bringUp();
    } catch (error) {
      await coordinator.#letGo(() => coordinator.#crew.killAll());
      throw error;
    }
    return coordinator;
  }

  get description(): VolumeDescription {
    return this.#crew.description;
  }

  /** StoreError while the volume is not open. */
  get core(): VolumeCore {
    const state = this.#state;
    switch (state.kind) {
      case 'open': return state.core;
      case 'opening':
      case 'reopening': throw new StoreError('UNAVAILABLE', 'the store is being opened anew: try again in a moment');
      case 'failed': throw new StoreError('UNAVAILABLE', `the store cannot go on: ${state.cause.message}; close it, see to its disks, and open it again`, { cause: state.cause });
      case 'closed': throw new StoreError('CLOSED', 'the store is closed');
    }
  }

  /** While the volume is opened anew, as for a change of its shards: nobody can ask it anything until then. */
  get pause(): Promise<void> | undefined {
    return this.#state.kind === 'reopening' ? this.#state.done : undefined;
  }

  async statistics(): Promise<StoreStatistics> {
    const { core, description } = this;
    const { capacity, degradedBlocks, pendingBytes, disks } = await core.status();
    return {
      keys: core.keys.count, copies: description.copies, ...capacity, degradedBlocks, pendingBytes,
      shards: description.disks.map(({ worker, directory, state }) => {
        const statistics = disks.find((disk) => disk.worker === worker)?.statistics;
        const process = this.#crew.workers.get(worker)?.shown.kind ?? 'stopped';
        return {
          shard: worker, directory, state: process === 'ready' && state === 'draining' ? 'draining' : process,
          blocks: statistics?.blockCount ?? 0, totalBytes: statistics?.totalBytes ?? 0, availableBytes: statistics?.availableBytes ?? 0,
        };
      }),
    };
  }

  /** Reads and writes wait a moment; what has to move moves in the background. UserError where that cannot be. */
  async changeShards(change: ShardChange): Promise<number> {
    if (this.#changing) throw new StoreError('BUSY', 'the shards are being changed: try again when that is done');
    this.#changing = true;
    try {
      return await this.#carryOut(change);
    } finally {
      this.#changing = false;
    }
  }

  async #carryOut(change: ShardChange): Promise<number> {
    const crew = this.#crew;
    const { volumeDirectory, logger } = this.#options;
    const handOver = (): Promise<void> => this.#reopen('a change of shards');
    const changes = new DiskChanges({
      get description() { return crew.description; },
      set description(description) { crew.description = description; },
      addWorker: (disk) => crew.addWorker(disk),
      removeWorker: (worker) => crew.removeWorker(worker),
      handOver,
      link: { status: async () => this.core.status() },
    }, { volumeDirectory, log: logger });
    if (change.action === 'add') {
      const directory = shardDirectory(change.disk, ownShard(volumePaths(volumeDirectory).disks, nextWorker(crew.description)));
      return (await changes.carryOut({ action: 'add', directory })).disk;
    }
    if (change.action === 'remove') return (await changes.carryOut({ action: 'remove', disk: change.shard, force: change.force })).disk;
    return (await changes.carryOut({ action: change.action, disk: change.shard })).disk;
  }

  /** All that was acknowledged on the disks, the shards ended, the volume free for others. */
  async close(): Promise<void> {
    await this.pause;
    const state = this.#state;
    if (state.kind === 'closed') return;
    this.#state = { kind: 'closed' };
    let clean = false;
    await this.#letGo(async () => {
      if (state.kind === 'open') {
        await state.core.stopUpkeep();
        await state.core.close();
        clean = await this.#crew.stopWorkers();
      } else await this.#crew.killAll();
      if (clean) this.#hold?.state.markClean();
    });
    if (!clean) throw new StoreError('UNAVAILABLE', `the store was not closed cleanly: what was acknowledged is recovered when it is opened again; its log says why: ${this.#options.log.file ?? 'stderr'}`);
  }

  async #bringUp(): Promise<void> {
    const { volumeDirectory, logger, forceDegraded } = this.#options;
    this.#hold = await VolumeHold.acquire(this.description, this.runtime, { volumeDirectory, mountpoint: '(as a key-value store)', log: logger });
    await startWorkers(this.#crew, this.description, { forced: forceDegraded, log: logger });
    this.#hold.state.startBehind(newestEpoch(this.description.disks.map(({ directory }) => directory)));
    await this.#openCore();
  }

  async #openCore(): Promise<void> {
    const { logger } = this.#options;
    const opened: { core?: VolumeCore } = {};
    const core = await VolumeCore.open(this.#start(), {
      logger, keyCacheBytes: this.#options.cacheBytes,
      tell: ({ membership }) => { this.#membership = membership; },
      onHung: (worker) => this.#crew.workers.get(worker)?.replace('it does not answer'),
      onRefused: (_worker, { cause }) => this.#defect(opened.core, cause),
      onDefect: (error) => this.#defect(opened.core, error),
    });
    opened.core = core;
    this.#state = { kind: 'open', core };
    core.startUpkeep();
  }

  /** What it had acknowledged is in the journal: the volume is opened anew, as another process would after a crash. */
  #defect(core: VolumeCore | undefined, error: Error): void {
    const { logger } = this.#options;
    logger.fatal({ err: error }, 'a defect in the store');
    if (this.#state.kind !== 'open' || this.#state.core !== core) return;
    if (++this.#reopens > REOPENS_MAX) {
      this.#state = { kind: 'failed', cause: error };
      return;
    }
    this.#reopen('a defect').then(
      () => setTimeout(() => { this.#reopens = 0; }, LIMITS.workerAbsenceMs).unref(),
      (cause: unknown) => logger.error({ err: cause }, 'the store cannot be opened anew'),
    );
  }

  #reopen(reason: string): Promise<void> {
    const { core } = this;
    const { logger } = this.#options;
    const reopen = async (): Promise<void> => {
      logger.info({ reason }, 'opening the store anew');
      await core.leave();
      try {
        await this.#openCore();
      } catch (cause) {
        this.#state = { kind: 'failed', cause: cause as Error };
        throw cause;
      }
    };
    const done = reopen();
    // Who waits is told by the next question what became of it.
    this.#state = { kind: 'reopening', done: done.catch(() => {}) };
    return done;
  }

  async #letGo(endChildren: () => Promise<void>): Promise<void> {
    try {
      await endChildren();
    } finally {
      await this.#hold?.release();
      this.#hold = undefined;
    }
  }

  #start(): DriverStart {
    const { volumeDirectory, log, forceDegraded } = this.#options;
    const epoch = this.#hold!.state.nextEpoch();
    this.#firstEpoch ??= epoch;
    return {
      type: 'start', description: this.description, stateDirectory: volumePaths(volumeDirectory).driver, epoch, mountEpoch: this.#firstEpoch,
      sockets: Object.fromEntries(this.description.disks.map(({ worker }) => [worker, this.runtime.workerSocket(worker)])),
      edge: { kind: 'offline' }, mountpoint: '', readOnly: false, accessTime: 'noatime', directoryAccessTime: false, posixAcl: false, locks: 'kernel', dumpIntervalMs: LIMITS.dumpIntervalMs,
      away: this.#crew.away, forceDegraded, membership: this.#membership, log,
    };
  }
}
