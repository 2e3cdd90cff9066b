// Whether the disks that are there may be mounted, and the record of the membership with which a mount begins.
import { EXIT, UserError } from '../base/errors.ts';
import type { Uuid } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { describeRefusal } from '../base/membership.ts';
import { MISSING_DISKS_ADVICE as ADVICE, nameDisk } from '../ipc/process-messages.ts';
import type { DriverStart, DriverToKeeper } from '../ipc/process-messages.ts';
import { Members } from '../kv/membership.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';

export interface MountMembers {
  readonly members: Members;
  /** A mount that would have been refused: what is away may have gone on, and must not be mixed with what comes now. */
  readonly forced: boolean;
  /** Before anything is acknowledged. `best`: the disk with the newest metadata, if any has some. */
  begin(best: Uuid | undefined): Promise<void>;
}

/** UserError (incomplete) when too many disks are missing for a mount to begin. A successor goes on with what there is. */
export function mountMembers(pool: WorkerPool, parts: { start: DriverStart; logger: Logger; tell: (message: Extract<DriverToKeeper, { type: 'membership' }>) => void }): MountMembers {
  const { start, logger, tell } = parts;
  const members = new Members(pool, { logger, told: start.membership, tell: (membership) => tell({ type: 'membership', membership }) });
  if (start.membership !== undefined) return { members, forced: false, begin: () => Promise.resolve() };
  const refusal = members.refusal(start.description.copies);
  if (refusal === undefined) return { members, forced: false, begin: () => members.begin() };
  const why = describeRefusal(refusal, (disk) => nameDisk(start.description, disk));
  if (!start.forceDegraded) throw new UserError(`not enough of the volume's disks are here: ${why}. ${ADVICE}`, EXIT.incomplete);
  logger.error(`forced to mount although ${why}`);
  members.believe();
  return { members, forced: true, begin: (best) => members.force(best) };
}
