// Puts new code under a living mount: one worker after the other, then the driver. The keeper itself stays as it is.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { IDENTITY_FILE } from '../disk/identity.ts';
import type { ChildModules } from './children.ts';
import type { Crew } from './crew.ts';

/** How often the driver is asked whether a new worker has its channel. */
const LOOK_MS = 50;

/**
 * Replaces all children by ones of `modules`. UserError when one of them cannot be used: the former code is under the
 * mount again then.
 */
export async function upgrade(crew: Crew, modules: ChildModules, log: Logger): Promise<void> {
  for (const file of [modules.driver, modules.worker]) if (!existsSync(file)) throw new UserError(`there is no ${file}: is that installation complete?`, EXIT.notFound);
  const former = crew.modules;
  crew.modules = modules;
  try {
    await replaceChildren(crew, log);
  } catch (error) {
    log.error({ err: error, modules }, 'the new code cannot be used; going back to the former');
    crew.modules = former;
    await replaceChildren(crew, log);
    throw error;
  }
}

/** Never two disks away at a time: the next worker waits until the driver has its channel to the one before. */
async function replaceChildren(crew: Crew, log: Logger): Promise<void> {
  for (const [id, worker] of crew.workers.entries()) {
    // One whose disk cannot be used is tried again and again, and gets the new code with its next try.
    if (worker.shown.kind === 'unusable' || worker.state.kind === 'leaving' || worker.state.kind === 'replacing') continue;
    try {
      if (await succeeds(worker.succeed({ type: 'stop' }))) await connected(crew, id);
      else log.warn({ worker: id }, 'the worker waits for a disk that hangs; it gets the new code when that goes on');
    } catch (error) {
      // A disk that has gone, which nobody had noticed yet, says nothing about the new code.
      if (!diskIsAway(crew, id)) throw error;
      log.warn({ err: error, worker: id }, 'a disk is away; its worker gets the new code when it is back');
    }
  }
  await crew.handOver();
}

function diskIsAway(crew: Crew, worker: number): boolean {
  const disk = crew.description.disks.find((each) => each.worker === worker);
  return disk !== undefined && !existsSync(join(disk.directory, IDENTITY_FILE));
}

/** False when the former process can be neither asked nor killed to end: it waits for a disk. */
async function succeeds(successor: Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => { timer = setTimeout(() => resolve(false), LIMITS.workerStopMs + LIMITS.killMs); });
  try {
    return await Promise.race([successor.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function connected(crew: Crew, worker: number): Promise<void> {
  const deadline = performance.now() + LIMITS.workerTimeoutMs;
  while (performance.now() < deadline) {
    const status = await crew.link.status().catch(() => undefined);
    if (status?.disks.find((disk) => disk.worker === worker)?.connected === true) return;
    await new Promise((resolve) => { setTimeout(resolve, LOOK_MS); });
  }
}
