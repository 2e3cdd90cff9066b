// Reads the metadata that a worker holds, for rebuilding the driver's own database: checkpoint first, then the log.
import { FormatError } from '../base/errors.ts';
import type { Sequence } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { LogState, Row } from '../ipc/messages.ts';
import { decodeRecord } from '../log/record.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

export type MetadataPart =
  /** Rows of the checkpoint, in key order. */
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  /** Whole, verified records back to back, without a gap to the part before. */
  | { readonly kind: 'records'; readonly first: Sequence; readonly last: Sequence; readonly records: Buffer };

const READ_BYTES = LIMITS.frameBodyBytesMax;

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
 * when the log does not follow the checkpoint without a gap or ends too early, and the errors of WorkerLink.request.
 */
export async function* readMetadata(link: WorkerLink, state: LogState): AsyncGenerator<MetadataPart> {
  let after: Buffer | null = null;
  for (;;) {
    const { rows }: { rows: Row[] } = await link.request('readCheckpoint', { after, bytesMax: READ_BYTES / 2 });
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last[0];
    yield { kind: 'rows', rows };
  }
  let from = (state.checkpointSequence + 1) as Sequence;
  while (from <= state.lastSequence) {
    const { records } = await link.request('readLog', { from, bytesMax: READ_BYTES });
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

function brokenLog(link: WorkerLink, wanted: number, found: string): FormatError {
  return new FormatError(`metadata log of worker ${link.worker} (disk ${link.disk})`, { wanted: `record ${wanted}`, found });
}
