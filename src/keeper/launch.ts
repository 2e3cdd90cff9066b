// Starts a keeper in the background and waits until its mount is usable, or until it says why not.
//
//   launcher → keeper   KeeperOptions, once
//   keeper → launcher   KeeperVerdict, once; then the channel is closed
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, closeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { KeeperOptions } from './keeper.ts';

export type KeeperVerdict =
  | { readonly type: 'usable' }
  | { readonly type: 'failed'; readonly message: string; readonly exitCode: ExitCode };

const KEEPER_MODULE = fileURLToPath(new URL('./main.js', import.meta.url));

/** Resolves with the keeper's pid when the mount is usable. UserError with the keeper's reason when it is not. */
export async function launchKeeper(options: KeeperOptions & { readonly log: { readonly file: string } }, module: string = KEEPER_MODULE): Promise<number> {
  const output = openLog(options.log.file);
  // Its own session, so that it outlives the terminal; what it prints outside of its log lands there too.
  const child = fork(module, [options.volumeDirectory, options.mountpoint], { detached: true, cwd: '/', stdio: ['ignore', output, output, 'ipc'] });
  closeSync(output);
  const timeoutMs = LIMITS.workerStartMs + LIMITS.driverStartMs + LIMITS.driverStopMs;
  const verdict = await new Promise<KeeperVerdict>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGTERM');
      reject(new TimeoutError('the keeper, asked to mount', timeoutMs));
    }, timeoutMs);
    child.once('message', (message) => resolve(message as KeeperVerdict));
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ type: 'failed', message: `the keeper ended (${signal ?? `code ${code}`}) before the mount was usable; see ${options.log.file}`, exitCode: EXIT.failure }));
    child.once('exit', () => clearTimeout(timer));
    child.once('message', () => clearTimeout(timer));
    child.send(options);
  });
  // Whoever is told that the mount failed finds no process of it left.
  const hasEnded = child.exitCode !== null || child.signalCode !== null;
  if (verdict.type === 'failed' && !hasEnded) await Promise.race([once(child, 'exit'), delay(LIMITS.driverStopMs, undefined, { ref: false })]);
  if (child.connected) child.disconnect();
  child.unref();
  if (verdict.type === 'failed') throw new UserError(verdict.message, verdict.exitCode);
  return child.pid ?? 0;
}

/** Descriptor of a log file that is appended to; made with its directory when missing. UserError when it cannot be. */
export function openLog(file: string): number {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    return openSync(file, 'a', 0o600);
  } catch (cause) {
    throw new UserError(`cannot write the log ${file}: ${(cause as Error).message}; choose another with --log-file`, EXIT.denied, { cause });
  }
}
