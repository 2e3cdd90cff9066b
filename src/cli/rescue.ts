// Reaches the driver of a volume for questions about its metadata: of the running mount, or one started for it alone.
import { resolve } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { createLogger } from '../base/log.ts';
import type { RescueAnswer, RescueQuestion } from '../control/api.ts';
import { ControlClient } from '../control/client.ts';
import { OfflineVolume } from '../keeper/offline-volume.ts';
import { openLog } from '../keeper/launch.ts';
import { readVolume, volumePaths } from '../keeper/volume.ts';
import { checkMountOwner, findMounts, locateMount, resolveVolume } from './locate.ts';
import { closeSync } from 'node:fs';

export type Ask = (question: RescueQuestion) => Promise<RescueAnswer>;

/** `purpose`: the command, for those who want the volume meanwhile. UserError: notFound, busy, and what a mount would say. */
export async function withDriver<T>(target: string | undefined, options: { purpose: string; level: string; forceDegraded?: boolean }, work: (ask: Ask, where: { mounted: boolean }) => Promise<T>): Promise<T> {
  const running = target === undefined ? locateMount(target) : findMounts(target)[0];
  if (running !== undefined) {
    const client = new ControlClient(running.controlSocket);
    return work((question) => client.rescue(question), { mounted: true });
  }
  checkMountOwner(target!);
  const volumeDirectory = resolveVolume(target!);
  readVolume(volumeDirectory);
  const volume = await openOffline(volumeDirectory, options);
  // An interrupted command lets the volume go in order.
  const interrupted = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => reject(new UserError('interrupted', EXIT.failure)));
  });
  let failed = true;
  try {
    const value = await Promise.race([work((question) => volume.rescue(question), { mounted: false }), interrupted]);
    failed = false;
    return value;
  } finally {
    await volume.close().catch((error: unknown) => {
      // The first failure is the one to tell.
      if (!failed) throw error;
    });
  }
}

export function openOffline(volumeDirectory: string, options: { purpose: string; level: string; forceDegraded?: boolean; edge?: Parameters<typeof OfflineVolume.open>[0]['edge'] }): Promise<OfflineVolume> {
  const file = resolve(volumePaths(volumeDirectory).log);
  closeSync(openLog(file));
  return OfflineVolume.open({
    volumeDirectory, purpose: options.purpose, logger: createLogger({ role: 'keeper', level: options.level, file }), log: { level: options.level, file },
    forceDegraded: options.forceDegraded ?? false, ...(options.edge !== undefined && { edge: options.edge }),
  });
}
