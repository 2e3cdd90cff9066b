// A disk that can have faults: ext4 in an image file on a loop device.
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { run, sleep } from './processes.mjs';

const FILLER = '.filler';
/** EXT4_IOC_SHUTDOWN without a flush. Not xfs_io(8), which looks at every mount of the machine, and hangs with the first that does. */
const SHUTDOWN = "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
/** How long a worker may hold on to a disk that has failed. */
const RELEASE_MS = 60_000;

export class LoopDisk {
  directory;
  #image;
  #frozen = false;

  /** `directory` is made; the disk directory of sdfs is one below, so that an unmounted disk is an empty place. */
  constructor(image, mountpoint) {
    this.#image = image;
    this.mountpoint = mountpoint;
    this.directory = join(mountpoint, 'sdfs');
    this.name = basename(mountpoint);
  }

  async create(bytes) {
    fs.mkdirSync(this.mountpoint);
    fs.writeFileSync(this.#image, '');
    fs.truncateSync(this.#image, bytes);
    await run('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.#image]);
    await this.#mount();
    fs.mkdirSync(this.directory);
  }

  #mount() {
    return run('mount', ['-o', 'loop', this.#image, this.mountpoint]);
  }

  /** Pulled out: its worker dies, and the place is empty. */
  async vanish(signal, pidsOf) {
    const holders = (await pidsOf('worker')).filter((pid) => this.#isOpenIn(pid));
    await run('umount', ['-l', this.mountpoint]);
    signal(holders, 'SIGKILL');
  }

  #isOpenIn(pid) {
    try {
      return fs.readdirSync(`/proc/${pid}/fd`).some((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${this.mountpoint}/`));
    } catch {
      return false;
    }
  }

  /** Every write is an error from now on, and every read that the page cache does not answer. */
  async fail() {
    await run('python3', ['-c', SHUTDOWN, this.mountpoint]);
  }

  async readOnly() {
    // The emergency way that the kernel takes after an error: open files stay, writes fail.
    await run('bash', ['-c', `echo 1 >/sys/fs/ext4/$(basename "$(findmnt -no SOURCE ${this.mountpoint})")/trigger_fs_error`]).catch(() => this.fail());
    await run('mount', ['-o', 'remount,ro', this.mountpoint]).catch(() => {});
  }

  /** As it was when it went, mounted again: possible only when nobody holds what was there before. */
  async comeBack() {
    await run('umount', ['-l', this.mountpoint]).catch(() => {});
    for (let waitedMs = 0; (await run('losetup', ['-j', this.#image])) !== ''; waitedMs += 500) {
      if (waitedMs > RELEASE_MS) throw new Error(`${this.name}: the failed file system is still in use after ${RELEASE_MS / 1000} s`);
      await sleep(500);
    }
    await run('bash', ['-c', `e2fsck -fy ${this.#image} >/dev/null 2>&1; [ $? -lt 4 ]`]);
    await this.#mount();
  }

  async freeze() {
    await run('fsfreeze', ['-f', this.mountpoint]);
    this.#frozen = true;
  }

  async thaw() {
    await run('fsfreeze', ['-u', this.mountpoint]);
    this.#frozen = false;
  }

  async fill() {
    const { bavail, bsize } = fs.statfsSync(this.mountpoint);
    await run('fallocate', ['-l', String(Math.max(bsize, bavail * bsize)), join(this.mountpoint, FILLER)]).catch(() => {});
    await run('bash', ['-c', `cat /dev/zero >>${join(this.mountpoint, FILLER)} 2>/dev/null || true`]);
  }

  unfill() {
    fs.rmSync(join(this.mountpoint, FILLER), { force: true });
  }

  /** Flips bits, writes zeros and swaps pieces in the files of blocks. */
  rot(chance) {
    const directory = join(this.directory, 'blocks');
    const files = fs.readdirSync(directory, { recursive: true }).map((name) => join(directory, name)).filter((file) => fs.statSync(file).isFile());
    if (files.length === 0) return;
    for (let count = 0; count < 20; count++) {
      const file = files[Math.floor(chance() * files.length)];
      const { size, blocks } = fs.statSync(file);
      if (blocks === 0) continue;
      const fd = fs.openSync(file, 'r+');
      const at = Math.floor(chance() * size);
      const bytes = Buffer.alloc(Math.min(1 + Math.floor(chance() * 8192), size - at));
      fs.readSync(fd, bytes, 0, bytes.length, at);
      if (chance() < 0.7) bytes[0] ^= 1 << Math.floor(chance() * 8);
      else bytes.fill(0);
      fs.writeSync(fd, bytes, 0, bytes.length, at);
      fs.closeSync(fd);
    }
  }

  async remove() {
    if (this.#frozen) await this.thaw();
    await run('umount', ['-l', this.mountpoint]).catch(() => {});
    await run('bash', ['-c', `for device in $(losetup -nO NAME -j ${this.#image}); do losetup -d $device; done`]).catch(() => {});
    fs.rmSync(this.#image, { force: true });
  }
}
