// Writes a backup of the metadata onto every disk from time to time, when something has changed since the last one.
import { createHash } from 'node:crypto';
import { createGzip } from 'node:zlib';
import { Readable, pipeline } from 'node:stream';
import type { WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { DriverDumpStatus, VolumeDescription } from '../ipc/process-messages.ts';
import type { WorkerLink } from '../kv/worker-link.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import type { VfsContext } from '../vfs/context.ts';
import { beginDump } from './dump-queries.ts';

const TICK_MS = 1_000;
/** After a failure. */
const RETRY_MS = 60_000;
/** After each step others get so many times as long. */
const REST_FACTOR = 3;
/** Compressed bytes in one message. */
const PIECE_BYTES = 512 * 1024;
const NAME = /^metadata-(\d+)-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/;

export interface DumpScheduleParts {
  readonly context: VfsContext;
  readonly description: VolumeDescription;
  readonly pool: WorkerPool;
  readonly logger: Logger;
  /** 0: never. */
  readonly intervalMs: number;
}

interface LastDump {
  readonly sequence: number;
  readonly writtenMs: number;
  readonly bytes: number;
  readonly disks: WorkerId[];
}

export class DumpSchedule {
  readonly #parts: DumpScheduleParts;
  #timer: NodeJS.Timeout | undefined;
  #last: LastDump | undefined;
  #problem: string | undefined;
  #notBeforeMs: number;
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: DumpScheduleParts) {
    this.#parts = parts;
    // Volumes that are mounted together do not write together.
    this.#notBeforeMs = performance.now() + parts.intervalMs * 0.1 * Math.random();
  }

  start(): void {
    if (this.#parts.intervalMs === 0) return;
    this.#timer = setInterval(() => this.#tick(), Math.min(TICK_MS, this.#parts.intervalMs));
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#working;
  }

  get status(): DriverDumpStatus {
    return {
      intervalMs: this.#parts.intervalMs,
      last: this.#last === undefined ? null : { sequence: this.#last.sequence, written: new Date(this.#last.writtenMs).toISOString(), bytes: this.#last.bytes, disks: this.#last.disks },
      problem: this.#problem ?? null,
    };
  }

  #tick(): void {
    if (this.#working !== undefined || this.#stopped || performance.now() < this.#notBeforeMs) return;
    this.#working = this.#runIfDue()
      .catch((error: unknown) => {
        if (this.#stopped) return;
        this.#problem = (error as Error).message;
        this.#notBeforeMs = performance.now() + RETRY_MS;
        this.#parts.logger.error({ err: error }, 'no backup of the metadata could be written; trying again');
      })
      .finally(() => { this.#working = undefined; });
  }

  async #runIfDue(): Promise<void> {
    const { context, intervalMs } = this.#parts;
    this.#last ??= await this.#find();
    if (this.#last !== undefined && (context.engine.lastSequence <= this.#last.sequence || Date.now() - this.#last.writtenMs < intervalMs)) return;
    await this.#write();
    this.#problem = undefined;
  }

  /** What the disks have of former mounts: the newest. */
  async #find(): Promise<LastDump | undefined> {
    let found: LastDump | undefined;
    for (const link of this.#ready()) {
      const { dumps } = await link.request('listDumps', {}, { absenceMs: 0 });
      for (const { name, bytes } of dumps) {
        const [, sequence, year, month, day, hour, minute, second] = NAME.exec(name) ?? [];
        if (sequence === undefined) continue;
        const writtenMs = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
        if (found === undefined || Number(sequence) > found.sequence) found = { sequence: Number(sequence), writtenMs, bytes, disks: [link.worker] };
        else if (Number(sequence) === found.sequence) found.disks.push(link.worker);
      }
    }
    return found;
  }

  #ready(): WorkerLink[] {
    return this.#parts.pool.links.filter((link) => link.isReady);
  }

  async #write(): Promise<void> {
    const { context, description, logger } = this.#parts;
    const startMs = performance.now();
    const { view, lines } = await beginDump(context, description);
    const writtenMs = Date.now();
    const name = `metadata-${view.sequence}-${new Date(writtenMs).toISOString().replaceAll(/[-:]|\.\d+/g, '')}.jsonl.gz`;
    const targets = new Set(this.#ready());
    const failures: string[] = [];
    const each = (work: (link: WorkerLink) => Promise<unknown>): Promise<unknown> => Promise.all([...targets].map((link) => work(link).catch((error: unknown) => {
      targets.delete(link);
      failures.push(`disk ${link.worker}: ${(error as Error).message}`);
    })));
    const hash = createHash('sha256');
    let offset = 0;
    try {
      const send = async (bytes: Buffer): Promise<void> => {
        const at = offset;
        offset += bytes.length;
        hash.update(bytes);
        await each((link) => link.request('appendDump', { name, offset: at, bytes: [bytes] }, { absenceMs: 0 }));
        if (targets.size === 0) throw new Error(failures.join('; '));
      };
      let waiting: Buffer[] = [];
      let bytes = 0;
      const compressed = createGzip({ level: 3 });
      // What becomes of the lines is met in the loop: pipeline ends both with it.
      pipeline(Readable.from(this.#throttled(lines)), compressed, () => {});
      for await (const chunk of compressed as AsyncIterable<Buffer>) {
        waiting.push(chunk);
        bytes += chunk.length;
        if (bytes < PIECE_BYTES) continue;
        await send(Buffer.concat(waiting));
        waiting = [];
        bytes = 0;
      }
      await send(Buffer.concat(waiting));
    } finally {
      view.close();
    }
    const sha256 = hash.digest();
    await each((link) => link.request('commitDump', { name, bytes: offset, sha256 }, { absenceMs: 0 }));
    if (targets.size === 0) throw new Error(failures.join('; '));
    if (failures.length > 0) logger.warn({ failures }, 'a backup of the metadata could not be written to every disk');
    this.#last = { sequence: view.sequence, writtenMs, bytes: offset, disks: [...targets].map((link) => link.worker) };
    logger.info({ name, bytes: offset, disks: this.#last.disks, tookMs: Math.round(performance.now() - startMs) }, 'a backup of the metadata was written, and read back');
  }

  /** Some lines at a time, with rests between. */
  async *#throttled(lines: Generator<string>): AsyncGenerator<string> {
    let sinceMs = performance.now();
    for (const text of lines) {
      if (this.#stopped) throw new Error('the driver is ending');
      yield text;
      const tookMs = performance.now() - sinceMs;
      await new Promise((resolve) => setTimeout(resolve, Math.min(tookMs * REST_FACTOR, LIMITS.syncIntervalMs)));
      sinceMs = performance.now();
    }
  }
}
