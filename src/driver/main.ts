// The driver process: waits for the keeper's start message, serves the mount, ends when the mount is gone.
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS, assertLimits } from '../base/limits.ts';
import { createLogger } from '../base/log.ts';
import { HANDED_OVER } from '../ipc/process-messages.ts';
import type { DriverToKeeper, KeeperToDriver } from '../ipc/process-messages.ts';
import { Driver } from './driver.ts';

/** How long the workers are given to take what is left; as long as the keeper waits. */
const LAST_WORDS_MS = LIMITS.driverStopMs;

function tell(message: DriverToKeeper): void {
  if (process.connected) process.send?.(message);
}

/** Says the last word, and ends when it is on its way. */
function exitAfter(message: DriverToKeeper, exitCode: number): void {
  if (!process.connected || process.send === undefined) process.exit(exitCode);
  process.send(message, () => process.exit(exitCode));
}

function main(): void {
  assertLimits();
  // A terminal's Ctrl-C reaches every process of the group; the keeper alone decides what it means.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  let driver: Driver | undefined;
  let ending = false;

  const end = (exitCode: number): void => {
    if (ending) return;
    ending = true;
    setTimeout(() => process.exit(EXIT.failure), LAST_WORDS_MS).unref();
    void (driver?.stop() ?? Promise.resolve()).then(
      () => exitAfter({ type: 'ended' }, exitCode),
      () => process.exit(EXIT.failure),
    );
  };

  process.on('message', (message: KeeperToDriver) => {
    switch (message.type) {
      case 'start': {
        const logger = createLogger({ role: 'driver', level: message.log.level, file: message.log.file });
        const onDefect = (error: Error): void => {
          logger.fatal({ err: error }, 'a defect in the driver; ending so that a successor takes over');
          process.exit(EXIT.failure);
        };
        process.on('uncaughtException', onDefect);
        Driver.start(message, { logger, tell, onEnd: () => end(EXIT.ok), onDefect }).then(
          (started) => {
            driver = started;
          },
          (error: unknown) => {
            logger.error({ err: error }, 'the driver cannot start');
            if (error instanceof UserError) exitAfter({ type: 'unusable', reason: error.message, exitCode: error.exitCode }, error.exitCode);
            else process.exit(EXIT.failure);
          },
        );
        break;
      }
      case 'query':
        if (driver === undefined) tell({ type: 'reply', id: message.id, error: 'the driver is starting' });
        else {
          driver.query(message.query, message.argument).then(
            (value) => tell({ type: 'reply', id: message.id, value }),
            (error: unknown) => tell({ type: 'reply', id: message.id, error: error instanceof Error ? error.message : String(error) }),
          );
        }
        break;
      case 'handOver':
        void (driver?.handOver() ?? Promise.resolve()).finally(() => {
          if (!ending) process.exit(HANDED_OVER);
        });
        break;
      case 'stop':
        end(EXIT.ok);
        break;
    }
  });
  process.on('disconnect', () => {
    void (driver?.keeperDied() ?? Promise.resolve()).then(() => end(EXIT.ok));
  });
  // The keeper may be gone before this could listen: then nobody says so any more.
  if (process.send !== undefined && !process.connected) process.exit(EXIT.ok);
}

main();
