// A disk's copy of the metadata: the checkpoint, and the log of what came after it.
//
// A record is acknowledged when it is synced in the log. The checkpoint follows at leisure, behind the trim point that
// the driver gives, and the log drops what the checkpoint has durably taken over.
import fs from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { LogState, Row } from '../ipc/messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { RowsDigest } from '../ipc/rows-digest.ts';
import { ERRNO } from '../os/libc.ts';
import { LogFile } from '../log/log-file.ts';
import { decodeRecord } from '../log/record.ts';
import { Checkpoint } from './checkpoint.ts';
import type { LogPosition } from './checkpoint.ts';
import { CheckpointFeeder } from './checkpoint-feeder.ts';
import { diskError } from './disk-error.ts';

export interface MetadataCopyOptions {
  /** The disk; log/ and checkpoint/ are below it. */
  readonly directory: string;
  readonly log: Logger;
  readonly logSegmentBytes?: number | undefined;
  readonly logSparesMax?: number | undefined;
  /** Nothing that the last process left is in memory only; else the log is written anew. */
  readonly allOnDisk?: boolean | undefined;
  /** Called when the checkpoint cannot be brought forward. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
  /** Asked whether the checkpoint below a directory is whole, where the last process may have died of it; default: it is. */
  readonly checkpointIsWhole?: ((directory: string) => Promise<boolean>) | undefined;
}

export class MetadataCopy {
  readonly #log: LogFile;
  readonly #checkpoint: Checkpoint;
  readonly #feeder: CheckpointFeeder;
  /** While a new checkpoint takes the place of the old one, everything else waits. */
  #replacing: Promise<void> | undefined;

  private constructor(log: LogFile, checkpoint: Checkpoint, options: MetadataCopyOptions) {
    this.#log = log;
    this.#checkpoint = checkpoint;
    this.#feeder = new CheckpointFeeder(log, checkpoint, options.log, options.onFailure);
  }

  static async open(options: MetadataCopyOptions): Promise<MetadataCopy> {
    const checkpointDirectory = join(options.directory, 'checkpoint');
    const opened = await openCheckpoint(checkpointDirectory, options);
    let { checkpoint } = opened;
    const log = LogFile.open(join(options.directory, 'log'), { segmentBytes: options.logSegmentBytes ?? LIMITS.logSegmentBytes, sparesMax: options.logSparesMax, rewrite: options.allOnDisk !== true });
    if (opened.isNew) await log.reset(0 as Sequence);
    if (checkpoint.resetLog !== undefined) {
      await log.reset(checkpoint.resetLog.sequence, checkpoint.resetLog.epoch);
      checkpoint.logWasReset();
    }
    const { sequence, epoch } = checkpoint.applied;
    if (log.lastSequence < sequence) {
      // The log was synced before the checkpoint took its records over: only damage makes it end earlier.
      options.log.error({ checkpoint: sequence, last: log.lastSequence }, 'the metadata log ends before the checkpoint; it begins anew behind it');
      await log.reset(sequence, epoch);
    } else if (log.firstSequence > sequence + 1) {
      options.log.error({ checkpoint: sequence, first: log.firstSequence }, 'records are missing between the checkpoint and the metadata log; this copy is given up and must be made anew from another disk');
      await checkpoint.close();
      checkpoint = setAside(checkpointDirectory);
      await log.reset(0 as Sequence);
    }
    return new MetadataCopy(log, checkpoint, options);
  }

