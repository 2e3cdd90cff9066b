// The description of a volume where several are found: a change reaches the volume file first and the disks after it.
import type { WorkerId } from '../base/ids.ts';
import { readIdentity } from '../disk/identity.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import { readVolume, writeVolume } from './volume.ts';

/** The newest of `own` and of what the disks of it have, as far as they can be read. */
export function newestDescription(own: VolumeDescription): VolumeDescription {
  let newest = own;
  for (const { directory } of own.disks) {
    try {
      const { description } = readIdentity(directory);
      if (description.volume === own.volume && description.generation > newest.generation) newest = description;
    } catch {
      // It says nothing; whether it may be missing is decided elsewhere.
    }
  }
  return newest;
}

/** Makes the volume file say what the disks say. With the volume locked. */
export function keepDescription(volumeDirectory: string, description: VolumeDescription): void {
  if (readVolume(volumeDirectory).generation < description.generation) writeVolume(volumeDirectory, description);
}

/** The number of the next disk that is added. */
export function nextWorker(description: VolumeDescription): WorkerId {
  return (Math.max(...description.disks.map(({ worker }) => worker)) + 1) as WorkerId;
}
