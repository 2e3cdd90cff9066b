// Whether the driver's database is to be believed: it is never flushed while it is used, so a power cut may spoil it.
//
//   TRUST  in the database's directory, one line:
//            "clean BYTES-CRC"   closed and flushed, with this seal (os/file-seal.ts); no seal: an older sdfs closed it
//            BOOT-ID [MOUNT]     in use since that boot of the machine, on the mount of that number (os/libc.ts mountNumberOf)
//            "damaged BOOT-ID"   its rows were found damaged while it was in use; its journal was not
//            "rebuilding BOOT-ID"  it is being made anew in the place of such a one, whose journal was set aside
//
// "clean" is written when the closed database is on the disk, and replaced, durably, before it is touched again. While
// it is in use, the same boot id means that no power cut came between, and the same mount that the file system was not
// taken away and brought back, as after an error: what the kernel has is what was written.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mountNumberOf } from '../os/libc.ts';
import { sealOf } from '../os/file-seal.ts';
import { replaceFile, syncPath } from '../os/replace-file.ts';

const CLEAN = 'clean';
const DAMAGED = 'damaged';
const REBUILDING = 'rebuilding';

/**
 * clean: closed, flushed, and as it was then. inUse: its last process died on this boot. damaged: likewise, and its rows
 * are not to be believed, but its journal. rebuilding: likewise, and neither is, but the journal that was set aside.
 * spoilt: anything else.
 */
export type TrustState = 'clean' | 'inUse' | 'damaged' | 'rebuilding' | 'spoilt';

export class DatabaseTrust {
  readonly #directory: string;
  readonly #file: string;
  readonly #database: string;
  readonly #bootId: string;
  readonly #mount: string | undefined;

  constructor(directory: string, bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), mount?: string) {
    this.#directory = directory;
    this.#file = join(directory, 'TRUST');
    this.#database = join(directory, 'rows', 'data.mdb');
    this.#bootId = bootId;
    this.#mount = mount ?? mountNumberOf(directory) ?? mountNumberOf(dirname(directory));
  }

  /** Reads all of a database that was closed. */
  async state(): Promise<TrustState> {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8').trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'spoilt';
      throw error;
    }
    if (text === CLEAN) return 'clean';
    const [boot, mount, ...rest] = text.split(' ');
    if (boot === this.#bootId && rest.length === 0) return mount === undefined || this.#mount === undefined || mount === this.#mount ? 'inUse' : 'damaged';
    if (text === `${DAMAGED} ${this.#bootId}`) return 'damaged';
    if (text === `${REBUILDING} ${this.#bootId}`) return 'rebuilding';
    return text === `${CLEAN} ${await sealOf(this.#database)}` ? 'clean' : 'spoilt';
  }

  /** Before the first change: from now on it is to be believed on this boot only. */
  claim(): void {
    this.#write(this.#mount === undefined ? this.#bootId : `${this.#bootId} ${this.#mount}`);
  }

  /** Its rows are not what was written: the next driver makes them anew, and takes what the disks lack from the journal. */
  markDamaged(): void {
    this.#write(`${DAMAGED} ${this.#bootId}`);
  }

  /** It is empty, and gets rows and then what the journal that was set aside has: until `claim` that journal counts. */
  markRebuilding(): void {
    this.#write(`${REBUILDING} ${this.#bootId}`);
  }

  /** Before it is erased or rebuilt: not to be believed until `claim`. */
  withdraw(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    rmSync(this.#file, { force: true });
    syncPath(this.#directory);
  }

  /** After it was closed and flushed. */
  async markClean(): Promise<void> {
    this.#write(`${CLEAN} ${await sealOf(this.#database)}`);
  }

  #write(text: string): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    replaceFile(this.#file, `${text}\n`);
  }
}
