// Reads the metadata that a worker holds, for rebuilding the driver's own database: checkpoint first, then the log.
import { FormatError } from '../base/errors.ts';
import type { Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { LogState, Row } from '../ipc/messages.ts';
import { RowsDigester, sameDigest } from '../ipc/rows-digest.ts';
import type { RowsDigest } from '../ipc/rows-digest.ts';
import { decodeRecord } from '../log/record.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

export type MetadataPart =
  /** Rows of the checkpoint, in key order. */
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  /** Whole, verified records back to back, without a gap to the part before. */
  | { readonly kind: 'records'; readonly first: Sequence; readonly last: Sequence; readonly records: Buffer };

const READ_BYTES = LIMITS.frameBodyBytesMax;
/** On one channel: a worker that was started again may have given up what it had. */
const ONCE = { absenceMs: 0 };

/** Whose metadata is the newest: a later driver's wins, then the longer log. */
export function isNewer(state: LogState, other: LogState): boolean {
  return state.lastEpoch > other.lastEpoch || (state.lastEpoch === other.lastEpoch && state.lastSequence > other.lastSequence);
}

/** The newest metadata of all `eligible` workers that have said hello, by what they said last; undefined before any has. */
export function mostAdvanced(pool: WorkerPool, eligible: (link: WorkerLink) => boolean = () => true): { readonly link: WorkerLink; readonly state: LogState } | undefined {
  let best: { link: WorkerLink; state: LogState } | undefined;
  for (const link of pool.links) {
    const state = link.hello?.log;
    if (state !== undefined && eligible(link) && (best === undefined || isNewer(state, best.state))) best = { link, state };
  }
  return best;
}

/**
 * All that a worker holds, as of its last hello. Nobody may append to it or trim it meanwhile. Throws FormatError
 * when the rows are not those that were put into the checkpoint (known when all are read), or the log does not follow it
 * without a gap or ends too early, and the errors of WorkerLink.request.
 */
export async function* readMetadata(link: WorkerLink, state: LogState): AsyncGenerator<MetadataPart> {
  const digester = new RowsDigester();
  let after: Buffer | null = null;
  for (;;) {
    const { rows, digest }: { rows: Row[]; digest: RowsDigest | null } = await link.request('readCheckpoint', { after, bytesMax: READ_BYTES / 2 }, ONCE);
    for (const [key, value] of rows) {
      // A database with damaged pages may go in circles.
      if (after !== null && after.compare(key) >= 0) throw brokenCheckpoint(link, 'rows in the order of their keys', 'a key that is not behind the one before');
      after = key;
      digester.add(key, value);
    }
    if (rows.length > 0) {
      yield { kind: 'rows', rows };
      continue;
    }
    if (digest !== null && !sameDigest(digest, digester.digest)) throw brokenCheckpoint(link, `${digest.count} rows with the sum ${digest.sum}`, `${digester.digest.count} rows with the sum ${digester.digest.sum}`);
    break;
  }
  yield* readRecords(link, (state.checkpointSequence + 1) as Sequence, state.lastSequence);
}

/** Records `from … through` of a worker's log. Errors as `readMetadata`. */
export async function* readRecords(link: WorkerLink, first: Sequence, through: Sequence): AsyncGenerator<Extract<MetadataPart, { kind: 'records' }>> {
  let from = first;
  while (from <= through) {
    const { records } = await link.request('readLog', { from, bytesMax: READ_BYTES }, ONCE);
    const last = lastOf(records, from, link);
    yield { kind: 'records', first: from, last, records };
    from = (last + 1) as Sequence;
  }
}

/** The sequence of the last record, after a check of all of them. */
function lastOf(records: Buffer, from: Sequence, link: WorkerLink): Sequence {
  let wanted: number = from;
  let at = 0;
  while (at < records.length) {
    const header = decodeRecord(records, at);
    if (header?.sequence !== wanted) throw brokenLog(link, wanted, header === undefined ? 'a broken record' : `record ${header.sequence}`);
    wanted++;
    at += header.recordBytes;
  }
  if (wanted === from) throw brokenLog(link, wanted, 'the end of the log');
  return (wanted - 1) as Sequence;
}

function brokenCheckpoint(link: WorkerLink, wanted: string, found: string): FormatError {
  return new FormatError(`metadata checkpoint of worker ${link.worker} (disk ${link.disk})`, { wanted, found });
}

function brokenLog(link: WorkerLink, wanted: number, found: string): FormatError {
  return new FormatError(`metadata log of worker ${link.worker} (disk ${link.disk})`, { wanted: `record ${wanted}`, found });
}
