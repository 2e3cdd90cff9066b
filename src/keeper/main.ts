// The keeper process of a mount in the background: takes its options from the launcher, and tells it the verdict.
import { EXIT, UserError } from '../base/errors.ts';
import { createLogger } from '../base/log.ts';
import type { KeeperOptions } from './keeper.ts';
import type { KeeperVerdict } from './launch.ts';
import { runKeeper } from './run.ts';

/** Resolves when the verdict is with the launcher, or when there is no launcher any more. */
function tell(verdict: KeeperVerdict): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) return resolve();
    process.send(verdict, () => {
      if (process.connected) process.disconnect();
      resolve();
    });
  });
}

async function main(options: KeeperOptions): Promise<void> {
  let usable = false;
  // A launcher that is interrupted while it waits takes the mount with it.
  process.once('disconnect', () => {
    if (!usable) process.kill(process.pid, 'SIGTERM');
  });
  try {
    const exitCode = await runKeeper(options, () => {
      usable = true;
      void tell({ type: 'usable' });
    });
    process.exit(exitCode);
  } catch (error) {
    createLogger({ role: 'keeper', level: options.log.level, file: options.log.file }).error({ err: error }, 'the mount failed');
    usable = true;
    const exitCode = error instanceof UserError ? error.exitCode : EXIT.failure;
    await tell({ type: 'failed', message: error instanceof Error ? error.message : String(error), exitCode });
    process.exit(exitCode);
  }
}

process.once('message', (options: KeeperOptions) => void main(options));
