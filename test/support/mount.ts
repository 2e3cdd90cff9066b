// A private volume with a mount of its own, served by other processes, for tests that run real programs on it.
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe } from 'vitest';
import type { DriverKind, StatusReport } from '../../src/control/api.ts';
import { findMount } from '../../src/kernel/mount-table.ts';
import { LoopDisk } from './loop-disk.ts';
import { ThinPool } from './thin-pool.ts';
import { delay, mustRun, processesWith, run, until } from './programs.ts';
import type { RunOptions, RunResult } from './programs.ts';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const CLI = join(PROJECT, 'dist/cli/main.js');

/** An ordinary user and another one; they need no entry in /etc/passwd. */
export const USER = { uid: 12_345, gid: 12_345 };
export const OTHER_USER = { uid: 12_346, gid: 12_346 };

export type Role = 'keeper' | 'driver' | 'worker';

export interface TestMountOptions {
  /** Disk directories, default 3. */
  readonly disks?: number;
  /** Default 2. */
  readonly copies?: number;
  /** Disks are ext4 file systems of their own, of so many bytes. */
  readonly loopBytes?: number;
  /** The image of this disk is in a ThinPool of as many bytes. */
  readonly thin?: { readonly disk: number; readonly poolBytes: number };
  /** As mount -o. */
  readonly mountOptions?: string;
  /** As mount --driver. */
  readonly driver?: DriverKind;
}

export function reasonNotToMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount';
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    return 'there is no /dev/fuse';
  }
  return undefined;
}

/** A describe whose tests share one mount; left out, with the reason in its name, where nothing can be mounted. */
export function describeOnMount(name: string, options: TestMountOptions & { readonly faults?: boolean; readonly missing?: string | undefined }, tests: (mount: () => TestMount) => void): void {
  const reason = reasonNotToMount() ?? options.missing;
  describe.skipIf(reason !== undefined)(reason === undefined ? name : `${name} (${reason})`, () => {
    let mount: TestMount | undefined;
    beforeAll(async () => {
      mount = await TestMount.create(options);
      await mount.mount();
    });
    afterAll(async () => {
      await mount?.destroy({ faults: options.faults ?? false });
    });
    tests(() => {
      if (mount === undefined) throw new Error('there is no mount');
      return mount;
    });
  });
}

export class TestMount {
  /** Private directory that holds all of it; removed in the end. */
  readonly root: string;
  readonly volume: string;
  readonly mountpoint: string;
  readonly disks: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** By worker, with the option loopBytes. */
  readonly loops: LoopDisk[] = [];
  /** With the option thin. */
  pool: ThinPool | undefined;
  readonly #marker: string;
  /** In memory, as in real life; a mount that was killed leaves its journal there. */
  readonly #journals = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sdfs-test-'));
  readonly #options: TestMountOptions;

  private constructor(root: string, options: TestMountOptions) {
    this.root = root;
    this.volume = join(root, 'volume');
    this.mountpoint = join(root, 'mnt');
    this.disks = Array.from({ length: options.disks ?? 3 }, (_, index) => join(root, `disk${index}`));
    this.#options = options;
    // Every process that comes of this mount inherits it, and can be found by it whatever becomes of its parents.
    this.#marker = `SDFS_TEST_MOUNT=${root}`;
    this.env = { ...process.env, SDFS_TEST_MOUNT: root, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: this.#journals };
  }

  /** Makes the directories and, unless `init` is false, the volume. Mounts nothing. */
  static async create(options: TestMountOptions & { readonly init?: boolean } = {}): Promise<TestMount> {
    const root = await mkdtemp(join(tmpdir(), 'sdfs-test-'));
    await chmod(root, 0o755);
    const mount = new TestMount(root, options);
    for (const directory of [mount.mountpoint, ...mount.disks]) mkdirSync(directory);
    if (options.thin !== undefined) mount.pool = await ThinPool.create(join(root, 'pool'), options.thin.poolBytes);
    if (options.loopBytes !== undefined) {
      for (const [index, disk] of mount.disks.entries()) {
        const isThin = options.thin?.disk === index;
        mount.loops.push(await LoopDisk.create(isThin ? join(mount.pool!.directory, 'image') : `${disk}.image`, disk, options.loopBytes, { solidBytes: isThin ? options.loopBytes / 4 : 0 }));
      }
    }
    if (options.init !== false) await mount.mustSdfs('init', ...mount.disks.flatMap((disk) => ['--disk', disk]), '--copies', String(options.copies ?? 2), mount.volume);
    return mount;
  }

  path(...parts: string[]): string {
    return join(this.mountpoint, ...parts);
  }

  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(program, args, { cwd: this.root, env: this.env, ...options });
  }

  /** A shell script that must succeed; resolves with what it wrote. */
  sh(script: string, options: RunOptions = {}): Promise<string> {
    return mustRun('sh', ['-euc', script], { cwd: this.mountpoint, env: this.env, ...options });
  }

  /** A script of test/support/ in a process of its own, that must succeed. */
  script(name: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    return mustRun(process.execPath, [join(PROJECT, 'test/support', name), ...args], { cwd: this.root, env: this.env, ...options });
  }

  sdfs(...args: string[]): Promise<RunResult> {
    return this.run(process.execPath, [CLI, ...args], { timeoutMs: 90_000 });
  }

  mustSdfs(...args: string[]): Promise<string> {
    return mustRun(process.execPath, [CLI, ...args], { cwd: this.root, env: this.env, timeoutMs: 90_000 });
  }

