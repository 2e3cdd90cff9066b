// What a scrub looks at beside blocks: the driver's rows, and the copies of all metadata on the disks.
//
// A copy that is not what was put there is made anew from the rows, so that these are read first; while it is, it does not
// count, and the next one is not looked at.
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { CheckpointState } from '../ipc/messages.ts';
import type { LogHolder } from '../kv/log-holder.ts';
import type { LogReplicas } from '../kv/log-replicas.ts';
import type { MetadataCounts, ScrubMetadata } from '../kv/scrubber.ts';
import type { RowsCheck } from './rows-check.ts';

const LOOK_MS = 500;

export function metadataScrub(parts: { readonly rows: RowsCheck; readonly replicas: LogReplicas; readonly logger: Logger }): ScrubMetadata {
  const { rows, replicas, logger } = parts;
  return async (shouldEnd): Promise<MetadataCounts | undefined> => {
    const metadataRows = await rows.run(shouldEnd);
    if (metadataRows === undefined) return undefined;
    const counts = { metadataRows, metadataCopies: 0, damagedMetadataCopies: 0 };
    for (const holder of [...replicas.holders]) {
      if (holder.phase !== 'streaming') continue;
      const state = await examine(holder, shouldEnd);
      if (state === 'checking') return undefined;
      if (state !== 'unknown') counts.metadataCopies++;
      if (state !== 'damaged') continue;
      counts.damagedMetadataCopies++;
      logger.error({ worker: holder.link.worker }, 'the copy of the metadata on this disk is damaged; it gets a new one');
      replicas.replaceCheckpoint(holder.link);
      if (!(await untilWhole(holder, shouldEnd))) return undefined;
    }
    return counts;
  };
}

/** 'checking' when it was to end before it was known; 'unknown' of a disk that goes away meanwhile. */
async function examine({ link }: LogHolder, shouldEnd: () => boolean): Promise<CheckpointState> {
  while (!shouldEnd()) {
    let state: CheckpointState = 'unknown';
    try {
      ({ state } = await link.request('checkCheckpoint', {}, { absenceMs: 0 }));
    } catch {
      // Its absence, or its failure, is dealt with by others.
      return 'unknown';
    }
    if (state !== 'checking') return state;
    await look();
  }
  return 'checking';
}

/** False when it was to end first. One that does not come to it is tried again by itself. */
async function untilWhole(holder: LogHolder, shouldEnd: () => boolean): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < LIMITS.workerAbsenceMs && holder.phase !== 'streaming'; waitedMs += LOOK_MS) {
    if (shouldEnd()) return false;
    await look();
  }
  return true;
}

function look(): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, LOOK_MS); });
}
