// What a keeper of the same volume left behind that was killed: its children may still be writing what was acknowledged.
import { EXIT, UserError } from '../base/errors.ts';
import type { Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { isAlive, waitForEnd } from '../control/process-identity.ts';
import { listRunningMounts } from '../control/running-mounts.ts';

/** Resolves when they have ended. UserError (busy) when they do not in time. A living keeper is the lock's to refuse. */
export async function waitForPredecessor(volume: Uuid): Promise<void> {
  const last = listRunningMounts().find((mount) => mount.volume === volume);
  if (last === undefined || isAlive(last.keeper)) return;
  if (await waitForEnd(last.children, LIMITS.driverStopMs)) return;
  const pids = last.children.filter(isAlive).map((child) => child.pid).join(', ');
  throw new UserError(`the last mount of this volume, at ${last.mountpoint}, is still ending (processes ${pids}): wait, or end it with "sdfs umount --force ${last.mountpoint}"`, EXIT.busy);
}
