// What to do when there is no room: it may be only that what was just deleted or replaced is not given back yet.
import { setTimeout as delay } from 'node:timers/promises';
import { FileLimitError, FsError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { BlockEngine } from '../blocks/block-engine.ts';
import type { Durability } from './durability.ts';

type MaybePromise<T> = T | Promise<T>;

export interface RoomMakers {
  readonly durability: Durability;
  readonly blocks: BlockEngine;
}

/** Does `work`, and does it again where it ended in ENOSPC, which must mean that nothing of it was done. */
export function withRoom<T>(makers: RoomMakers, work: () => MaybePromise<T>): MaybePromise<T> {
  try {
    const done = work();
    return done instanceof Promise ? done.catch((error: unknown) => whenThereIsRoom(makers, error, work)) : done;
  } catch (error) {
    if (!isFull(error)) throw error;
    return whenThereIsRoom(makers, error, work);
  }
}

/** After `work` failed with `error`: rejects with what it fails with in the end. Takes LIMITS.fullDiskPauseMs some times. */
export async function whenThereIsRoom<T>(makers: RoomMakers, error: unknown, work: () => MaybePromise<T>): Promise<T> {
  let failure = error;
  for (let attempt = 1; attempt < LIMITS.fullDiskAttempts && isFull(failure); attempt++) {
    try {
      await makers.durability.reclaim();
      await delay(LIMITS.fullDiskPauseMs * attempt);
      await makers.blocks.refreshStatistics(0);
    } catch {
      throw failure;
    }
    try {
      return await work();
    } catch (next) {
      failure = next;
    }
  }
  throw failure;
}

export function isFull(error: unknown): boolean {
  return error instanceof FsError && error.code === 'ENOSPC' && !(error instanceof FileLimitError);
}
