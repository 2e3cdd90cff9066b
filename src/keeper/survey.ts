// Starts the workers of a mount: looks at all disks first, and goes without those that are lost where the others are enough.
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { Uuid, WorkerId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { describeRefusal, mountRefusal } from '../base/membership.ts';
import type { Membership } from '../base/membership.ts';
import { readIdentity } from '../disk/identity.ts';
import { readMembership } from '../disk/membership-file.ts';
import { MISSING_DISKS_ADVICE, nameDisk } from '../ipc/process-messages.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import type { Crew } from './crew.ts';

/**
 * Disks that are lost are tried again and again. UserError (incomplete) when the others are not enough and this is not
 * `forced`, or as the worker says when its disk is not the right one.
 */
export async function startWorkers(crew: Crew, description: VolumeDescription, options: { forced: boolean; log: Logger }): Promise<void> {
  const survey = surveyDisks(description);
  if (!options.forced) assertEnough(description, survey);
  await crew.startWorkers((worker, error) => {
    if (!isLoss(error)) throw error;
    const { disk } = description.disks.find((candidate) => candidate.worker === worker)!;
    survey.found.delete(disk);
    survey.lost.set(worker, error.message);
    if (!options.forced) assertEnough(description, survey);
    if (survey.found.size === 0) throw error;
    options.log.error({ worker, disk, err: error }, 'a disk cannot be used: mounting without it');
  });
}

interface Survey {
  /** What the disks that can be used know of the membership. */
  readonly found: Map<Uuid, Membership | null>;
  /** Disks that are missing or broken, with the reason. */
  readonly lost: Map<WorkerId, string>;
}

/**
 * A mistake that a person should undo: a disk in another's place, in use, or too new. All else may be what becomes of a
 * disk that fails.
 */
const MISTAKES: ReadonlySet<ExitCode> = new Set([EXIT.foreign, EXIT.busy, EXIT.unsupported, EXIT.usage]);

function isLoss(error: unknown): boolean {
  return !(error instanceof UserError && MISTAKES.has(error.exitCode));
}

/** Reads identity and membership of every disk. Disks that are lost are noted; UserError for a mistake. */
function surveyDisks(description: VolumeDescription): Survey {
  const survey: Survey = { found: new Map(), lost: new Map() };
  for (const { worker, disk, directory } of description.disks) {
    try {
      const identity = readIdentity(directory);
      const isThis = identity.disk === disk && identity.worker === worker && identity.description.volume === description.volume;
      // Its worker says in what way it is another one.
      if (isThis) survey.found.set(disk, readMembership(directory));
    } catch (error) {
      if (!isLoss(error)) throw error;
      survey.lost.set(worker, (error as Error).message);
    }
  }
  return survey;
}

/** UserError (incomplete) when the disks that are not lost are not enough. */
function assertEnough(description: VolumeDescription, { found, lost }: Survey): void {
  if (lost.size === 0) return;
  const refusal = mountRefusal(found, { all: description.disks.map(({ disk }) => disk), copies: description.copies });
  if (refusal === undefined) return;
  const why = describeRefusal(refusal, (disk) => nameDisk(description, disk));
  throw new UserError(`not enough of the volume's disks are here: ${why} (${[...lost.values()].join('; ')}). ${MISSING_DISKS_ADVICE}`, EXIT.incomplete);
}