  async mount(): Promise<void> {
    const { mountOptions, driver } = this.#options;
    await this.mustSdfs('mount', '-d', ...(driver === undefined ? [] : ['--driver', driver]), ...(mountOptions === undefined ? [] : ['-o', mountOptions]), this.volume, this.mountpoint);
  }

  async umount(): Promise<void> {
    await this.mustSdfs('umount', this.mountpoint);
  }

  async status(): Promise<StatusReport> {
    return JSON.parse(await this.mustSdfs('status', '--json', this.mountpoint)) as StatusReport;
  }

  async pids(role: Role): Promise<number[]> {
    const { processes } = await this.status();
    return processes.flatMap((entry) => (entry.role === role && entry.pid !== null ? [entry.pid] : []));
  }

  /** All live processes that came of this mount, with the programs that run on it. */
  processes(): number[] {
    return processesWith(this.#marker);
  }

  /** The mount's processes, without programs that run on it: what was started from dist/. */
  serving(): number[] {
    return this.processes().filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').some((argument) => argument.startsWith(join(PROJECT, 'dist')));
      } catch {
        return false;
      }
    });
  }

  /** Kills process number `index` of a role; resolves with its pid. */
  async kill(role: Role, index = 0, signal: NodeJS.Signals = 'SIGKILL'): Promise<number> {
    const pids = await this.pids(role);
    const pid = pids[index % pids.length];
    if (pid === undefined) throw new Error(`there is no ${role}`);
    process.kill(pid, signal);
    return pid;
  }

  /** SIGKILL to all that serve the mount, at once; then detaches what is left of it. */
  async killEverything(): Promise<void> {
    for (const pid of this.serving()) killIfAlive(pid);
    await until('all processes of the mount have ended', () => this.serving().length === 0);
    await this.#detach();
  }

  isMounted(): boolean {
    return findMount(this.mountpoint) !== undefined;
  }

  /** Waits until all processes are ready. Blocks that were written while disks were away may still lack copies. */
  async untilReady(timeoutMs = 30_000): Promise<void> {
    let last = '';
    await until('a mount with all its processes', async () => {
      const status = await this.status().catch((error: unknown) => String(error));
      last = typeof status === 'string' ? status : `${status.health}: ${status.problems.join('; ')}`;
      return typeof status !== 'string' && status.processes.every((entry) => entry.state === 'ready');
    }, timeoutMs).catch((cause: unknown) => {
      throw new Error(`not all processes are ready: ${last}`, { cause });
    });
  }

  /** Lines of the log at level error and above, written after `since` (milliseconds as Date.now). */
  async errorsInLog(since = 0): Promise<string[]> {
    const text = await readFile(join(this.volume, 'log/sdfs.log'), 'utf8').catch(() => '');
    return text.split('\n').filter((line) => /"level":(50|60)/.test(line) && Number(/"time":(\d+)/.exec(line)?.[1]) >= since);
  }

  /**
   * Takes everything away, whatever its state, and rejects when that did not go as it should: the unmount must be
   * clean and the log without errors (unless there were faults on purpose), and no mount and no process may be left.
   */
  async destroy({ faults = false }: { readonly faults?: boolean } = {}): Promise<void> {
    const problems = await this.takeAway();
    if (!faults) problems.push(...(await this.errorsInLog()).slice(0, 10));
    for (const loop of this.loops) await loop.remove().catch((error: unknown) => problems.push(String(error)));
    await this.pool?.remove();
    for (const directory of [this.root, this.#journals]) await rm(directory, { recursive: true, force: true }).catch((error: unknown) => problems.push(String(error)));
    if (problems.length > 0) throw new Error(`the mount did not end well:\n${problems.join('\n')}`);
  }

  /** Ends the mount cleanly if that goes, else by force. Resolves with what did not go as it should. */
  async takeAway(): Promise<string[]> {
    const problems: string[] = [];
    if (this.isMounted()) {
      const ended = await this.sdfs('umount', this.mountpoint).catch((error: unknown) => ({ code: 1, stderr: String(error) }));
      if (ended.code !== 0) problems.push(`umount: exit code ${ended.code}: ${ended.stderr}`);
    }
    if (!this.isMounted() && this.serving().length === 0) return problems;
    if (problems.length === 0) problems.push(`processes ${this.serving().join(', ')} are left after the unmount`);
    await this.#takeAwayByForce(problems);
    return problems;
  }

  async #takeAwayByForce(problems: string[]): Promise<void> {
    const forced = await this.sdfs('umount', '--force', this.mountpoint).catch((error: unknown) => ({ code: 1, stderr: String(error) }));
    if (forced.code !== 0) problems.push(`umount --force: exit code ${forced.code}: ${forced.stderr}`);
    await delay(200);
    if (this.isMounted()) problems.push('the mount was left by umount --force');
    await this.#detach();
    for (const pid of this.processes()) {
      problems.push(`process ${pid} was left by umount --force: ${commandOf(pid)}`);
      killIfAlive(pid);
    }
    await until('the last processes have ended', () => this.processes().length === 0, 5_000).catch((error: unknown) => problems.push(String(error)));
  }

  /** Ends the connection in the kernel, so that nothing can wait on it, and takes the mount off the tree. */
  async #detach(): Promise<void> {
    for (let entry = findMount(this.mountpoint); entry !== undefined; entry = findMount(this.mountpoint)) {
      await writeFile(`/sys/fs/fuse/connections/${entry.minor}/abort`, '1').catch(() => {});
      await run('umount', ['-l', this.mountpoint], { timeoutMs: 10_000 });
    }
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

function commandOf(pid: number): string {
  const file = `/proc/${pid}/cmdline`;
  try {
    return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\0', ' ') : 'gone';
  } catch {
    return 'gone';
  }
}
