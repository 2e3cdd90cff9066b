// Runs one keeper as this process, in the foreground or in the background: signals, memory pressure, last resort.
import { EXIT } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { assertLimits } from '../base/limits.ts';
import { createLogger } from '../base/log.ts';
import { CHILD_MODULES, KEEPER_OOM_SCORE, setOomScore } from './children.ts';
import type { ChildModules } from './children.ts';
import { Keeper } from './keeper.ts';
import type { KeeperOptions } from './keeper.ts';
import { LinuxKernelEdge } from './kernel-edge.ts';

/**
 * Mounts, calls `onUsable`, and serves until the mount has ended. Rejects with the reason (UserError) when the mount
 * does not come up; nothing of it is left then.
 */
export async function runKeeper(options: KeeperOptions, onUsable: () => void, modules: ChildModules = CHILD_MODULES): Promise<ExitCode> {
  assertLimits();
  const log = createLogger({ role: 'keeper', level: options.log.level, file: options.log.file });
  const keeper = new Keeper({ log, kernel: new LinuxKernelEdge(modules.unmount), modules }, options);
  // The directory it was started from may have to be unmounted one day.
  process.chdir('/');
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void keeper.shutdown(signal));
  process.on('SIGHUP', () => {});
  setOomScore(process.pid, KEEPER_OOM_SCORE, log);
  await keeper.start();
  // A defect here must not take the mount away from the programs on it: the keeper holds and watches, and says so.
  process.on('uncaughtException', (error) => log.fatal({ err: error }, 'keeper: a defect; the mount goes on'));
  onUsable();
  const exitCode = await keeper.finished;
  return exitCode === EXIT.ok ? EXIT.ok : EXIT.failure;
}
