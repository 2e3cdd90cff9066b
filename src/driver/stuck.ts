// What does not get on in the driver, what it waits for, and since when: in sentences, for `sdfs status`.
import type { WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { WorkerLink } from '../kv/worker-link.ts';

export interface OldestRequest {
  /** As in <linux/fuse.h>. */
  readonly operation: string;
  readonly inode: number;
  readonly waitedMs: number;
}

/** Requests of programs; without those that wait for other programs. */
export interface RequestsInWork {
  readonly waitingCount: number;
  /** The one of them that waits for the longest; the edge fuse-native does not know. */
  readonly oldest?: OldestRequest | undefined;
}

export interface StuckParts {
  readonly links: readonly WorkerLink[];
  /** Absent where nobody is served. */
  readonly requests: RequestsInWork | undefined;
  /** Of the last sync to the disks: since when one runs, and why the last one failed, if it did. */
  readonly sync: { readonly runsForMs: number; readonly failure: string | undefined };
}

export interface Stuck {
  readonly worker?: WorkerId;
  readonly what: string;
}

export function findStuck({ links, requests, sync }: StuckParts): Stuck[] {
  const found: Stuck[] = links.filter((link) => !link.isReady).map((link) => ({ worker: link.worker, what: describeLink(link) }));
  const oldest = requests?.oldest;
  if (requests !== undefined && oldest !== undefined && oldest.waitedMs >= LIMITS.stuckMs) {
    const count = Math.max(1, requests.waitingCount);
    found.push({ what: `${count === 1 ? '1 request of a program waits' : `${count} requests of programs wait`}, the oldest (${oldest.operation} of inode ${oldest.inode}) for ${seconds(oldest.waitedMs)}` });
  }
  if (sync.failure !== undefined) found.push({ what: `what was written last is not safe from a power cut, and fsync fails: ${sync.failure}` });
  else if (sync.runsForMs >= LIMITS.stuckMs) found.push({ what: `a sync to the disks takes ${seconds(sync.runsForMs)} already: fsync waits` });
  return found;
}

function describeLink(link: WorkerLink): string {
  const why = link.isStalled ? 'it stands still' : link.state.kind === 'ready' || link.state.cause === undefined ? 'it is being connected' : link.state.cause.message;
  const since = Number.isFinite(link.absentMs) ? `, for ${seconds(link.absentMs)}` : '';
  return `worker ${link.worker} is not connected to the driver (${why}${since})${link.load > 0 ? `; requests that wait for it: ${link.load}` : ''}`;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
