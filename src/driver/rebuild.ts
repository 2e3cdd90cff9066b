// Makes the driver's rows anew from the disks: the checkpoint of one of them and the log behind it. A checkpoint that is not
// what its disk put there is refused, and another disk's taken.
import { EXIT, FormatError, UserError } from '../base/errors.ts';
import type { DriverEpoch, Sequence } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { LogState } from '../ipc/messages.ts';
import { failureOf } from '../kv/replication.ts';
import { isNewer, readMetadata, readRecords } from '../kv/log-reader.ts';
import type { WorkerLink } from '../kv/worker-link.ts';
import { decodeOperations, decodeRecord } from '../log/record.ts';
import type { LmdbEngine } from '../metadata/lmdb/engine.ts';
import type { ReplayedData } from '../metadata/lmdb/options.ts';

export interface Candidate {
  readonly link: WorkerLink;
  readonly state: LogState;
}

export interface Rebuilt {
  readonly engine: LmdbEngine;
  readonly pendingData: ReplayedData[];
  /** Whose rows these are. */
  readonly from: Candidate;
  readonly lastEpoch: DriverEpoch;
  /** Disks whose checkpoints turned out to be damaged: they are to get new ones. */
  readonly damaged: readonly WorkerLink[];
}

/**
 * `candidates` have metadata; `begin` gives an empty engine, in place of one in which a rebuild failed. UserError when no
 * disk has all that the newest has.
 */
export async function rebuildMetadata(candidates: readonly Candidate[], begin: () => Promise<LmdbEngine>, logger: Logger): Promise<Rebuilt> {
  const ordered = candidates.toSorted((one, other) => (isNewer(one.state, other.state) ? -1 : isNewer(other.state, one.state) ? 1 : 0));
  const newest = ordered[0]!;
  const damaged: WorkerLink[] = [];
  const reasons: string[] = [];
  for (const from of ordered) {
    logger.info({ worker: from.link.worker, checkpoint: from.state.checkpointSequence, last: from.state.lastSequence }, 'rebuilding the metadata from a worker');
    const engine = await begin();
    try {
      const target = new Target(engine);
      await target.load(from);
      for (const other of ordered) if (engine.lastSequence < newest.state.lastSequence && other !== from) await target.extend(other, logger);
      if (engine.lastSequence === newest.state.lastSequence) return { engine, pendingData: target.pendingData, from, lastEpoch: target.epoch, damaged };
      reasons.push(`disk ${from.link.worker} has it up to record ${engine.lastSequence} of ${newest.state.lastSequence}`);
    } catch (error) {
      if (failureOf(error) === 'absent') {
        // LMDB may have met damage that ended the worker; it looks at its copy itself when it is started again.
        logger.error({ err: error, worker: from.link.worker }, 'the worker ended while its copy of the metadata was read');
        reasons.push(`disk ${from.link.worker}: ${(error as Error).message}`);
        await engine.abandon();
        continue;
      }
      if (!(error instanceof FormatError) && !(error instanceof WorkerError)) {
        await engine.abandon();
        throw error;
      }
      logger.error({ err: error, worker: from.link.worker }, 'the copy of the metadata on this disk is damaged; it gets a new one from another');
      damaged.push(from.link);
      reasons.push(`disk ${from.link.worker}: ${error.message}`);
    }
    await engine.abandon();
  }
  throw new UserError(`no disk has a whole copy of the metadata (${reasons.join('; ')}): bring back a disk that is away, or load a dump`, EXIT.damaged);
}

class Target {
  readonly #engine: LmdbEngine;
  readonly pendingData: ReplayedData[] = [];
  /** Of the last record. */
  epoch = 0 as DriverEpoch;

  constructor(engine: LmdbEngine) {
    this.#engine = engine;
  }

  async load({ link, state }: Candidate): Promise<void> {
    let loading = true;
    const loaded = async (): Promise<void> => {
      if (loading) await this.#engine.setSequence(state.checkpointSequence);
      loading = false;
    };
    for await (const part of readMetadata(link, state)) {
      if (part.kind === 'rows') this.#engine.load(part.rows);
      else {
        await loaded();
        this.#apply(part.records);
      }
    }
    await loaded();
    this.#engine.commitBatch();
    this.epoch = state.lastEpoch;
  }

  /** Goes on with what another disk's log has behind the last record, where it continues it. */
  async extend({ link, state }: Candidate, logger: Logger): Promise<void> {
    const last = this.#engine.lastSequence;
    if (state.lastSequence <= last || state.checkpointSequence > last) return;
    const known = state.checkpointSequence < last;
    for await (const part of readRecords(link, (known ? last : last + 1) as Sequence, state.lastSequence)) {
      let { records } = part;
      if (part.first === last && known) {
        const header = decodeRecord(records, 0)!;
        if (header.epoch !== this.epoch) return logger.error({ worker: link.worker, record: last }, 'the metadata log of a disk is not the one of the others');
        records = records.subarray(header.recordBytes);
      }
      this.#apply(records);
    }
    this.#engine.commitBatch();
  }

  #apply(records: Buffer): void {
    for (let at = 0; at < records.length; ) {
      const header = decodeRecord(records, at);
      if (header === undefined) throw new FormatError('metadata log', { wanted: 'a whole record', found: 'bytes that fail its checksum' });
      const record = Buffer.from(records.subarray(at, at + header.recordBytes));
      this.#engine.applyRecord(record, header.sequence, header.epoch);
      this.epoch = header.epoch;
      for (const operation of decodeOperations(record, 0)) {
        if (operation.kind === 'data') this.pendingData.push({ id: operation.id, data: operation.data, sequence: header.sequence });
      }
      at += header.recordBytes;
    }
  }
}
