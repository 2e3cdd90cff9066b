// A volume in a temporary directory and a keeper on it whose kernel and children are stand-ins.
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import pino from 'pino';
import { initDisk } from '../../src/disk/identity.ts';
import type { DriverStart } from '../../src/ipc/process-messages.ts';
import { createVolume, planVolume } from '../../src/keeper/init.ts';
import { Keeper } from '../../src/keeper/keeper.ts';
import type { KernelEdge, MountedDevice } from '../../src/keeper/kernel-edge.ts';
import { DEFAULT_MOUNT_OPTIONS } from '../../src/kernel/mount-options.ts';

const SUPPORT = resolve(fileURLToPath(import.meta.url), '../../support');
export const MODULES = { driver: join(SUPPORT, 'stand-in-driver.mjs'), worker: join(SUPPORT, 'stand-in-worker.mjs'), unmount: join(SUPPORT, 'never-started.mjs') };
export const quiet = pino({ level: 'silent' });

/** Mounts nothing: an unmount is a file that the stand-in driver looks for. */
export class StandInKernel implements KernelEdge {
  busy = false;
  readonly calls: string[] = [];

  mount(mountpoint: string): MountedDevice {
    this.calls.push('mount');
    rmSync(`${mountpoint}.gone`, { force: true });
    return { fd: openSync('/dev/null', 'r'), connection: 1 };
  }
  async unmount(mountpoint: string, mode: 'wait' | 'detach'): Promise<'done' | 'busy' | 'notMounted'> {
    this.calls.push(`unmount ${mode}`);
    if (mode === 'wait' && this.busy) return 'busy';
    // A busy mount that is detached lives on with its users.
    if (!this.busy) writeFileSync(`${mountpoint}.gone`, '');
    return 'done';
  }
  isMounted(mountpoint: string): boolean {
    return this.calls.includes('mount') && !this.calls.includes('unmount detach') && !existsSync(`${mountpoint}.gone`);
  }
  abort(): void {
    this.calls.push('abort');
  }
  setReadAhead(_connection: number, kib: number): boolean {
    this.calls.push(`read-ahead ${kib}`);
    return true;
  }
}

export class KeeperFixture {
  readonly root = mkdtempSync(join(tmpdir(), 'sdfs-keeper-'));
  readonly volumeDirectory = join(this.root, 'volume');
  readonly mountpoint = join(this.root, 'mnt');
  readonly kernel = new StandInKernel();
  readonly keepers: Keeper[] = [];

  async createVolume(options: { name?: string; disks?: readonly string[] } = {}): Promise<void> {
    process.env.SDFS_RUN_DIR = join(this.root, 'run');
    mkdirSync(this.mountpoint);
    const disks = (options.disks ?? ['a', 'b']).map((name) => join(this.root, name));
    for (const disk of disks) mkdirSync(disk);
    await createVolume(planVolume({ volumeDirectory: this.volumeDirectory, disks, name: options.name }), initDisk);
  }

  keeper(): Keeper {
    const keeper = new Keeper(
      { log: quiet, kernel: this.kernel, modules: MODULES },
      { volumeDirectory: this.volumeDirectory, mountpoint: this.mountpoint, mount: DEFAULT_MOUNT_OPTIONS, log: { level: 'silent' } },
    );
    this.keepers.push(keeper);
    return keeper;
  }

  /** What each driver so far was started with. */
  driverStarts(): DriverStart[] {
    const file = `${this.mountpoint}.starts`;
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as DriverStart) : [];
  }

  async dispose(): Promise<void> {
    for (const keeper of this.keepers) await keeper.unmount('force').then(() => keeper.finished, () => {});
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Polls until `condition` holds; vitest's own time limit ends a test where it never does. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolvePromise) => setTimeout(resolvePromise, 10));
}

