// The background work on blocks in words.
import type { DriverDumpStatus, DriverUpkeep } from '../control/api.ts';
import { formatBytes } from './terminal.ts';

type Run = NonNullable<DriverUpkeep['reconcile']['last']>;

/** What a run found and did. */
export function describeRun(run: Run): string {
  const parts = [`${run.blocks} blocks looked at`];
  if (run.copiedCopies > 0) parts.push(`${run.copiedCopies} copies made (${formatBytes(run.copiedBytes)})`);
  if (run.droppedCopies > 0) parts.push(`${run.droppedCopies} copies moved home`);
  if (run.deletedCopies > 0) parts.push(`${run.deletedCopies} unneeded copies deleted (${formatBytes(run.deletedBytes)})`);
  if (run.endangered > 0) parts.push(`${run.endangered} blocks with too few copies`);
  if (run.unreadableBlocks > 0) parts.push(`${run.unreadableBlocks} without any`);
  if (run.garbageWaits) parts.push('unneeded copies are left until all disks are there');
  return parts.join(', ');
}

export function describeUpkeep({ reconcile }: DriverUpkeep): string {
  const { state, reason, phase, progress, last, incompleteDisks } = reconcile;
  const behind = incompleteDisks.length === 0 ? '' : `; not known to be complete: disk ${incompleteDisks.join(', ')}`;
  if (state === 'running') {
    const far = progress === null || progress.total === 0 ? '' : `, ${progress.done} of ${progress.total}, ${formatDuration(progress.etaMs)} left`;
    return `${phase}${far} (${reason})${behind}`;
  }
  if (state === 'waiting') return `to begin when no disk is missing for a moment only (${reason})${behind}`;
  return `${last === null ? 'nothing yet' : `${describeRun(last)}, ${last.ended}`}${behind}`;
}

export function describeDumps({ intervalMs, last }: DriverDumpStatus): string {
  const of = last === null ? 'none yet' : `of the metadata, ${formatBytes(last.bytes)} on disk ${last.disks.join(', ')}, ${last.written}`;
  return intervalMs === 0 ? `${of}; off (-o dumps=off)` : `${of}; every ${formatDuration(intervalMs)} when something has changed`;
}

export function describeScrub({ scrub }: DriverUpkeep): string {
  const { state, current, last, fraction, next } = scrub;
  if (state !== 'idle' && current !== null) {
    const far = fraction === null ? '' : `, ${Math.floor(fraction * 100)} %`;
    return `${state === 'running' ? 'under way' : 'to go on'}${far}: ${describeCounts(current)}, begun ${current.started}`;
  }
  return `${last === null ? 'none yet' : `${describeCounts(last)}, ended ${last.ended}`}; the next one begins ${next}`;
}

function describeCounts(counts: NonNullable<DriverUpkeep['scrub']['current']>): string {
  const parts = [`${counts.verifiedCopies} copies read back (${formatBytes(counts.verifiedBytes)})`, `${counts.damagedCopies} damaged`, `${counts.missingCopies} missing`];
  if (counts.metadataCopies > 0) parts.push(`${counts.metadataCopies} copies of the metadata${counts.damagedMetadataCopies > 0 ? `, ${counts.damagedMetadataCopies} of them damaged and made anew` : ''}`);
  if (counts.repairedCopies > 0) parts.push(`${counts.repairedCopies} repaired`);
  if (counts.unreadableBlocks > 0) parts.push(`${counts.unreadableBlocks} blocks lost`);
  return parts.join(', ');
}

function formatDuration(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
