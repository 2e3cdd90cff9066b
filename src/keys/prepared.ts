// Changes with values that are put on the shards first: again from the start where the store was opened anew meanwhile.
import { LIMITS } from '../base/limits.ts';
import { ReopenedError } from './errors.ts';
import type { KeySpace, PreparedValue } from './key-space.ts';

/**
 * Puts the values, one after the other, and has `commit` set them; those that it did not use are discarded. Where the
 * store is opened anew before they are set, nothing was done, and all of it is tried again. Rejects as `prepare` and
 * `commit` do.
 */
export async function withPrepared<T>(keys: KeySpace, values: readonly Buffer[], commit: (prepared: readonly PreparedValue[]) => Promise<T>, { mayRepeat = true } = {}): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const paused = keys.paused();
    if (paused !== undefined) await paused;
    const prepared: PreparedValue[] = [];
    try {
      for (const value of values) prepared.push(await keys.prepare(value));
      return await commit(prepared);
    } catch (error) {
      const wasReopened = error instanceof ReopenedError || (prepared.length < values.length && keys.paused() !== undefined);
      if (!wasReopened || !mayRepeat || attempt >= LIMITS.reopenedAttempts) throw error;
    } finally {
      for (const value of prepared) if (!value.used) keys.discard(value);
    }
  }
}
