// The journal of a database that was set aside because its rows are damaged: what the disks lack of it is not lost.
//
// It lies beside until the rows are made anew from the disks and it was replayed over them; a rebuild that is
// interrupted finds it there again.
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { LogFile } from '../log/log-file.ts';
import { decodeOperations } from '../log/record.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';
import type { ReplayedData } from '../metadata/lmdb/options.ts';

export class KeptJournal {
  readonly #path: string;

  /** Where setDatabaseAside puts the journal of these directories. */
  constructor({ directory, journalDirectory }: { readonly directory: string; readonly journalDirectory: string }) {
    this.#path = dirname(journalDirectory) === directory ? join(`${directory}.aside`, 'journal') : `${journalDirectory}.aside`;
  }

  exists(): boolean {
    return existsSync(this.#path);
  }

  /**
   * Applies what follows the engine's last record, of driver `epoch`, and returns the small data in it. A journal that
   * does not continue that record is left alone.
   */
  async replay(engine: LmdbEngine, epoch: DriverEpoch, logger: Logger): Promise<ReplayedData[]> {
    const found: ReplayedData[] = [];
    if (!this.exists()) return found;
    const before = engine.lastSequence;
    try {
      const log = LogFile.open(this.#path, { segmentBytes: LIMITS.logSegmentBytes });
      try {
        apply(log, engine, epoch, found);
      } finally {
        await log.close();
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      logger.error({ err: error, last: engine.lastSequence }, 'the journal cannot be read any further: what was not synced behind it is lost');
    }
    logger.info({ from: before + 1, last: engine.lastSequence }, "changes that the disks lacked were taken from the driver's journal");
    return found;
  }

  /** The rows are made: it is not needed any more. */
  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

function apply(log: LogFile, engine: LmdbEngine, epoch: DriverEpoch, found: ReplayedData[]): void {
  const last = engine.lastSequence;
  if (log.lastSequence <= last || log.firstSequence > last + 1) return;
  for (const { header, bytes, offset } of log.scan(Math.max(log.firstSequence, last) as Sequence)) {
    if (header.sequence === last) {
      // Another driver's record: this journal is not of this log.
      if (header.epoch !== epoch) return;
      continue;
    }
    const record = Buffer.from(bytes.subarray(offset, offset + header.recordBytes));
    engine.applyRecord(record, header.sequence, header.epoch);
    for (const operation of decodeOperations(record, 0)) {
      if (operation.kind === 'data') found.push({ id: operation.id, data: operation.data, sequence: header.sequence });
    }
  }
  engine.commitBatch();
}
