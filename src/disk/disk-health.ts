// Decides when a disk has failed. One bad sector is not a failed disk: after a write that failed, or several reads that
// did, a probe decides, which writes a page in the disk's directory and syncs it. A directory that is no longer the one
// that was opened (unmounted, renamed, deleted) is found by looking at it now and then.
//
// A full disk has not failed. What hangs is not judged here: nobody can tell a slow disk from a dead one.
//
//   DISK/probe   one page, written anew by each probe
import fs from 'node:fs';
import { join } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { isUnsynced } from '../log/unsynced-error.ts';
import { SystemCallError } from '../os/libc.ts';

export const PROBE_FILE = 'probe';
const PAGE_BYTES = 4096;
/** Failures that say something of this process or of the space, and nothing of the disk. */
const HARMLESS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR']);
const GONE = 'its directory is no longer there, or another one is in its place: is it unmounted?';

export interface DiskHealthOptions {
  readonly directory: string;
  readonly log: Logger;
  /** Called once, with a sentence for a person. */
  readonly onFailed: (reason: string) => void;
}

export class DiskHealth {
  readonly #options: DiskHealthOptions;
  /** The directory as it was opened. */
  readonly #device: number;
  readonly #inode: number;
  /** Times of failures that the probe did not confirm, by kind. */
  #failures: { readonly write: number[]; readonly read: number[] } = { write: [], read: [] };
  #probing = false;
  #timer: NodeJS.Timeout | undefined;
  #state: 'watching' | 'failed' | 'closed' = 'watching';

  /** Errors of `fs` when the directory cannot be looked at. */
  constructor(options: DiskHealthOptions) {
    this.#options = options;
    const { dev, ino } = fs.statSync(options.directory);
    this.#device = dev;
    this.#inode = ino;
    this.#lookLater();
  }

  close(): void {
    if (this.#state === 'watching') this.#state = 'closed';
    clearTimeout(this.#timer);
  }

  /** Something on the disk could not be read or written. Errors without an errno, such as checksums, say nothing of the disk. */
  failed(kind: 'read' | 'write', error: unknown): void {
    const code = diskErrno(error);
    if (code === undefined || HARMLESS.has(code) || this.#state !== 'watching') return;
    const now = performance.now();
    const recent = [...this.#failures[kind].filter((time) => now - time < LIMITS.diskFailuresMs), now].slice(-LIMITS.diskFailuresMax);
    this.#failures = { ...this.#failures, [kind]: recent };
    // A log or segment that failed once is not used again, so that writes would fail for ever where a new process may do.
    if (kind === 'write' && recent.length >= LIMITS.diskFailuresMax) return this.#end(`writing fails again and again (${explain(code)})`);
    if (isUnsynced(error)) return void this.#probe(code, { end: 'what was written could not be synced; the next process writes it anew' });
    if (kind === 'read' && recent.length < LIMITS.diskFailuresMax) return;
    void this.#probe(code);
  }

  /** `end`: why this process has to end though the probe goes well. */
  async #probe(code: string, { end }: { readonly end?: string } = {}): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    try {
      await probeDisk(this.#options.directory);
      if (end !== undefined) return this.#end(end);
      this.#options.log.warn({ code }, 'the disk reported an error, and a probe of it went well');
    } catch (error) {
      const found = diskErrno(error) ?? code;
      if (!HARMLESS.has(found)) this.#end(explain(found));
    } finally {
      this.#probing = false;
    }
  }

  #lookLater(): void {
    this.#timer = setTimeout(() => void this.#look(), LIMITS.diskLookMs);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    try {
      const { dev, ino } = await fs.promises.stat(this.#options.directory);
      if (dev !== this.#device || ino !== this.#inode) this.#end(GONE);
    } catch (error) {
      const code = diskErrno(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') this.#end(GONE);
      else this.failed('read', error);
    }
    if (this.#state === 'watching') this.#lookLater();
  }

  #end(why: string): void {
    if (this.#state !== 'watching') return;
    this.#state = 'failed';
    this.#options.onFailed(diskFailed(this.#options.directory, why));
  }
}

/** A sentence for a person: which disk, why, what to do. */
export function diskFailed(directory: string, why: string): string {
  return `the disk ${directory} has failed: ${why}. Repair or replace it, and mount it there again; it is tried again by itself`;
}

/** The same for an error that came of opening it; undefined when it says nothing of the disk. */
export function openFailure(directory: string, error: unknown): string | undefined {
  const code = diskErrno(error);
  return code === undefined || HARMLESS.has(code) ? undefined : diskFailed(directory, explain(code));
}

/** Writes and syncs a page; rejects with the errors of `fs`. On pool threads: a disk that hangs holds up nobody else. */
async function probeDisk(directory: string): Promise<void> {
  const file = await fs.promises.open(join(directory, PROBE_FILE), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  try {
    await file.write(Buffer.alloc(PAGE_BYTES, `${Date.now()}\n`), 0, PAGE_BYTES, 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Name of the errno at the bottom of an error; undefined where there is none. */
export function diskErrno(error: unknown): string | undefined {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof SystemCallError) return nameOf(each.errno);
    if (!('code' in each)) continue;
    // LMDB gives the number.
    if (typeof each.code === 'number' && each.code > 0) return nameOf(each.code);
    if (typeof each.code === 'string' && /^E[A-Z0-9]+$/.test(each.code)) return each.code;
  }
  return undefined;
}

function nameOf(number: number): string {
  return getSystemErrorMap().get(-number)?.[0] ?? `errno ${number}`;
}

function explain(code: string): string {
  for (const [name, message] of getSystemErrorMap().values()) if (name === code) return `${message} (${code})`;
  return code;
}