  get state(): LogState {
    return { checkpointSequence: this.#checkpoint.applied.sequence, lastSequence: this.#log.lastSequence, lastEpoch: this.#log.lastEpoch };
  }

  get checkpointDirectory(): string {
    return this.#checkpoint.directory;
  }

  /** Grows when another checkpoint takes the place of this one. */
  get checkpointGeneration(): number {
    return this.#checkpoint.generation;
  }

  /** Resolves when `state` is not about to change as a whole; undefined when it is not. */
  get replacing(): Promise<void> | undefined {
    return this.#replacing;
  }

  /** Of the log, applied to the checkpoint or not. */
  get logBytes(): number {
    return this.#log.bytes;
  }

  /**
   * Appends whole records `first … last`, back to back in `records`; those that are there already are skipped.
   * Power-proof when it resolves, with the last sequence of the log. WorkerError: 'gap', 'badRequest', 'noSpace',
   * 'readOnly', 'diskFailure'. `records` is not used after the call returned.
   */
  append(first: Sequence, last: Sequence, records: Buffer): Promise<Sequence> {
    if (this.#replacing === undefined) return this.#appendNow(first, last, records);
    const copy = Buffer.from(records);
    return this.#replacing.then(() => this.#appendNow(first, last, copy));
  }

  async #appendNow(first: Sequence, last: Sequence, records: Buffer): Promise<Sequence> {
    const { skip, next, epoch } = this.#check(first, last, records);
    try {
      if (skip < records.length) this.#log.append([records.subarray(skip)], next, last, epoch);
      await this.#log.sync();
    } catch (error) {
      throw diskError(error, 'the metadata log cannot be written');
    }
    return this.#log.lastSequence;
  }

  /** Verifies that the records are what they are said to be; `skip` bytes of them are in the log already, `next` is the first new one. */
  #check(first: Sequence, last: Sequence, records: Buffer): { skip: number; next: Sequence; epoch: DriverEpoch } {
    if (first > this.#log.lastSequence + 1) throw new WorkerError('gap', `the log ends at ${this.#log.lastSequence}, the records begin at ${first}`);
    let sequence = first - 1;
    let skip = 0;
    let epoch = this.#log.lastEpoch;
    for (let at = 0; at < records.length;) {
      const header = decodeRecord(records, at);
      if (header === undefined || header.sequence !== sequence + 1) throw new WorkerError('badRequest', `wanted record ${sequence + 1} at byte ${at}, found ${header === undefined ? 'none that fits its checksum' : `record ${header.sequence}`}`);
      sequence = header.sequence;
      at += header.recordBytes;
      if (sequence <= this.#log.lastSequence) {
        skip = at;
        continue;
      }
      if (header.epoch < epoch) throw new WorkerError('badRequest', `record ${sequence} is of driver epoch ${header.epoch}, the one before of ${epoch}`);
      epoch = header.epoch;
    }
    if (sequence !== last) throw new WorkerError('badRequest', `records ${first} to ${last} were announced, and they end at ${sequence}`);
    return { skip, next: Math.max(first, this.#log.lastSequence + 1) as Sequence, epoch };
  }

  /** Records up to `through` may go from the log into the checkpoint. */
  trim(through: Sequence): void {
    if (this.#replacing === undefined) this.#feeder.allow(through);
  }

  /** Records from `from` on. WorkerError 'gap' when it was trimmed. */
  async read(from: Sequence, bytesMax: number): Promise<Buffer> {
    await this.#replacing;
    if (from < this.#log.firstSequence) throw new WorkerError('gap', `log record ${from} is in the checkpoint; the log begins at ${this.#log.firstSequence}`);
    try {
      return this.#log.read(from, Math.min(bytesMax, LIMITS.frameBodyBytesMax));
    } catch (error) {
      throw diskError(error, 'the metadata log cannot be read');
    }
  }

  /** Rows of the checkpoint behind `after`. It stands still while it is being read. */
  async rows(after: Buffer | null, bytesMax: number): Promise<{ rows: Row[]; digest: RowsDigest | null }> {
    await this.#replacing;
    await this.#feeder.hold();
    try {
      const rows = this.#checkpoint.rows(after, Math.min(bytesMax, LIMITS.frameBodyBytesMax));
      if (rows.length === 0) this.#feeder.release();
      return { rows, digest: this.#checkpoint.digest };
    } catch (error) {
      throw diskError(error, 'the checkpoint cannot be read');
    }
  }

  /** A new driver relies on the state it was told: the checkpoint stays until that driver trims. */
  forgetTrim(): void {
    this.#feeder.forget();
  }

  async beginCheckpoint(): Promise<void> {
    if (this.#replacing !== undefined) await this.#replacing;
    try {
      this.#checkpoint.beginLoad();
    } catch (error) {
      throw diskError(error, 'a checkpoint cannot be begun');
    }
  }

  /** `rows` is not used after the call returned. */
  async loadCheckpoint(rows: readonly Row[]): Promise<void> {
    if (this.#replacing !== undefined) throw new WorkerError('badRequest', 'a checkpoint is being committed');
    try {
      this.#checkpoint.load(rows);
    } catch (error) {
      throw diskError(error, 'the checkpoint cannot be written');
    }
  }

  /** Puts the loaded checkpoint, and an empty log behind it, in place of the old ones. */
  commitCheckpoint(sequence: Sequence, epoch: DriverEpoch): Promise<void> {
    const replacing = this.#replace(this.#replacing, { sequence, epoch });
    const done = replacing.then(() => undefined, () => undefined).then(() => {
      if (this.#replacing === done) this.#replacing = undefined;
    });
    // Before anything is awaited: what comes after the request belongs to the new log.
    this.#replacing = done;
    return replacing;
  }

  async #replace(before: Promise<void> | undefined, position: LogPosition): Promise<void> {
    await before;
    await this.#feeder.stop();
    try {
      await this.#checkpoint.commitLoad(position);
      await this.#log.reset(position.sequence, position.epoch);
      this.#checkpoint.logWasReset();
    } catch (error) {
      throw diskError(error, 'the checkpoint cannot be replaced');
    }
  }

  /** Power-proof and closed. */
  async close(): Promise<void> {
    await this.#replacing;
    await this.#feeder.stop();
    await this.#log.sync();
    await this.#log.close();
    await this.#checkpoint.close();
  }
}

/** Where it cannot be opened, or is not what was put there, an empty one takes its place: the driver gives the disk a new one. */
async function openCheckpoint(directory: string, { log, checkpointIsWhole }: MetadataCopyOptions): Promise<{ checkpoint: Checkpoint; isNew: boolean }> {
  try {
    if (checkpointIsWhole === undefined || !fs.existsSync(directory) || (await checkpointIsWhole(directory))) return { checkpoint: Checkpoint.open(directory), isNew: false };
    log.error({ directory }, 'the metadata checkpoint is damaged; it is set aside, and must be made anew from another disk');
  } catch (error) {
    // A full or failed disk is no damaged file.
    if (error instanceof UserError || isOfDisk(error)) throw error;
    log.error({ err: error, directory }, 'the metadata checkpoint cannot be opened; it is set aside, and must be made anew from another disk');
  }
  return { checkpoint: setAside(directory), isNew: true };
}

/** The last one that was given up is kept beside, for people. */
function setAside(directory: string): Checkpoint {
  const aside = `${directory}.damaged`;
  fs.rmSync(aside, { recursive: true, force: true });
  fs.renameSync(directory, aside);
  return Checkpoint.open(directory);
}

function isOfDisk(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EIO' || code === 'EROFS' || code === 'EDQUOT' || code === 'ENOMEM' || code === 'EMFILE' || code === 'ENFILE' || code === ERRNO.ENOSPC || code === ERRNO.EIO || code === ERRNO.EROFS;
}
