// A disk that can have faults: ext4 in an image file on a loop device.
import { existsSync } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { mustRun, run, until } from './programs.ts';

/** EXT4_IOC_SHUTDOWN without a flush. Not xfs_io(8), which looks at every mount of the machine, and hangs with the first that does. */
const SHUTDOWN = "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

export class LoopDisk {
  readonly mountpoint: string;
  readonly #image: string;
  #frozen = false;

  private constructor(image: string, mountpoint: string) {
    this.#image = image;
    this.mountpoint = mountpoint;
  }

  /**
   * A new file system of `bytes`, mounted at `mountpoint`, which is made when missing. `solidBytes`: where the image is in a
   * ThinPool, what the file system needs for itself is taken at once; it lies in so many bytes from the front.
   */
  static async create(image: string, mountpoint: string, bytes: number, { solidBytes = 0 } = {}): Promise<LoopDisk> {
    const file = await open(image, 'w');
    await file.truncate(bytes);
    await file.close();
    await mustRun('mkfs.ext4', ['-q', '-E', `lazy_itable_init=0,lazy_journal_init=0${solidBytes > 0 ? ',packed_meta_blocks=1' : ''}`, image]);
    if (solidBytes > 0) await mustRun('fallocate', ['-l', String(solidBytes), image]);
    await mkdir(mountpoint, { recursive: true });
    const disk = new LoopDisk(image, mountpoint);
    await disk.#mount();
    if (solidBytes > 0) await mustRun('fstrim', [mountpoint]);
    return disk;
  }

  async #mount(): Promise<void> {
    await mustRun('mount', ['-o', 'loop', this.#image, this.mountpoint]);
  }

  /** Every write is an error from now on, and every read that the page cache does not answer. */
  async fail(): Promise<void> {
    await mustRun('python3', ['-c', SHUTDOWN, this.mountpoint]);
  }

  /** The file system turns read-only under those who write, as the kernel does it after an error. */
  async turnReadOnly(): Promise<void> {
    const device = (await mustRun('findmnt', ['-no', 'SOURCE', this.mountpoint])).trim();
    await mustRun('mount', ['-o', 'remount,errors=remount-ro', this.mountpoint]);
    await mustRun('sh', ['-c', `echo 1 >/sys/fs/ext4/${device.replace('/dev/', '')}/trigger_fs_error`]);
  }

  /** Every write hangs until `thaw`. fsfreeze(8). */
  async freeze(): Promise<void> {
    await mustRun('fsfreeze', ['-f', this.mountpoint]);
    this.#frozen = true;
  }

  async thaw(): Promise<void> {
    this.#frozen = false;
    await mustRun('fsfreeze', ['-u', this.mountpoint]);
  }

  /** Its place is empty. Who has files of it open keeps them. */
  async detach(): Promise<void> {
    await mustRun('umount', ['-l', this.mountpoint]);
  }

  /** Repaired and mounted anew; waits until nobody holds what was there before. */
  async comeBack(): Promise<void> {
    await run('umount', ['-l', this.mountpoint]);
    await until(`nobody uses ${this.#image}`, async () => (await mustRun('losetup', ['-j', this.#image])) === '', 30_000);
    await run('e2fsck', ['-fy', this.#image]);
    await this.#mount();
  }

  async remove(): Promise<void> {
    if (this.#frozen) await this.thaw();
    await run('umount', ['-l', this.mountpoint]);
    const devices = (await run('losetup', ['-nO', 'NAME', '-j', this.#image])).stdout.split('\n').filter((name) => name !== '');
    for (const device of devices) await run('losetup', ['-d', device]);
    if (existsSync(this.#image)) await rm(this.#image);
  }
}
