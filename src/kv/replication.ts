// How many copies there are to be, and what the failure of one means: shared by blocks and metadata log.
import { assert } from '../base/assert.ts';
import { ChannelClosedError, TimeoutError } from '../base/errors.ts';
import type { BlockId, WorkerId } from '../base/ids.ts';
import { WorkerError } from '../ipc/messages.ts';
import { WorkerAbsentError } from './worker-link.ts';

export interface ReplicationPolicy {
  /** Copies of everything (R). */
  readonly copies: number;
  /** With fewer disks alive, down to this many copies are accepted, and said so. */
  readonly copiesMin: number;
}

/** The policy of a volume: one copy is enough in an emergency where there are two, R-1 where there are more. */
export function replicationPolicy(copies: number): ReplicationPolicy {
  assert(Number.isInteger(copies) && copies >= 1, `copies is a whole number above 0: ${copies}`);
  return { copies, copiesMin: Math.max(1, copies - 1) };
}

/** Something is about to be acknowledged with fewer than R copies. */
export type Degradation =
  | { readonly kind: 'put'; readonly id: BlockId; readonly haveCopies: number; readonly missing: readonly WorkerId[] }
  | { readonly kind: 'sync'; readonly missing: readonly WorkerId[] }
  | { readonly kind: 'log'; readonly haveCopies: number; readonly missing: readonly WorkerId[] };

/** Awaited before the acknowledgement, so that it can be recorded who is missing; a rejection fails the request. */
export type DegradedHook = (degradation: Degradation) => void | Promise<void>;

/**
 * absent: no answer, may come back. full: alive, without space. missing: alive, does not have it.
 * damaged: alive, what it has is bad. failed: alive, and of no use for this.
 */
export type Failure = 'absent' | 'full' | 'missing' | 'damaged' | 'failed';

export function failureOf(error: unknown): Failure {
  if (error instanceof WorkerAbsentError || error instanceof ChannelClosedError || error instanceof TimeoutError) return 'absent';
  if (!(error instanceof WorkerError)) return 'failed';
  switch (error.code) {
    case 'noSpace': return 'full';
    case 'notFound': return 'missing';
    case 'damaged': return 'damaged';
    default: return 'failed';
  }
}
