// Whether the driver's database is to be believed: it is never flushed while it is used, so a power cut may spoil it.
//
//   TRUST  in the database's directory, one line: "clean", or the boot id of the machine while it is in use
//
// "clean" is written when the closed database is on the disk, and replaced, durably, before it is touched again. While
// it is in use, the same boot id means that no power cut came between: what the kernel has is what was written.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile, syncPath } from '../os/replace-file.ts';

const CLEAN = 'clean';

export class DatabaseTrust {
  readonly #directory: string;
  readonly #file: string;
  readonly #bootId: string;

  constructor(directory: string, bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) {
    this.#directory = directory;
    this.#file = join(directory, 'TRUST');
    this.#bootId = bootId;
  }

  /** clean: closed and flushed. inUse: its last process died on this boot. spoilt: anything else. */
  state(): 'clean' | 'inUse' | 'spoilt' {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8').trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'spoilt';
      throw error;
    }
    return text === CLEAN ? 'clean' : text === this.#bootId ? 'inUse' : 'spoilt';
  }

  /** Before the first change: from now on it is to be believed on this boot only. */
  claim(): void {
    this.#write(this.#bootId);
  }

  /** Before it is erased or rebuilt: not to be believed until `claim`. */
  withdraw(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    rmSync(this.#file, { force: true });
    syncPath(this.#directory);
  }

  /** After it was closed and flushed. */
  markClean(): void {
    this.#write(CLEAN);
  }

  #write(text: string): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    replaceFile(this.#file, `${text}\n`);
  }
}
